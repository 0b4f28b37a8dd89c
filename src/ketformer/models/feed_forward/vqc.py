"""A feed-forward layer around a variational circuit."""

from __future__ import annotations

from typing import Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.angle_circuit import AngleCircuit, full_turn
from ketformer.attention.angles import add_angles
from ketformer.attention.checks import check_weights, require_choice
from ketformer.errors import KetformerError
from ketformer.models.feed_forward.base import FeedForward, FeedForwardOptions
from ketformer.quantum import Entanglement


class VQC(FeedForward):
    """Linear d -> n, <Z_i> of a circuit on n qubits, linear n -> d.

    The feed-forward layer of arXiv 2110.06510: the n numbers are angles of RX, then come
    ``layers`` times RX on each wire and a ring of CNOTs. There is no activation; the code of arXiv
    2405.10284 has GELU after the circuit (``activation``). With one layer, the published default,
    the outcomes are products of cosines (:class:`~ketformer.attention.vqc_plain.VQCPlain`), and so
    they are computed; more layers are simulated. A backend runs circuits of attention only: these
    are always computed.

    It has no ``intermediate_size``: all that a token becomes passes through n numbers in [-1, 1].

    Args:
        n_qubits: qubits n.
        layers: repetitions of rotations and ring.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates.
        train_circuit: False leaves the circuit at random angles: the ablation that shows what
            training it gains.
        activation: whether ``hidden_act`` follows the circuit.

    Other arguments as in :class:`~ketformer.models.feed_forward.FeedForward`.

    Raises:
        KetformerError: an invalid size or option.
    """

    paper = "2110.06510"
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        *,
        n_qubits: int = 4,
        layers: int = 1,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        activation: bool = False,
        **common: Unpack[FeedForwardOptions],
    ) -> None:
        super().__init__(hidden_size, **common)
        require_choice("entanglement", entanglement, get_args(Entanglement))
        if n_qubits < 1:
            raise KetformerError(f"a register needs at least one qubit, got {n_qubits}")
        check_weights("n_qubits", 2 * n_qubits, hidden_size)
        self.circuit = AngleCircuit(n_qubits, layers, "rx", entanglement)
        if not activation:
            self.act = nn.Identity()
        self.down_proj = nn.Linear(hidden_size, n_qubits)
        self.up_proj = nn.Linear(n_qubits, hidden_size)
        add_angles(self, "angles", torch.empty(self.circuit.n_angles), train_circuit)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the angles uniformly over a full turn."""
        super().reset_parameters()
        full_turn(self.angles)

    def measure(self, hidden_states: Tensor) -> Tensor:
        """The outcomes ``[..., n]`` of hidden states ``[..., hidden_size]``."""
        encoded = self.down_proj(hidden_states)
        found = self.circuit(encoded.flatten(0, -2), self.angles)
        return found.reshape(encoded.shape).to(encoded.dtype)

    def transform(self, hidden_states: Tensor) -> Tensor:
        """Linear, circuit, perhaps an activation, linear."""
        out: Tensor = self.up_proj(self.act(self.measure(hidden_states)))
        return out

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the layer."""
        return f"qubits={self.circuit.n_qubits}, layers={self.circuit.layers}"

"""Queries, keys, values and outputs measured on circuits of as many qubits as the model is wide."""

from __future__ import annotations

from typing import Any, Unpack, get_args

import torch
from torch import Tensor

from ketformer.attention.angle_circuit import AngleCircuit, full_turn
from ketformer.attention.angles import add_angles
from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.quantum import Entanglement, Experiment

_NAMES = ("query", "key", "value")


class VQCPlain(Attention):
    """q, k, v and the output map are <Z_i> of circuits on d qubits; score q·k/sqrt(d_head).

    Projections by variational circuits as published (arXiv 2110.06510): the token's entries are
    the angles of RX on d wires, then come ``layers`` times RX on each wire and a ring of CNOTs,
    and the outcomes of consecutive wires belong to one head. A fourth circuit takes the joined
    heads to the output; there is no linear map at all. The published block passes no mask; here
    attention is causal.

    The published default is one layer, and one layer is classical: with t = x + w, <Z_k> is
    cos t_0 … cos t_k, and <Z_0> is cos t_1 … cos t_{d-1}. So it is computed, in O(d) for each
    token; two or more layers are simulated, on 16 qubits at most. The products vanish where d is
    large, and scores within sqrt(d_head) leave the softmax flat.

    Args:
        layers: repetitions of rotations and ring.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates:
            <Z_k> = cos(x_k + sum of w_k over the layers).
        train_circuit: False leaves the circuits at random angles: the ablation that shows what
            training them gains.

    Other options as in :class:`~ketformer.attention.Attention`. Without linear maps, ``bias``
    changes nothing.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    paper = "2110.06510"
    twins = ("classical_tanh",)
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        layers: int = 1,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("entanglement", entanglement, get_args(Entanglement))
        del self.out_proj  # a circuit takes its place
        self.circuit = AngleCircuit(hidden_size, layers, "rx", entanglement)
        add_angles(self, "angles", torch.empty(4, self.circuit.n_angles), train_circuit)
        self.reset_parameters()

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """As wide as there are qubits."""
        return [{"hidden_size": n_qubits, "num_heads": 1, "layers": layers}]

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds of the maps to queries, keys, values and outputs: d × d for each token."""
        return 4 * length * hidden_size**2

    def reset_parameters(self) -> None:
        """Draw the angles uniformly over a full turn."""
        super().reset_parameters()
        full_turn(self.angles)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The outcomes of three circuits, a head's from consecutive wires."""
        encoded = hidden_states.flatten(0, 1).expand(3, -1, -1)
        found = self.circuit(encoded, self.angles[:3]).to(hidden_states.dtype)
        query, key, value = map(self.split_heads, found.unflatten(1, hidden_states.shape[:2]))
        return query, key, value

    def output(self, merged: Tensor) -> Tensor:
        """The outcomes of the fourth circuit on the joined heads."""
        if self.expect is not None:
            (experiment,) = self.output_experiments(merged)["output"]
            return self.expect(experiment).to(merged.dtype)
        found = self.circuit(merged.flatten(0, 1), self.angles[3]).to(merged.dtype)
        return found.reshape(merged.shape)

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``query``, ``key``, ``value``: one circuit each, which all heads share."""
        angles = zip(_NAMES, self.angles, strict=False)
        return {name: [self.circuit.experiment(hidden_states, own)] for name, own in angles}

    def output_experiments(self, merged: Tensor) -> dict[str, list[Experiment]]:
        """``output``: the fourth circuit, once for each token."""
        return {"output": [self.circuit.experiment(merged, self.angles[3])]}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured queries, keys and values."""
        query, key, value = (self.split_heads(outcomes[name].squeeze(-2)) for name in _NAMES)
        return query, key, value

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"{super().extra_repr()}, qubits={self.hidden_size}"

"""Queries, keys and values measured on variational circuits behind narrow linear maps."""

from __future__ import annotations

import math
from typing import Unpack, get_args

import torch
from torch import Tensor

from ketformer.attention.angle_circuit import AngleCircuit, full_turn
from ketformer.attention.angles import add_angles
from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.narrow_heads import NarrowHeads
from ketformer.errors import KetformerError
from ketformer.quantum import Entanglement, Experiment

_NAMES = ("query", "key", "value")


class VQC(NarrowHeads):
    """q, k, v = <Z_i> of a circuit behind RX(π tanh(Ax + b)), for each head; A is n × d.

    The dressed form of projections by variational circuits (arXiv 2110.06510): a linear map to n
    angles comes first, so that the number of qubits does not grow with the model. The circuit has
    ``layers`` times RZ, RY, RZ on each wire and a ring of CNOTs. Where n is not the width of the
    head, values pass a linear map afterwards (ours). ``vqc_plain`` is the form without linear maps.

    With one layer the circuit is classical: <Z_k> is a product of up to n single-qubit
    expectations, cos b cos x - sin a sin b sin x for angles a, b of the first two rotations, which
    is how it is computed here. The third rotation of the last layer never changes an outcome.
    Outcomes lie within [-1, 1], and so scores q·k/sqrt(n) within sqrt(n): without a lower
    ``temperature`` the softmax is flat. The code we know divides by sqrt(d_model), not sqrt(n);
    ``temperature`` sqrt(d_model / n) does so here.

    Args:
        n_qubits: qubits n of each circuit.
        layers: repetitions of rotations and ring; two or more are simulated.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates.
        train_circuit: False leaves the circuits at random angles: the ablation that shows what
            training them gains.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size or option.
    """

    paper = "2110.06510"
    twins = ("classical_tanh",)
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int = 4,
        layers: int = 1,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        require_choice("entanglement", entanglement, get_args(Entanglement))
        if n_qubits < 1:
            raise KetformerError(f"a register needs at least one qubit, got {n_qubits}")
        super().__init__(hidden_size, num_heads, width=n_qubits, **common)
        self.n_qubits = n_qubits
        self.circuit = AngleCircuit(n_qubits, layers, "strongly_entangling", entanglement)
        angles = torch.empty(3, num_heads, self.circuit.n_angles)
        add_angles(self, "angles", angles, train_circuit)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the angles uniformly over a full turn."""
        super().reset_parameters()
        full_turn(self.angles)

    def outcomes(self, narrow: Tensor) -> Tensor:
        """<Z> of each head's qubits."""
        return self.circuit(math.pi * narrow.tanh(), self.angles)

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``query``, ``key``, ``value``: encode the head's angles, apply its circuit, measure Z."""
        encoded = math.pi * self.narrow(hidden_states).tanh()
        return {
            name: [self.circuit.experiment(*head) for head in zip(*heads, strict=True)]
            for name, *heads in zip(_NAMES, encoded, self.angles, strict=True)
        }

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured queries and keys; values from the measured ones."""
        query, key, value = (outcomes[name].transpose(1, 2) for name in _NAMES)
        return query, key, self.widened(value)

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"{super().extra_repr()}, qubits={self.n_qubits}"

"""QISA-A: values measured on a trained circuit, for quantum hardware (arXiv 2603.03318)."""

from __future__ import annotations

import math
from typing import Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.angles import add_angles
from ketformer.attention.ansatz import build_ansatz
from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_qubits, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.linear_queries import LinearQueries
from ketformer.attention.measured import amplitude_experiments, is_state
from ketformer.attention.observables import Observables, PauliObservables
from ketformer.attention.slices import Register, encoded_parts, encoded_width
from ketformer.quantum import Circuit, Entanglement, Experiment, amplitude_encode, qubits_for


class QISAA(LinearQueries):
    """Linear queries and keys; values v_h = <psi|U† P_h U|psi>, psi = x / ‖x‖.

    U is RX and RY on each wire, the CNOT ring, RY on each wire, with 3n angles per
    head. All tokens share it.

    Args:
        ansatz: U: a name (``entangling`` as published; ``rotation_ring``, ``rx_ring``,
            ``strongly_entangling``), a :class:`~ketformer.quantum.Circuit` on as many qubits as
            the token needs, or its OpenQASM.
        layers: repetitions of (CNOT ring, RY on each wire); 1 as published.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates.
        train_circuit: False leaves the circuit at random angles: the ablation that shows
            what training it gains.
        register: ``token`` as published: each head encodes the whole token; or ``head``, which is
            ours: each head encodes its own slice of d / H numbers, in H times fewer amplitudes.

    Other options as in :class:`~ketformer.attention.qisa.QISA`, except ``hilbert_dim``:
    the amplitudes are those of the token or slice.
    """

    paper = "2603.03318"
    twins = ("classical_quadratic", "classical_bottleneck", "classical_gated")
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        observables: Observables = "distinct",
        ansatz: str | Circuit = "entangling",
        layers: int = 1,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        register: Register = "token",
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        self.register = register
        self.n_qubits = check_qubits(qubits_for(encoded_width(register, hidden_size, num_heads)))
        require_choice("entanglement", entanglement, get_args(Entanglement))
        self.circuit = build_ansatz(ansatz, self.n_qubits, layers, entanglement)
        angles = torch.empty(num_heads, len(self.circuit.parameters))
        add_angles(self, "angles", angles, train_circuit)
        self.observables = PauliObservables.draw(
            observables, num_heads, self.head_dim, self.n_qubits, self.circuit
        )
        self.reset_parameters()

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds of the value map: d × d for each token."""
        return length * hidden_size**2

    def reset_parameters(self) -> None:
        """Draw the angles uniformly over a full turn."""
        super().reset_parameters()
        nn.init.uniform_(self.angles, 0, 2 * math.pi)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, measured values."""
        parts = self._parts(hidden_states).flatten(0, 1)
        values = self.observables(parts, angles=self.angles, normalise=True)
        return self.beside(hidden_states, values)

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``value``: encode psi in amplitudes, apply each head's U and measure its strings."""
        state = amplitude_encode(self._parts(hidden_states), self.n_qubits)
        strings = self.observables.strings
        return {"value": amplitude_experiments(state, strings, self.circuit, self.angles)}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, and the measured values."""
        values = outcomes["value"] * is_state(self._parts(hidden_states))
        return self.beside(hidden_states, values.flatten(0, 1))

    def _parts(self, hidden_states: Tensor) -> Tensor:
        """What is encoded, ``[B, T, H or 1, d / H or d]``."""
        return encoded_parts(self.register, hidden_states, self.num_heads)

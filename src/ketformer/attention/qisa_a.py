"""QISA-A: values measured on a trained circuit, for quantum hardware (arXiv 2603.03318)."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions, check_layers, check_qubits
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.kept import KeptUnitary
from ketformer.attention.measured import amplitude_experiments, is_state
from ketformer.attention.observables import (
    Observables,
    PauliObservables,
    from_columns,
    in_columns,
)
from ketformer.quantum import (
    Experiment,
    amplitude_encode,
    entangling_ansatz,
    qubits_for,
)


class QISAA(Attention):
    """Linear queries and keys; values v_h = <psi|U† P_h U|psi>, psi = x / ‖x‖.

    U is RX and RY on each wire, the CNOT ring, RY on each wire, with 3n angles per
    head. All tokens share it, so it is built once per forward and applied as a
    matrix.

    Args:
        layers: how often the ring and the last RYs are repeated; 1 as published.

    Other options as in :class:`~ketformer.attention.qisa.QISA`, without ``hilbert_dim``:
    the amplitudes are the token's.
    """

    default_bias = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        observables: Observables = "distinct",
        layers: int = 1,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        self.n_qubits = check_qubits(qubits_for(hidden_size))
        self.circuit = entangling_ansatz(self.n_qubits, check_layers(layers))
        self.unitary = KeptUnitary(self.circuit)
        self.qk_proj = nn.Linear(hidden_size, 2 * hidden_size, bias=self.bias)
        self.angles = nn.Parameter(torch.empty(num_heads, len(self.circuit.parameters)))
        self.observables = PauliObservables.draw(
            observables, num_heads, self.head_dim, self.n_qubits
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Angles uniform over a full turn."""
        super().reset_parameters()
        nn.init.uniform_(self.angles, 0, 2 * math.pi)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, measured values."""
        state = amplitude_encode(hidden_states, self.n_qubits).flatten(0, 1)
        value = self.observables(*apply_shared(self.unitary(self.angles), state))
        return self._beside(hidden_states, value)

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``value``: psi in amplitudes, U of each head, its strings measured."""
        state = amplitude_encode(hidden_states, self.n_qubits).unsqueeze(-2)
        strings = self.observables.strings
        return {"value": amplitude_experiments(state, strings, self.circuit, self.angles)}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, the values as measured."""
        return self._beside(hidden_states, in_columns(outcomes["value"] * is_state(hidden_states)))

    def _beside(self, hidden_states: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys beside values in columns, ``[H, head_dim, BT]``."""
        query, key = self.qk_proj(hidden_states).chunk(2, dim=-1)
        values = from_columns(values, hidden_states)
        return self.split_heads(query), self.split_heads(key), values


def apply_shared(unitaries: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Complex unitaries applied to real states, as one real matrix product.

    Args:
        unitaries: ``[H, D, D]`` complex.
        states: ``[N, D]`` real.

    Returns:
        Real and imaginary parts, each in columns, ``[H, D, N]``.
    """
    dimension = states.shape[-1]
    matrix = torch.stack([unitaries.real, unitaries.imag]).to(states.dtype)  # [2, H, D, D]
    both = matrix.reshape(-1, dimension) @ states.mT
    real, imag = both.reshape(2, -1, dimension, len(states))
    return real, imag

"""Values that a rotation and a measurement of one qubit each would give."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor, nn

from ketformer.attention import Attention, CommonOptions, TokenInputs
from ketformer.quantum import Circuit, Experiment, PauliStrings


class Cosine(Attention):
    """Linear queries and keys; values <Z> = cos of a linear map of the token.

    Args:
        turn: multiplies the angles.

    Other options as in Attention.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        turn: float = 1.0,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        self.turn = turn
        self.query_key = nn.Linear(hidden_size, 2 * hidden_size, bias=self.bias)
        self.angles = nn.Linear(hidden_size, hidden_size)
        self.reset_parameters()

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """A qubit for each value of the only head."""
        return [{"hidden_size": n_qubits, "num_heads": 1}]

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, H, T, head_dim]``."""
        return self._beside(hidden_states, self._angles(hidden_states).cos())

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``value``: RY and Z on each qubit."""
        circuit, qubits = Circuit(self.head_dim), range(self.head_dim)
        for qubit in qubits:
            circuit = circuit.ry(qubit, f"t{qubit}")
        strings = PauliStrings(
            tuple("".join("Z" if q == measured else "I" for q in qubits) for measured in qubits)
        )
        angles = self._angles(hidden_states)  # [B, H, T, head_dim]
        return {"value": [Experiment(circuit, of_head, strings) for of_head in angles.unbind(1)]}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured values, beside the same queries and keys."""
        return self._beside(hidden_states, outcomes["value"].transpose(1, 2))

    def _beside(self, hidden_states: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys = self.query_key(hidden_states).chunk(2, dim=-1)
        return self.split_heads(queries), self.split_heads(keys), values

    def _angles(self, hidden_states: Tensor) -> Tensor:
        return self.turn * self.split_heads(self.angles(hidden_states))

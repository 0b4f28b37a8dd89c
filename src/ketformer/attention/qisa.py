"""QISA: values are Pauli expectations of a linear map of the token (arXiv 2603.03318)."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_qubits, check_weights
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.linear_queries import LinearQueries
from ketformer.attention.measured import amplitude_experiments
from ketformer.attention.observables import Observables, PauliObservables
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment
from ketformer.quantum.encoding import qubits_for


class QISA(LinearQueries):
    """Linear queries and keys; values v_h = <Lx|P_h|Lx>.

    Lx is zero-padded to 2^n amplitudes and not normalised, so a value is a
    quadratic form of the token, v(x) = v(-x).

    Args:
        observables: ``distinct`` Pauli strings, none of them dead on real amplitudes, or
            ``random`` ones as published.
        hilbert_dim: width of L for each head. The head width by default, which
            makes L as large as the classical value map; ``hidden_size`` is the
            published choice, with d² parameters for each head.

    Other options as in :class:`~ketformer.attention.Attention`.
    """

    paper = "2603.03318"
    twins = ("classical_quadratic", "classical_gated")

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        observables: Observables = "distinct",
        hilbert_dim: int | None = None,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        self.hilbert_dim = self.head_dim if hilbert_dim is None else hilbert_dim
        if self.hilbert_dim < 1:
            raise KetformerError(f"hilbert_dim must be positive, got {hilbert_dim}")
        self.n_qubits = check_qubits(qubits_for(self.hilbert_dim))
        check_weights("hilbert_dim", hidden_size, num_heads * self.hilbert_dim)
        self.state_proj = nn.Linear(hidden_size, num_heads * self.hilbert_dim, bias=False)
        self.observables = PauliObservables.draw(
            observables, num_heads, self.head_dim, self.n_qubits
        )
        self.reset_parameters()

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """The width of L sets the number of qubits; there are no layers."""
        return [{"hidden_size": 8, "hilbert_dim": 2**n_qubits}]

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, quadratic values."""
        return self.beside(hidden_states, self.observables(self._states(hidden_states)))

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``value``: encode Lx / ‖Lx‖ in amplitudes and measure each head's strings."""
        states = F.pad(self._states(hidden_states), (0, 2**self.n_qubits - self.hilbert_dim))
        states = states.unflatten(0, hidden_states.shape[:2])  # [B, T, H, 2^n]
        return {"value": amplitude_experiments(states, self.observables.strings, None, None)}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured values times ‖Lx‖², which normalised amplitudes cannot carry."""
        norms = self._states(hidden_states).square().sum(-1, keepdim=True)
        values = outcomes["value"].flatten(0, 1) * norms
        return self.beside(hidden_states, values)

    def _states(self, hidden_states: Tensor) -> Tensor:
        """Lx, ``[BT, H, hilbert_dim]``."""
        mapped: Tensor = self.state_proj(hidden_states).flatten(0, 1)
        states: Tensor = mapped.unflatten(-1, (self.num_heads, -1))
        return states

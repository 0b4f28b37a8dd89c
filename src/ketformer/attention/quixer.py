"""Quixer (arXiv 2406.04305): a polynomial of a sum of unitaries, one for each token."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.checks import check_layers, check_qubits, check_weights, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.mixer import MixerOptions
from ketformer.attention.recurrent import RecurrentMixer, State, StateCache, of_tokens
from ketformer.attention.slots import number_of_slots, require_slots, slots_of, tokens_so_far
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import (
    Angle,
    Circuit,
    CircuitMatrices,
    Entanglement,
    Gate,
    unitary,
)

#: ``circuit``: unitary, from angles; ``free``: any matrix that is linear in the hidden state.
Matrices = Literal["circuit", "free"]
#: ``trained``: a complex number for each position; ``equal``: 1 for all, so order is unknown.
Coefficients = Literal["trained", "equal"]
# The least norm that a state is divided by, and the least sum of |b|.
_LEAST = 1e-12


class Quixer(RecurrentMixer):
    """A causal mixer that is nonlinear in a weighted sum of the tokens' unitaries.

    In each head token t is a circuit ``U_t`` of n qubits, whose angles are linear in its hidden
    state. With trained complex b, one for each position, and trained real c::

        M_t = sum_{j<=t} b_j U_j / sum_{j<=t} |b_j|
        p_t = sum_{k=0..D} c_k M_t^k |0> / sum_k |c_k|
        psi_t = V p_t / |p_t|

    where V is one layer of the circuit with angles of its own. The head returns the expectations of
    X, Y and Z of every qubit, and the output layer is linear in those of all heads. The circuit is
    number 14 of arXiv 1905.10876: in each layer a rotation RY of every qubit, a ring of controlled
    RX, RY again, and a ring in the other direction.

    Published is one prediction for each window, from the M of the whole window, see
    :func:`window`. Ours are its form for every prefix, as a mixer inside a decoder, with the state
    ``sum b_j U_j``, a complex 2^n x 2^n matrix, and ``sum |b_j|``; heads; and the linear output
    layer, which is followed by a nonlinear one in the paper.

    There are no circuits to run. The sum of unitaries and its powers are computed as matrices here
    and in the released code; on a device each power would take a linear combination of unitaries
    that succeeds only with probability |p|², for which there is no bound from below.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads.
        n_qubits: n, 6 in the paper.
        layers: layers of each token's circuit, 4 in the paper.
        degree: D. With 1 no two tokens are multiplied, the first control.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates.
        coefficients: ``trained`` b, or ``equal``, the control that knows no order.
        matrices: ``circuit``, or ``free``: any complex matrices, linear in the hidden state, in
            place of the tokens' unitaries, the classical control.
        common: see :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        KetformerError: an invalid size or option.
        NotOfferedError: positions are ``rotary`` or ``alibi``.
    """

    paper = "2406.04305"
    is_complex = True
    twins = ("quixer:matrices=free",)
    rotary_positions = False

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int = 3,
        layers: int = 1,
        degree: int = 3,
        entanglement: Entanglement = "ring",
        coefficients: Coefficients = "trained",
        matrices: Matrices = "circuit",
        **common: Unpack[MixerOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        if self.positions == "rotary":
            raise NotOfferedError(
                "quixer knows positions by its coefficients, so positions=rotary has nothing to "
                "turn; use learned or none"
            )
        require_choice("entanglement", entanglement, get_args(Entanglement))
        require_choice("coefficients", coefficients, get_args(Coefficients))
        require_choice("matrices", matrices, get_args(Matrices))
        if degree < 1:
            raise KetformerError(f"degree must be positive, got {degree}")
        check_layers(layers, check_qubits(n_qubits))
        self.n_qubits = n_qubits
        self.slots = number_of_slots(self.inputs)
        self.ansatz = ansatz14(n_qubits, layers, entanglement)
        self.last_ansatz = ansatz14(n_qubits, 1, entanglement)
        self.native, self.native_last = _kernel(self.ansatz), _kernel(self.last_ansatz)
        width = 2 * 4**n_qubits if matrices == "free" else len(self.ansatz.parameters)
        check_weights("the map to the matrices", hidden_size, num_heads * width)
        self.matrices = matrices
        self.angle_proj = nn.Linear(hidden_size, num_heads * width)
        self.coefficients = (
            nn.Parameter(torch.empty(2, num_heads, self.slots))
            if coefficients == "trained"
            else None
        )
        self.polynomial = nn.Parameter(torch.empty(num_heads, degree + 1))
        self.last_angles = nn.Parameter(torch.empty(num_heads, len(self.last_ansatz.parameters)))
        self.out_proj = nn.Linear(num_heads * 3 * n_qubits, hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw b, c and the angles of V from [0, 1), as published."""
        super().reset_parameters()
        if self.coefficients is not None:
            nn.init.uniform_(self.coefficients)
        nn.init.uniform_(self.polynomial)
        nn.init.uniform_(self.last_angles)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: Tensor | None = None,
        cache: StateCache | None = None,
        return_weights: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, None]:
        """Mix the tokens, see :meth:`RecurrentMixer.forward`.

        Raises:
            NotOfferedError: weights were requested.
            KetformerError: there are more positions than coefficients b.
        """
        if self.coefficients is not None:
            seen = 0 if cache is None else cache.state()[0]
            require_slots(type(self).__name__, seen + hidden_states.shape[1], self.slots)
        how: dict[str, Any] = {"mask": mask, "cache": cache, "tokens": tokens}
        return super().forward(hidden_states, return_weights=return_weights, **how)

    def parallel(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
        *,
        keep: bool,
    ) -> tuple[Tensor, State]:
        """By prefix sums; the state is the number of tokens, and the sums of b U and of |b|."""
        earlier, *sums = (None,) if state is None else state
        hidden_states = of_tokens(hidden_states, is_token)
        terms, sizes = self._terms(hidden_states, is_token, earlier)
        total, size = terms.cumsum(2), sizes.cumsum(2)
        if sums:
            total, size = total + sums[0].unsqueeze(2), size + sums[1].unsqueeze(2)
        outcomes = of_tokens(self._outcomes(total, size), is_token)
        count = tokens_so_far(earlier, is_token, hidden_states)
        return outcomes, (count, total[:, :, -1], size[:, :, -1])

    def recurrent(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """One more term in the sums."""
        earlier, *sums = (None,) if state is None else state
        hidden_states = of_tokens(hidden_states, is_token)
        terms, sizes = self._terms(hidden_states, is_token, earlier)
        total, size = terms[:, :, 0], sizes[:, :, 0]
        if sums:
            total, size = total + sums[0], size + sums[1]
        outcomes = self._outcomes(total.unsqueeze(2), size.unsqueeze(2))
        count = tokens_so_far(earlier, is_token, hidden_states)
        return of_tokens(outcomes, is_token), (count, total, size)

    def unitaries(self, hidden_states: Tensor) -> Tensor:
        """``U_t`` of each head, complex ``[B, H, T, 2^n, 2^n]``; any matrix if they are free."""
        wide = torch.promote_types(hidden_states.dtype, torch.float32)
        angles = self.split_heads(self.angle_proj(hidden_states).to(wide))
        if self.matrices == "circuit":
            return _matrices(self.ansatz, self.native, angles)
        side = 2**self.n_qubits
        return torch.complex(*angles.unflatten(-1, (2, side, side)).unbind(-3))

    def _terms(
        self, hidden_states: Tensor, is_token: Tensor | None, earlier: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``b_t U_t`` and ``|b_t|`` ``[B, H, T]``; 0 for padding."""
        matrices = self.unitaries(hidden_states)
        real = matrices.real.dtype
        if self.coefficients is None:
            sizes = torch.ones(matrices.shape[:3], dtype=real, device=matrices.device)
            weights = sizes
        else:
            slots = slots_of(earlier, is_token, hidden_states)
            parts = self.coefficients.to(real)[:, :, slots].transpose(1, 2)  # [2, B or 1, H, T]
            weights, sizes = torch.complex(*parts), torch.linalg.vector_norm(parts, dim=0)
            sizes = sizes.expand(matrices.shape[:3])
        if is_token is not None:
            padding = ~is_token[:, None]
            weights, sizes = weights.masked_fill(padding, 0), sizes.masked_fill(padding, 0)
        return weights[..., None, None] * matrices, sizes

    def _outcomes(self, total: Tensor, size: Tensor) -> Tensor:
        """Expectations ``[B, T, H 3n]`` from the sums of b U and of |b|."""
        real = total.real.dtype
        coefficients = self.polynomial.to(real).unsqueeze(1)
        state = polynomial_state(total, coefficients, size.clamp_min(_LEAST))
        last = _matrices(self.last_ansatz, self.native_last, self.last_angles.to(real))
        return read_out(state, last).transpose(1, 2).flatten(2)


def _matrices(circuit: Circuit, native: CircuitMatrices | None, angles: Tensor) -> Tensor:
    """The matrices ``[..., 2^n, 2^n]`` of angles ``[..., P]``."""
    # An exported program should need torch alone.
    if native is None or torch.compiler.is_exporting() or angles.device.type != "cpu":
        return unitary(circuit, angles)
    found: Tensor = native(angles.flatten(0, -2)).unflatten(0, angles.shape[:-1])
    return found


def _kernel(circuit: Circuit) -> CircuitMatrices | None:
    return CircuitMatrices(circuit) if CircuitMatrices.can_run(circuit) else None


def ansatz14(n_qubits: int, layers: int, entanglement: Entanglement = "ring") -> Circuit:
    """Circuit 14 of arXiv 1905.10876 with 4 n angles in each layer, also without entanglement.

    The angles are ``t0``, ``t1``, … in order of use. Without entanglement those of the controlled
    gates are left out, and the others keep their names.
    """
    qubits, gates = range(n_qubits), []
    down = [(i, (i + 1) % n_qubits) for i in reversed(qubits)]
    up = [(i, (i - 1) % n_qubits) for i in (n_qubits - 1, *range(n_qubits - 1))]
    names = iter(f"t{i}" for i in range(4 * n_qubits * layers))
    for _ in range(layers):
        for ring in (down, up):
            gates += [Gate("RY", qubit, angle=Angle(next(names))) for qubit in qubits]
            angles = [Angle(next(names)) for _ in qubits]
            if entanglement == "ring" and n_qubits > 1:
                pairs = zip(ring, angles, strict=True)
                gates += [Gate("RX", at, (control,), angle) for (control, at), angle in pairs]
    return Circuit(n_qubits, tuple(gates))


def polynomial_state(matrix: Tensor, coefficients: Tensor, size: Tensor | float = 1.0) -> Tensor:
    """``sum_k c_k M^k |0> / sum_k |c_k|``, ``[..., N]``.

    Args:
        matrix: M times ``size``, complex ``[..., N, N]``.
        coefficients: c_0, c_1, …, real ``[..., D + 1]``; leading dimensions broadcast.
        size: ``[...]``.
    """
    first, *others = (c.unsqueeze(-1) for c in coefficients.unbind(-1))
    over = size.unsqueeze(-1) if isinstance(size, Tensor) else size
    power = matrix[..., 0] / over  # M|0>
    state = others[0] * power
    for coefficient in others[1:]:
        power = (matrix @ power.unsqueeze(-1)).squeeze(-1) / over
        state = state + coefficient * power
    zero = F.one_hot(torch.zeros((), dtype=torch.long, device=state.device), state.shape[-1])
    state = state + first * zero
    return state / coefficients.abs().sum(-1, keepdim=True).clamp_min(_LEAST)


def read_out(state: Tensor, last: Tensor) -> Tensor:
    """Expectations of X of each qubit, then Y, then Z, in ``V p / |p|``, ``[..., 3n]``.

    Args:
        state: p, ``[..., K, N]``, or ``[N]``.
        last: V, ``[..., N, N]``, the same for K states; leading dimensions broadcast.
    """
    dtype = torch.promote_types(state.dtype, last.dtype)
    turned = state.to(dtype) @ last.to(dtype).mT
    places = [1 << bit for bit in reversed(range((state.shape[-1] - 1).bit_length()))]
    zeros = [[b for b in range(state.shape[-1]) if not b & place] for place in places]
    first = torch.tensor(zeros, device=state.device)  # where each qubit is 0, [n, N / 2]
    second = first + torch.tensor(places, device=state.device).unsqueeze(-1)
    flip = 2 * (turned[..., first].conj() * turned[..., second]).sum(-1)
    # A real state has no expectation of Y.
    imag = flip.imag if flip.is_complex() else torch.zeros_like(flip)
    # Not by abs() or a norm, which are slow for complex numbers.
    parts = torch.view_as_real(turned) if turned.is_complex() else turned.unsqueeze(-1)
    shares = parts.square().sum(-1)
    signs = shares.new_ones(len(places), shares.shape[-1]).scatter(-1, second, -1)
    weights = shares @ signs.mT
    found = torch.cat([flip.real, imag, weights], dim=-1)
    return found / shares.sum(-1, keepdim=True).clamp_min(_LEAST**2)


class Window(NamedTuple):
    """What one window of tokens gives, as published.

    Attributes:
        matrix: M, complex ``[..., N, N]``.
        state: p, ``[..., N]``.
        norm: |p|, ``[...]``. The released code calls its mean a probability of postselection, which
            is its square.
        outcomes: expectations of X of each qubit, then Y, then Z, ``[..., 3n]``.
    """

    matrix: Tensor
    state: Tensor
    norm: Tensor
    outcomes: Tensor


def window(unitaries: Tensor, b: Tensor, c: Tensor, last: Tensor) -> Window:
    """The published form: one vector of outcomes for a whole window.

    Args:
        unitaries: of its tokens, complex ``[..., W, N, N]``.
        b: a complex number for each token, ``[W]``.
        c: coefficients of the polynomial, real ``[D + 1]``.
        last: V, ``[N, N]``.
    """
    matrix = (b[:, None, None] * unitaries).sum(-3) / b.abs().sum()
    state = polynomial_state(matrix, c)
    norm = torch.linalg.vector_norm(state, dim=-1)
    return Window(matrix, state, norm, read_out(state, last))

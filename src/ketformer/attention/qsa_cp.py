"""Complex attention whose rows have an L2 norm instead of a softmax, as a recurrent state."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention import rotary
from ketformer.attention.checks import check_weights, require_choice
from ketformer.attention.linear import Tokens, complex_read, complex_reads
from ketformer.attention.mixer import MixerOptions
from ketformer.attention.recurrent import LinearMixer, of_tokens

Numbers = Literal["complex", "real"]

# Added to a row's sum of squares.
_LEAST_SQUARE = 1e-8


class QSACP(LinearMixer):
    """The attention of the package qsa-attention 0.2.0 (doi 10.5281/zenodo.22250418).

    Queries, keys and values are complex linear in the hidden state, d = d_head entries for each
    head. The score is ``S_ij = q_i k_j†``, the weight
    ``α_ij = S_ij / (sqrt(Σ_j |S_ij|² + 1e-8) sqrt(d))``, 0 for later positions, and the output
    ``Re(W_o Σ_j α_ij v_j)``. A row's scale is divided out, so that it cannot sharpen, and the first
    position's weight has modulus 1/sqrt(d) whatever it sees.

    The weights never have to be computed: ``Σ_j S_ij v_j`` is ``(Σ_j v_j k_j†) q_i``, and
    ``Σ_j |S_ij|²`` is ``q_i† (Σ_j k_j k_j†) q_i``. The two sums are the state. There are no
    circuits. With rotary positions real and imaginary parts are turned alike, as in the package.

    Ours: the imaginary maps start like the real ones (those of the package's class start at 0,
    where their gradient is 0, too), and ``out_proj`` includes the package's factor 0.9.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads.
        numbers: ``complex``, or ``real``, the control: the same weights give real queries, keys and
            values of 2 d entries, so that only complex arithmetic is missing.
        common: see :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        KetformerError: an invalid size or option.
    """

    paper = "10.5281/zenodo.22250418"
    twins = ("qsa_cp:numbers=real", "classical:normalise=l2")

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        numbers: Numbers = "complex",
        **common: Unpack[MixerOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("numbers", numbers, get_args(Numbers))
        self.numbers = numbers
        check_weights("hidden_size", hidden_size, 6 * hidden_size)
        # Rows: real parts of queries, keys and values, then the imaginary ones.
        self.token_proj = nn.Linear(hidden_size, 6 * hidden_size, bias=self.bias)
        self.out_proj = nn.Linear(2 * hidden_size, hidden_size)
        self.reset_parameters()

    def project(
        self, hidden_states: Tensor, position_ids: Tensor, is_token: Tensor | None
    ) -> Tokens:
        """Queries, keys and values, with the sums of squared scores."""
        # Rows of the weight in the order [q, k or v, head, Re or Im], so that no part moves later.
        weight, bias = self.token_proj.weight, self.token_proj.bias
        ordered_bias = None if bias is None else self._in_order(bias)
        projected = F.linear(hidden_states, self._in_order(weight), ordered_bias)
        parts = projected.unflatten(-1, (3, self.num_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B, H, T, 2 d]
        if self.positions == "rotary":
            assert self.inputs is not None  # it says that positions are rotary
            base = self.inputs.rotary_base
            query, key = (rotate_parts(part, position_ids, base) for part in (query, key))
        key, value = of_tokens(key, is_token), of_tokens(value, is_token)
        reads = query.unsqueeze(2) if self.numbers == "real" else complex_reads(query)
        return Tokens(reads.unsqueeze(2), key, value, squares=True)

    def _in_order(self, rows: Tensor) -> Tensor:
        ordered: Tensor = rows.unflatten(0, (2, 3, self.num_heads, -1)).movedim(0, 2).flatten(0, 3)
        return ordered

    def merge(self, read: Tensor, tokens: Tokens) -> Tensor:
        """Over the norms of the rows; the real parts of all heads, then the imaginary ones."""
        squares = read[..., -1].sum(2)  # of all reads
        norm = ((squares + _LEAST_SQUARE) * self.head_dim).sqrt().unsqueeze(-1)  # [B, H, T, 1]
        if self.numbers == "real":
            return (read[:, :, 0, :, :-1] / norm).transpose(1, 2).flatten(2)
        mixed = complex_read(read[..., :-1]) / norm
        return mixed.permute(1, 3, 0, 2, 4).flatten(2)


def rotate_parts(parts: Tensor, position_ids: Tensor, base: float) -> Tensor:
    """Real and imaginary parts, side by side in ``[B, H, T, 2 d]``, each turned by its position."""
    halves = (rotary.rotate(half, position_ids, base) for half in parts.chunk(2, dim=-1))
    return torch.cat([*halves], dim=-1)

"""Complex attention whose rows have an L2 norm instead of a softmax, as a recurrent state."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention import rotary
from ketformer.attention.checks import check_weights
from ketformer.attention.linear import Tokens, complex_read, complex_tokens
from ketformer.attention.mixer import MixerOptions
from ketformer.attention.recurrent import LinearMixer, of_tokens

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

    Options as in :class:`~ketformer.attention.mixer.Mixer`.
    """

    paper = "10.5281/zenodo.22250418"
    twins = ("classical:normalise=l2",)

    def __init__(self, hidden_size: int, num_heads: int, **common: Unpack[MixerOptions]) -> None:
        super().__init__(hidden_size, num_heads, **common)
        check_weights("hidden_size", hidden_size, 6 * hidden_size)
        # Rows: real parts of queries, keys and values, then the imaginary ones.
        self.token_proj = nn.Linear(hidden_size, 6 * hidden_size, bias=self.bias)
        self.out_proj = nn.Linear(2 * hidden_size, hidden_size)
        self.reset_parameters()

    def project(
        self, hidden_states: Tensor, position_ids: Tensor, is_token: Tensor | None
    ) -> Tokens:
        """Complex queries, keys and values; what a position writes are its value and its key."""
        parts = self.token_proj(hidden_states).unflatten(-1, (2, 3, self.num_heads, -1))
        query, key, value = parts.permute(3, 2, 0, 4, 1, 5)  # each [2, B, H, T, d]
        if self.positions == "rotary":
            assert self.inputs is not None  # it says that positions are rotary
            base = self.inputs.rotary_base
            query, key = (
                torch.stack([rotary.rotate(part, position_ids, base) for part in parts])
                for parts in (query, key)
            )
        if is_token is not None:
            key, value = (torch.stack([of_tokens(p, is_token) for p in x]) for x in (key, value))
        tokens = complex_tokens(query.unsqueeze(3), key, value)
        return tokens._replace(values=torch.cat([tokens.values, tokens.keys], dim=-1))

    def merge(self, read: Tensor, tokens: Tokens) -> Tensor:
        """Over the norms of the rows; the real parts of all heads, then the imaginary ones."""
        width = 2 * self.head_dim
        mixed, keys = read[..., :width], read[..., width:]
        queries = tokens.queries.squeeze(2).to(keys.dtype)
        squares = (keys * queries).sum((-1, 2)).clamp_min(0)  # rounding may go below 0
        norm = ((squares + _LEAST_SQUARE) * self.head_dim).sqrt()  # [B, H, T]
        mixed = complex_read(mixed) / norm.unsqueeze(-1)
        return mixed.permute(1, 3, 0, 2, 4).flatten(2)

"""Phase-associative memory: gated linear attention with complex queries, keys and values."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention import rotary
from ketformer.attention.checks import check_weights
from ketformer.attention.gated_linear import GatedLinear, modulus
from ketformer.attention.linear import Tokens, complex_read, complex_tokens
from ketformer.attention.mixer import MixerOptions
from ketformer.attention.recurrent import of_tokens
from ketformer.errors import KetformerError


class PAM(GatedLinear):
    """The recurrence of arXiv 2604.05030, ``S_t = γ_t S_{t-1} + v'_t k†_t``, in complex numbers.

    The two halves of the hidden state are the real and imaginary part of the paper's complex
    stream x. Queries, keys and values are complex linear in x, d = d_head / 2 entries for each
    head; decay γ and gate are those of :class:`~ketformer.attention.gated_linear.GatedLinear`. A
    head returns ``S_t q_t / sqrt(d)``, without a softmax or a denominator. With rotary positions
    entry m of queries and keys is multiplied by exp(i t base^(-m/d)), as in the paper.

    It is quantum only in its vocabulary: there are no circuits, and a complex head is two real ones
    of twice the width with tied weights. In half precision the state is kept in float32. Ours are
    the real output layer, where the paper's is complex, and the start of linear maps, which is the
    decoder's. The parallel form is exact, where the released code takes log(γ + 1e-6).

    Args:
        hidden_size: width of the hidden states; the head width must be even.
        num_heads: number of heads.
        states: number of states, as in the paper's later version: state s has a decay of its own,
            and what is read from it is multiplied by exp(i φ_s), φ linear in |x|, before the sum.
        gate: whether a head can protect its state from what it writes.
        decay: whether a state fades; without, γ = 1, and only sums are left.
        qk_norm: keep only the phases of queries and keys; the paper saw this collapse.
        common: see :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        NotOfferedError: several states without decays.
        KetformerError: an invalid size or option.
    """

    paper = "2604.05030"
    twins = ("classical_gated_linear",)

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        states: int = 1,
        gate: bool = True,
        decay: bool = True,
        qk_norm: bool = False,
        **common: Unpack[MixerOptions],
    ) -> None:
        half = hidden_size // 2
        super().__init__(
            hidden_size, num_heads, moduli=half, states=states, gate=gate, decay=decay, **common
        )
        if self.head_dim % 2:
            raise KetformerError(
                f"pam pairs real and imaginary parts: the head width {self.head_dim} must be even"
            )
        check_weights("hidden_size", hidden_size, 2 * hidden_size)
        self.qk_norm = qk_norm
        self.real_proj = nn.Linear(half, 3 * half, bias=self.bias)
        self.imag_proj = nn.Linear(half, 3 * half, bias=self.bias)
        several = states > 1
        self.phase_proj = nn.Linear(half, num_heads * states, bias=False) if several else None
        self.phase_bias = nn.Parameter(torch.empty(num_heads * states)) if several else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin with slow decays, open gates, and no phases between the states."""
        super().reset_parameters()
        if self.phase_proj is not None and self.phase_bias is not None:
            nn.init.zeros_(self.phase_proj.weight)
            nn.init.zeros_(self.phase_bias)

    def project(
        self, hidden_states: Tensor, position_ids: Tensor, is_token: Tensor | None
    ) -> Tokens:
        """Complex queries, keys and values of each position and head."""
        halves = hidden_states.unflatten(-1, (2, -1)).movedim(-2, 0)  # Re and Im of x
        by_real, by_imag = self.real_proj(halves), self.imag_proj(halves)
        parts = torch.stack([by_real[0] - by_imag[1], by_real[1] + by_imag[0]])
        # [2, B, T, 3 H d] to three [2, B, H, T, d]
        parts = parts.unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0).transpose(-2, -3)
        query, key, value = parts
        if self.positions == "rotary":
            assert self.inputs is not None  # it says that positions are rotary
            width, base = query.shape[-1], self.inputs.rotary_base
            angles = rotary.phases(position_ids, width, base, query.dtype).unsqueeze(1)
            query, key = turned(query, angles), turned(key, angles)
        if self.qk_norm:
            query, key = query / modulus(*query), key / modulus(*key)
        moduli = modulus(*halves)
        log_decay, free = self.decays(hidden_states, moduli)
        query = (query * query.shape[-1] ** -0.5).unsqueeze(-3)
        if self.phase_proj is not None and self.phase_bias is not None:
            angles = self.phase_proj(moduli) + self.phase_bias  # [B, T, H K]
            angles = angles.unflatten(-1, (self.num_heads, -1)).movedim(1, -1)
            query = turned(query, angles.unsqueeze(-1))  # [2, B, H, K, T, d]
        value = value if free is None else free * value
        if is_token is not None:
            key, value = (torch.stack([of_tokens(p, is_token) for p in x]) for x in (key, value))
        return complex_tokens(query, key, value, of_tokens(log_decay, is_token, dim=-1))

    def merge(self, read: Tensor, tokens: Tokens) -> Tensor:
        """The real parts of all heads, then the imaginary ones."""
        return complex_read(read).permute(1, 3, 0, 2, 4).flatten(2)


def turned(parts: Tensor, angles: Tensor) -> Tensor:
    """Complex numbers ``[2, …]``, Re and Im, times exp(i angle)."""
    (real, imag), cos, sin = parts, angles.cos(), angles.sin()
    return torch.stack([real * cos - imag * sin, real * sin + imag * cos]).to(parts.dtype)

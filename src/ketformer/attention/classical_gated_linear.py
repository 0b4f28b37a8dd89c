"""Gated linear attention in real numbers, the classical twin of `pam`."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention import rotary
from ketformer.attention.checks import check_weights
from ketformer.attention.gated_linear import GatedLinear, modulus
from ketformer.attention.linear import Tokens
from ketformer.attention.mixer import MixerOptions
from ketformer.attention.recurrent import of_tokens


class ClassicalGatedLinear(GatedLinear):
    """Gated linear attention in real numbers: the twin of `pam` without its complex numbers.

    Queries, keys and values are linear, as in GPT; decay and gate are those of :class:`PAM
    <ketformer.attention.pam.PAM>`, from x and its absolute values. A gain over ``classical`` that
    both show is due to the recurrence; one that only PAM shows, to its complex numbers. There is
    no softmax and no denominator. With rotary positions queries and keys are turned.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads.
        gate: whether a head can protect its state from what it writes.
        decay: whether a state fades; without, γ = 1.
        common: see :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        KetformerError: an invalid size or option.
    """

    control = "the same gated linear recurrence in real numbers"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        gate: bool = True,
        decay: bool = True,
        **common: Unpack[MixerOptions],
    ) -> None:
        super().__init__(
            hidden_size, num_heads, moduli=hidden_size, gate=gate, decay=decay, **common
        )
        check_weights("hidden_size", hidden_size, 3 * hidden_size)
        self.token_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=self.bias)
        self.reset_parameters()

    def project(
        self, hidden_states: Tensor, position_ids: Tensor, is_token: Tensor | None
    ) -> Tokens:
        """One query, key and value for each position and head."""
        query, key, value = map(self.split_heads, self.token_proj(hidden_states).chunk(3, dim=-1))
        if self.positions == "rotary":
            assert self.inputs is not None  # it says that positions are rotary
            base = self.inputs.rotary_base
            query = rotary.rotate(query, position_ids, base)
            key = rotary.rotate(key, position_ids, base)
        log_decay, free = self.decays(hidden_states, modulus(hidden_states))
        value = value if free is None else free * value
        return Tokens(
            (query * self.head_dim**-0.5)[:, :, None, None],
            of_tokens(key, is_token),
            of_tokens(value, is_token),
            of_tokens(log_decay, is_token, dim=-1),
        )

    def merge(self, read: Tensor, tokens: Tokens) -> Tensor:
        """Heads side by side."""
        return read.squeeze(2).transpose(1, 2).flatten(2)

"""The layer of the Tensorized Transformer (arXiv 1906.09777), made causal."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.checks import check_weights
from ketformer.attention.mixer import Mixer, MixerOptions
from ketformer.attention.recurrent import RecurrentMixer, State, of_tokens
from ketformer.attention.slots import number_of_slots, require_slots, slots_of, tokens_so_far
from ketformer.errors import KetformerError

#: Queries computed at a time, which see no further than the last of them.
_CHUNK = 16


class BlockTerms(Mixer):
    """Weights and sums of block-term attention (arXiv 1906.09777), for any set of visible pairs.

    Every query i forms a matrix over pairs of positions, and W_o reads the whole matrix::

        F_ijk = sum_r c_r [(q_i + u)_r k_jr + (q_i + w)_r p_jr] v_kr
        out_i = sum_jk W_o[:, jk] F_ijk

    with queries, keys and values of rank R, relative positions ``p_j``, linear in the sinusoid of
    T - 1 - j for T the context length, and trained c, u and w. There is no softmax and no scale.

    Ours: heads, each with weights of its own, that write d / H channels each, followed by the
    output layer that all mixers have; one head with an identity there is the paper's layer. And
    the start: c standard normal over sqrt(R), u and w 0, W_o standard normal over T.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads; every released script has one.
        rank: R; None for the width of a head.
        n_cores: number of vectors c, of which the mean counts. F is linear in c, so several are
            one vector trained with another step size.
        common: see :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        KetformerError: an invalid size or option.
        NotOfferedError: positions are not ``learned``.
    """

    paper = "1906.09777"
    learned_positions = True

    @classmethod
    def weights_of_context(cls, hidden_size: int, max_positions: int) -> int:
        """A weight of W_o for each pair of positions and each channel."""
        return hidden_size * max_positions**2

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        rank: int | None = None,
        n_cores: int = 1,
        **common: Unpack[MixerOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        name = type(self).__name__
        self.require_learned_positions(f"{name} has relative positions of its own")
        self.rank = self.head_dim if rank is None else rank
        for option, value in (("rank", self.rank), ("n_cores", n_cores)):
            if value < 1:
                raise KetformerError(f"{option} must be positive, got {value}")
        self.slots = number_of_slots(self.inputs)
        check_weights(f"the output tensor of {name}", hidden_size, self.slots**2)
        check_weights("rank", hidden_size, 3 * num_heads * self.rank)
        self.qkv_proj = nn.Linear(hidden_size, 3 * num_heads * self.rank, bias=self.bias)
        self.position_proj = nn.Linear(hidden_size, num_heads * self.rank, bias=False)
        self.cores = nn.Parameter(torch.empty(n_cores, num_heads, self.rank))
        self.key_bias = nn.Parameter(torch.empty(num_heads, self.rank))
        self.position_bias = nn.Parameter(torch.empty(num_heads, self.rank))
        self.pair_weight = nn.Parameter(
            torch.empty(num_heads, self.head_dim, self.slots, self.slots)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin with outputs of the size of the hidden states, and without biases."""
        super().reset_parameters()
        nn.init.normal_(self.cores, std=self.rank**-0.5)
        nn.init.zeros_(self.key_bias)
        nn.init.zeros_(self.position_bias)
        nn.init.normal_(self.pair_weight, std=1 / self.slots)

    def factors(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``c (q + u)``, ``c (q + w)``, keys and values, each ``[B, H, T, R]``, at least float32.

        Args:
            hidden_states: ``[B, T, hidden_size]``.
        """
        wide = torch.promote_types(hidden_states.dtype, torch.float32)
        projected = self.qkv_proj(hidden_states).to(wide)
        query, keys, values = map(self.split_heads, projected.chunk(3, dim=-1))
        core = self.cores.to(wide).mean(0).unsqueeze(1)
        by_key = (query + self.key_bias.to(wide).unsqueeze(1)) * core
        by_position = (query + self.position_bias.to(wide).unsqueeze(1)) * core
        return by_key, by_position, keys, values

    def sinusoids(self, like: Tensor) -> Tensor:
        """The sinusoids of T - 1, …, 0 with the type and device of ``like``, ``[T, d]``."""
        places = torch.arange(self.slots - 1, -1, -1, device=like.device, dtype=like.dtype)
        index = torch.arange(0, self.hidden_size, 2, device=like.device, dtype=like.dtype)
        turns = torch.outer(places, torch.exp(-math.log(10_000) * index / self.hidden_size))
        return torch.cat([turns.sin(), turns.cos()], dim=-1)[:, : self.hidden_size]

    def relative_positions(self, count: int, like: Tensor) -> Tensor:
        """``p_j`` of the first slots, ``[H, count, R]``."""
        weight = self.position_proj.weight.to(like.dtype)
        projected = self.sinusoids(like)[:count] @ weight.mT
        heads: Tensor = projected.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(0, 1)

    def sum_of_pairs(
        self,
        by_key: Tensor,
        by_position: Tensor,
        keys: Tensor,
        values: Tensor,
        visible: Tensor,
    ) -> Tensor:
        """The outputs ``[B, T, hidden_size]``, from the sums as they are written.

        Args:
            by_key: ``[B, H, T, R]``, see :meth:`factors`.
            by_position: ``[B, H, T, R]``.
            keys: in their slots, ``[B, H, S, R]``.
            values: in their slots, ``[B, H, S, R]``.
            visible: which slots each query sees, bool ``[B or 1, T, S]``. If the mixer is causal,
                the last query sees all, and one that is n before it no more than all but n.
        """
        length, slots = by_key.shape[2], keys.shape[2]
        places, weight = self.relative_positions(slots, keys), self.pair_weight.to(keys.dtype)
        outputs = []
        for begin in range(0, length, _CHUNK):
            end = min(begin + _CHUNK, length)
            seen = slots - (length - end) if self.is_causal else slots
            some = (slice(None), slice(None), slice(begin, end), None)
            kept = visible[:, None, begin:end, :seen].to(keys.dtype)
            left = by_key[some] * keys[:, :, None, :seen]
            left = (left + by_position[some] * places[:, None, :seen]) * kept.unsqueeze(-1)
            pairs = (left @ values[:, :, None, :seen].mT) * kept.unsqueeze(-2)
            outputs.append(
                torch.einsum("bhtjk,hojk->btho", pairs, weight[..., :seen, :seen]).flatten(2)
            )
        return torch.cat(outputs, dim=1)


class Tensorized(BlockTerms, RecurrentMixer):
    """Causal block-term attention: the masked twin of ``tensorized_published``.

    The equations are those of :class:`BlockTerms` without the terms with j > i or k > i, which the
    released layer keeps. Training sums them as they are written, O(T³ (R + d / H)) for each head.

    For generation W_o can be summed with keys and values first, so that a token costs
    O(i R d / H)::

        A_i[o, r] = sum_{j,k<=i} W_o[o, jk] k_jr v_kr,   B_i likewise with p_j for k_j,
        out_i = A_i [c (q_i + u)] + B_i [c (q_i + w)]

    where token i adds row and column i of W_o. The causal form and this recurrence are ours. A
    context shorter than T takes the leading block of W_o, and p_j stays the same.

    Options and errors as in :class:`BlockTerms`.
    """

    twins = ("classical",)

    def parallel(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
        *,
        keep: bool,
    ) -> tuple[Tensor, State]:
        """All pairs of positions. The state is the number of tokens, their keys and values."""
        hidden_states = of_tokens(hidden_states, is_token)
        by_key, by_position, keys, values = self.factors(hidden_states)
        earlier = None if state is None else state[0]
        slots = slots_of(earlier, is_token, hidden_states)
        total = hidden_states.shape[1] + (0 if state is None else state[1].shape[2])
        require_slots(type(self).__name__, total, self.slots)
        keys, values = in_slots((keys, values), slots, is_token, total, state and state[1:3])
        visible = torch.arange(total, device=slots.device) <= slots.unsqueeze(-1)
        outputs = self.sum_of_pairs(by_key, by_position, keys, values, visible)
        count = tokens_so_far(earlier, is_token, hidden_states)
        return of_tokens(outputs, is_token), (count, keys, values)

    def recurrent(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """From A and B, which follow the number of tokens, keys and values in the state."""
        hidden_states = of_tokens(hidden_states, is_token)
        by_key, by_position, key, value = self.factors(hidden_states)
        if state is None:
            nothing = key[:, :, :0]
            state = (key.new_zeros(len(key), dtype=torch.long), nothing, nothing)
        count, keys, values = state[:3]
        total = keys.shape[2] + 1
        require_slots(type(self).__name__, total, self.slots)
        of_keys, of_places = state[3:] if len(state) > 3 else self._summed(count, keys, values)
        slots = slots_of(count, is_token, hidden_states)
        old_keys = F.pad(keys, (0, 0, 0, 1))
        keys, values = in_slots((key, value), slots, is_token, total, (keys, values))
        # Row and column of W_o for this token, and p for its slot, of each sequence.
        slot = slots[:, 0].expand(len(key))
        weight, places = self.pair_weight.to(key.dtype), self.relative_positions(total, key)
        row, column = weight[:, :, slot, :total], weight[:, :, :total, slot]
        before = (torch.arange(total, device=slot.device) < slot.unsqueeze(-1)).to(key.dtype)
        own_place = of_tokens(places[:, slot].transpose(0, 1).unsqueeze(2), is_token)
        with_values = torch.einsum("hobk,bhkr->bhor", row, values)
        with_keys = torch.einsum("hojb,bhjr->bhor", column, old_keys)
        with_places = torch.einsum("hojb,bj,hjr->bhor", column, before, places)
        of_keys = of_keys + key * with_values + value * with_keys
        of_places = of_places + own_place * with_values + value * with_places
        read = of_keys @ by_key.mT + of_places @ by_position.mT  # [B, H, d / H, 1]
        outputs = of_tokens(read.flatten(1).unsqueeze(1), is_token)
        count = tokens_so_far(count, is_token, hidden_states)
        return outputs, (count, keys, values, of_keys, of_places)

    def _summed(self, count: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A and B of tokens in their slots, ``[B, H, d / H, R]`` each."""
        slots = keys.shape[2]
        weight = self.pair_weight.to(keys.dtype)[..., :slots, :slots]
        filled = torch.arange(slots, device=keys.device) < count.unsqueeze(-1)
        places = self.relative_positions(slots, keys) * filled[:, None, :, None].to(keys.dtype)
        with_values = torch.einsum("hojk,bhkr->bhojr", weight, values)
        return (
            (with_values * keys.unsqueeze(2)).sum(3),
            (with_values * places.unsqueeze(2)).sum(3),
        )


def in_slots(
    tensors: tuple[Tensor, ...],
    slots: Tensor,
    is_token: Tensor | None,
    count: int,
    earlier: State | None = None,
) -> list[Tensor]:
    """Tensors ``[B, H, T, w]`` of tokens as ``[B, H, count, w]`` by their slots, 0 where none is.

    Args:
        tensors: the tensors, finite also for padding.
        slots: ``[B or 1, T]``.
        is_token: bool ``[B or 1, T]``; None if there is no padding.
        count: number of slots.
        earlier: the tensors so far, with fewer slots.
    """
    place = torch.arange(count, device=slots.device) == slots.unsqueeze(-1)  # [B or 1, T, count]
    if is_token is not None:
        place = place & is_token.unsqueeze(-1)
    put = place.mT.unsqueeze(1).to(tensors[0].dtype)
    found = [put @ tensor for tensor in tensors]
    if earlier is None:
        return found
    return [
        F.pad(old, (0, 0, 0, count - old.shape[2])) + new
        for old, new in zip(earlier, found, strict=True)
    ]

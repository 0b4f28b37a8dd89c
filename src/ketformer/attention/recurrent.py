"""Mixers that keep a state of fixed size instead of the keys and values of earlier positions.

A mechanism writes two forms of the same computation: a parallel one for training and for prompts,
and a recurrent one for generation. :class:`LinearMixer` has both for states that are sums of outer
products; its mechanisms only say what each token reads and writes.
"""

from __future__ import annotations

from typing import Protocol, Unpack

from torch import Tensor
from torch.nn import functional as F

from ketformer.attention import linear
from ketformer.attention.inputs import TokenInputs, positions_of
from ketformer.attention.mixer import Mixer, MixerOptions
from ketformer.attention.shift import halves_of, shifted
from ketformer.errors import KetformerError, NotOfferedError

#: Tensors whose first dimension is the batch.
State = tuple[Tensor, ...]


class StateCache(Protocol):
    """The state of a recurrent mixer after earlier positions, in one layer."""

    def state(self) -> tuple[int, State | None]:
        """How many positions there were, padding included, and the state after them; None of 0."""

    def keep(self, state: State, positions: int) -> None:
        """Replace the state by that after as many more positions."""


class RecurrentMixer(Mixer):
    """A mixer that knows earlier positions only through a state of fixed size.

    A mechanism implements :meth:`parallel` and :meth:`recurrent`. It has no attention weights;
    ``dropout`` drops entries of what they return.

    Options as in :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        NotOfferedError: positions are ``alibi``, which lowers scores.
    """

    def __init__(self, hidden_size: int, num_heads: int, **common: Unpack[MixerOptions]) -> None:
        super().__init__(hidden_size, num_heads, **common)
        if self.positions == "alibi":
            raise NotOfferedError(
                f"{type(self).__name__} has no scores for positions=alibi to lower; use learned"
            )

    def parallel(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
        *,
        keep: bool,
    ) -> tuple[Tensor, State | None]:
        """All positions at once, from the state before them.

        Args:
            hidden_states: ``[B, T, hidden_size]``.
            position_ids: ``[B or 1, T]``.
            is_token: bool ``[B or 1, T]``, false for padding, which must not touch the state,
                whatever it contains; None if there is none.
            state: after earlier positions; None if there are none.
            keep: whether the state after the positions is wanted.

        Returns:
            What goes into :meth:`output`, ``[B, T, its width]``, and the state after the positions,
            or None if it is not wanted.
        """
        raise NotImplementedError  # abstract

    def recurrent(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """As :meth:`parallel`, for a single position."""
        raise NotImplementedError  # abstract

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: Tensor | None = None,
        cache: StateCache | None = None,
        return_weights: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, None]:
        """Mix the tokens, see :meth:`Mixer.forward`.

        Of the mask only the padding counts, which is what its last query does not see; the order
        of the positions does the rest. ``cache`` takes the new state.

        Raises:
            NotOfferedError: weights were requested.
            KetformerError: a cache without ``tokens`` where positions are rotary.
        """
        name = type(self).__name__
        if return_weights:
            raise NotOfferedError(f"{name} keeps a state, so it has no attention weights")
        if cache is not None and tokens is None and self.positions == "rotary":
            raise KetformerError("positions=rotary with a cache needs the positions: pass `tokens`")
        places, length = positions_of(hidden_states, tokens), hidden_states.shape[1]
        seen, state = (0, None) if cache is None else cache.state()
        is_token = None if mask is None else mask[:, 0, -1, seen : seen + length]
        halves = None
        if self.token_shift:
            padding = None if is_token is None else is_token[:, None]
            halves = halves_of(hidden_states, self.num_heads, padding)
            before = None if state is None else state[0]
            hidden_states = shifted(hidden_states, halves, before)
            state = None if state is None else state[1:]
        new: State | None
        if cache is not None and length == 1:
            mixed, new = self.recurrent(hidden_states, places, is_token, state)
        else:
            keep = cache is not None
            mixed, new = self.parallel(hidden_states, places, is_token, state, keep=keep)
        if cache is not None:
            assert new is not None  # it was wanted
            cache.keep(new if halves is None else (halves[..., -1:, :], *new), length)
        mixed = F.dropout(mixed, self.dropout, self.training)
        return self.output(mixed.to(hidden_states.dtype)), None

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mixer."""
        return f"heads={self.num_heads}"


class LinearMixer(RecurrentMixer):
    """A mixer whose state is a sum of outer products, see :mod:`ketformer.attention.linear`.

    A mechanism implements :meth:`project` and :meth:`merge`; training takes O(T), in chunks.
    """

    def project(
        self, hidden_states: Tensor, position_ids: Tensor, is_token: Tensor | None
    ) -> linear.Tokens:
        """What each position reads and writes; arguments as in :meth:`parallel`.

        Padding writes keys and values of 0 and has a decay of 1.
        """
        raise NotImplementedError  # abstract

    def merge(self, read: Tensor, tokens: linear.Tokens) -> Tensor:
        """What goes into :meth:`output`, ``[B, T, its width]``.

        Args:
            read: what each query of each position reads, ``[B, H, R, T, v]``.
            tokens: as :meth:`project` gave them.
        """
        raise NotImplementedError  # abstract

    def parallel(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
        *,
        keep: bool,
    ) -> tuple[Tensor, State | None]:
        """In chunks of positions."""
        tokens = self.project(hidden_states, position_ids, is_token)
        read, new = linear.in_chunks(tokens, None if state is None else state[0], keep=keep)
        return self.merge(read, tokens), None if new is None else (new,)

    def recurrent(
        self,
        hidden_states: Tensor,
        position_ids: Tensor,
        is_token: Tensor | None,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """As the recurrence is written."""
        tokens = self.project(hidden_states, position_ids, is_token)
        read, new = linear.step(tokens, linear.start(tokens) if state is None else state[0])
        return self.merge(read, tokens), (new,)


def of_tokens(tensor: Tensor, is_token: Tensor | None, dim: int = -2) -> Tensor:
    """The tensor with 0 at padding; positions are in dimension ``dim``, the batch in the first.

    Not a product with the mask: padding may hold anything, NaN included.
    """
    if is_token is None:
        return tensor
    sizes = [1] * tensor.ndim
    sizes[0], sizes[dim] = is_token.shape
    return tensor.masked_fill(~is_token.view(sizes), 0)

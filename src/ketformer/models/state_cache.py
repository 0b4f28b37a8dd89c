"""The state of a recurrent mixer as one layer of a cache of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from ketformer.attention.recurrent import State
from ketformer.errors import NotOfferedError


class StateLayer(CacheLayerMixin):
    """A state of fixed size, in a layer of any cache that ``generate`` makes.

    The layers that transformers has for recurrent models do not count positions, and cannot select
    or repeat sequences. A state cannot go back to an earlier position, so it cannot be cropped.

    Args:
        in_place: keep the tensors of the first state and overwrite them, as a static cache does:
            what a graph of a GPU returns is overwritten when it runs again.
    """

    supports_early_init = False

    def __init__(self, in_place: bool = False) -> None:
        super().__init__()
        self.in_place = in_place
        self.state: State | None = None
        self.seen = 0

    def keep(self, state: State, positions: int) -> None:
        """Replace the state by that after as many more positions."""
        self.seen += positions
        if not self.in_place:
            self.state = state
        elif self.state is not None and _sizes(self.state) == _sizes(state):
            for kept, new in zip(self.state, state, strict=True):
                kept.copy_(new)
        else:  # the first one, or one that grows
            self.state = _own(state)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """There is nothing to prepare."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        """Refused.

        Raises:
            NotOfferedError: always; there are no keys and values.
        """
        raise NotOfferedError("this layer's cache holds a recurrent state, not keys and values")

    def get_seq_length(self) -> int:
        """How many positions there were, padding included."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many positions a mask has, and where it begins."""
        return self.seen + query_length, 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    def reset(self) -> None:
        """Forget everything."""
        self.state, self.seen = None, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take other sequences of the batch, as beam search does."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep those sequences of the batch."""
        if self.state is not None:
            self.state = tuple(part[indices.to(part.device)] for part in self.state)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each sequence of the batch."""
        if self.state is not None:
            self.state = tuple(part.repeat_interleave(repeats, dim=0) for part in self.state)

    def crop(self, tokens_to_remove: int) -> None:
        """Refused, unless nothing is to be removed.

        Raises:
            NotOfferedError: the state cannot go back to an earlier position.
        """
        if tokens_to_remove:
            raise NotOfferedError(
                "a recurrent state cannot go back to an earlier position, as speculative decoding "
                "needs; generate without an assistant or prompt lookup"
            )

    def offload(self) -> None:
        """Stay: the state is small, and every token needs it."""

    def prefetch(self) -> None:
        """Stay, see :meth:`offload`."""


def _sizes(state: State) -> list[torch.Size]:
    return [part.shape for part in state]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _own(state: State) -> State:
    """A copy outside of any graph."""
    own = tuple(part.clone() for part in state)
    for part in own:
        torch._dynamo.mark_static_address(part)
    return own

"""A key-value cache with spare room: a new token is written in place, not concatenated."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

#: Rooms hold a multiple of this many tokens. Much more would spread the tokens over memory that is
#: read more slowly.
_STEP = 32


class RoomyLayer(DynamicLayer):
    """The growing layer of transformers, which copies all tokens only when its room is full.

    Keys and values are views of the room's first tokens. Whatever else is done to them, such as
    selecting rows, the next token moves them back into the room.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rooms: dict[str, Tensor] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Add ``[B, H, T, D]`` and return all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._joined("keys", self.keys, key_states)
        self.values = self._joined("values", self.values, value_states)
        return self.keys, self.values

    def _joined(self, name: str, kept: Tensor, new: Tensor) -> Tensor:
        seen = kept.shape[-2] if kept.numel() else 0
        end = seen + new.shape[-2]
        room = self._rooms.get(name)
        if room is None or end > room.shape[-2] or kept.data_ptr() != room.data_ptr():
            if room is None or end > room.shape[-2] or len(new) > len(room):
                size = -(-end // _STEP) * _STEP
                room = new.new_empty(*new.shape[:-2], size, new.shape[-1])
            self._rooms[name] = room = room[: len(new)]
            if seen:
                room.narrow(-2, 0, seen).copy_(kept)
        room.narrow(-2, seen, end - seen).copy_(new)  # takes less time than indexing
        return room.narrow(-2, 0, end)


def roomy_cache() -> Cache:
    """An empty cache for any number of layers, to be passed as ``past_key_values``."""
    return Cache(layer_class_to_replicate=RoomyLayer)

"""A key-value cache with spare room: a new token is written in place, not concatenated."""

from __future__ import annotations

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

_LEAST = 32  # tokens that a new cache has room for, at least


class RoomyLayer(DynamicLayer):
    """transformers' growing layer, without copying everything at each token.

    Keys and values are views of tensors that were allocated at twice the length needed. What the
    base class does to the views (reordering beams, selecting rows, cropping tokens) is detected
    here, so all of it works.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._rooms: dict[str, Tensor] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Add ``[B, H, T, D]`` and return all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._joined("keys", self.keys, key_states)
        self.values = self._joined("values", self.values, value_states)
        return self.keys, self.values

    def _joined(self, name: str, kept: Tensor, new: Tensor) -> Tensor:
        start = kept.shape[-2] if kept.numel() else 0
        end = start + new.shape[-2]
        room = self._rooms.get(name)
        moved = room is None or not start or kept.data_ptr() != room.data_ptr()
        if room is None or moved or end > room.shape[-2]:
            room = new.new_empty(*new.shape[:-2], max(2 * end, _LEAST), new.shape[-1])
            if start:
                room[..., :start, :] = kept
            self._rooms[name] = room
        room[..., start:end, :] = new
        return room[..., :end, :]


def roomy_cache() -> Cache:
    """An empty cache for any number of layers, to be passed as ``past_key_values``."""
    return Cache(layer_class_to_replicate=RoomyLayer)

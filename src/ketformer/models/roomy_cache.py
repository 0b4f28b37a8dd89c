"""A key-value cache with spare room: a new token is written in place, not concatenated."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

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
                room.narrow(-2, 0, start).copy_(kept)
            self._rooms[name] = room
        # In every layer at every token: narrowing takes a third of the time of indexing.
        room.narrow(-2, start, end - start).copy_(new)
        return room.narrow(-2, 0, end)


def roomy_cache() -> Cache:
    """An empty cache for any number of layers, to be passed as ``past_key_values``."""
    return Cache(layer_class_to_replicate=RoomyLayer)


class RoomyGeneration:
    """A mixin before ``GenerationMixin``: what ``generate`` allocates for itself has spare room.

    A cache that is passed to it, and any kind that ``cache_implementation`` names, stay as they
    are.
    """

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        given = model_kwargs.get("past_key_values")
        prepare: Any = super()
        prepare._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        cache: Any = model_kwargs.get("past_key_values")
        if cache is given or type(cache) is not DynamicCache or cache.offloading:
            return
        # Layers of another type forget what a sliding window has left behind.
        cache.layers = [RoomyLayer() if type(old) is DynamicLayer else old for old in cache.layers]
        if cache.layer_class_to_replicate is DynamicLayer:
            cache.layer_class_to_replicate = RoomyLayer

"""Where a leak enters: the modules, and the heads of an attention."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ketformer.audit.result import Source
from ketformer.audit.subjects import Subject, difference

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head")


def sources_of(
    subject: Subject, inputs: Tensor, position: int, tolerance: float
) -> tuple[Source, ...]:
    """The modules whose earlier outputs change with a token although their earlier inputs do not.

    The outputs of a module that was found are put back to what they were, so that later modules
    get clean inputs again: every layer that leaks is found, not only the first.

    Args:
        subject: must contain a module, or the result is empty.
        inputs: ``[B, T]``.
        position: the token that is replaced.
        tolerance: up to this part of the largest value in a tensor, its changes are rounding.
    """
    if subject.module is None:
        return ()
    changed = inputs.clone()
    changed[:, position] = subject.replaced(inputs[:, position])
    moved = difference(subject(changed), subject(inputs))[:, :position].amax(dim=(1, 2))
    row = int(moved.argmax())
    rows = slice(row, row + 1)
    tracer = _Tracer(subject.module, inputs.shape[1], position, tolerance)
    handles = [
        handle
        for name, module in subject.module.named_modules()
        for handle in tracer.attach(name, module)
    ]
    try:
        subject(inputs[rows], rows=rows)
        tracer.compare()
        subject(changed[rows], rows=rows)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(tracer.found.values())


class _Tracer:
    """Hooks that keep what goes into and out of each module, then compare with it."""

    def __init__(self, module: nn.Module, length: int, position: int, tolerance: float) -> None:
        self.length, self.position, self.tolerance = length, position, tolerance
        self.config = getattr(module, "config", None)
        self.kept: dict[tuple[str, str, int], list[Tensor]] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.comparing = False
        self.dirty: list[tuple[str, Tensor]] = []  # projections whose inputs changed, and how far
        self.clean: dict[str, bool] = {}
        self.found: dict[str, Source] = {}

    def compare(self) -> None:
        """From now on compare."""
        self.calls.clear()
        self.comparing = True

    def attach(self, name: str, module: nn.Module) -> list[Any]:
        """Register the hooks of a module."""

        def before(_: nn.Module, args: Any, kwargs: Any) -> None:
            leaves = [self._earlier(leaf) for leaf in tree_flatten((args, kwargs))[0]]
            changes = self._changes(name, "in", leaves)
            self.clean[name] = not any(change.any() for change in changes)
            weight = getattr(module, "weight", None)
            if not self.clean[name] and isinstance(weight, Tensor) and weight.ndim == 2:
                self.dirty.append((name, max(changes, key=_largest)))

        def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            leaves, shape = tree_flatten(output)
            parts = [self._earlier(leaf) for leaf in leaves]
            kept = self.kept.get(self._key(name, "out"), [])
            changes = self._changes(name, "out", parts)
            if not changes or not self.clean.get(name):
                return None
            most = max(changes, key=_largest)
            if (largest := _largest(most)) == 0:
                return None
            known = self.found.get(name)
            if known is None or known.change < largest:
                self.found[name] = Source(name, largest, self._heads(name, module))
            formers = iter(kept)
            healed = [
                leaf if part is None else self._healed(leaf, next(formers))
                for leaf, part in zip(leaves, parts, strict=True)
            ]
            return tree_unflatten(healed, shape)

        return [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        ]

    def _earlier(self, leaf: Any) -> Tensor | None:
        """The part of a tensor at positions before the changed one, a view; None if it has none."""
        if isinstance(leaf, Tensor):
            for axis in (1, 2, 0, 3):  # [B, T, d], [B, H, T, d] or [B, d, T], [T, B, d]
                if axis < leaf.ndim and leaf.shape[axis] == self.length:
                    return leaf.narrow(axis, 0, self.position)
        return None

    def _healed(self, tensor: Tensor, former: Tensor) -> Tensor:
        copy = tensor.clone(memory_format=torch.contiguous_format)
        if (part := self._earlier(copy)) is not None:
            part.copy_(former)
        return copy

    def _key(self, name: str, side: str) -> tuple[str, str, int]:
        return name, side, self.calls[name, side]

    def _changes(self, name: str, side: str, parts: list[Tensor | None]) -> list[Tensor]:
        """Keep the tensors in the first pass; in the second, how far each one has changed.

        Changes that are rounding count as 0.
        """
        tensors = [part for part in parts if part is not None]
        key = self._key(name, side)
        self.calls[name, side] += 1
        if not self.comparing:
            self.kept[key] = [tensor.clone() for tensor in tensors]
            return []
        pairs = zip(tensors, self.kept.get(key, []), strict=False)
        return [self._change(now, then) for now, then in pairs if now.shape == then.shape]

    def _change(self, now: Tensor, then: Tensor) -> Tensor:
        change = difference(now, then)
        size = difference(then, torch.zeros_like(then))
        highest = size.where(size.isfinite(), 0).max()
        return change.masked_fill(change <= self.tolerance * highest, 0)

    def _heads(self, name: str, module: nn.Module) -> tuple[int, ...] | None:
        """Which heads of an attention changed, from what goes into its last projection."""
        is_attention = "attention" in type(module).__name__.lower() or "attn" in name.lower()
        count = next((getattr(module, n) for n in _HEADS if hasattr(module, n)), None)
        if count is None and is_attention:
            count = next((getattr(self.config, n) for n in _HEADS if hasattr(self.config, n)), None)
        merged = [
            change
            for child, change in self.dirty
            if child.startswith(f"{name}.") and change.ndim == 3
        ]
        if not isinstance(count, int) or not merged or merged[-1].shape[-1] % count:
            return None
        heads = merged[-1].unflatten(-1, (count, -1)).amax(dim=(0, 1, 3))
        return tuple(heads.nonzero()[:, 0].tolist())


def _largest(change: Tensor) -> float:
    return float(change.max())

"""How long a training step and an evaluation of each row take on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor

from ketformer.comparison.budget import Cost
from ketformer.comparison.variants import Variant
from ketformer.evaluation.text import PREFIX_TOKENS
from ketformer.models import KetformerForCausalLM
from ketformer.runs import Settings
from ketformer.runs.data import build_model
from ketformer.tasks.base import Prepared
from ketformer.utils.machine import available_cores
from ketformer.utils.timing import bench_device, finished, interleaved

_REPEATS = 3
# Beside the model's own work, Trainer takes this share of a step.
_TRAINER = 1.2
# Tokens that samples or continuations run through a model in an evaluation, roughly.
_SAMPLED = 1 << 18


def measured_costs(
    variants: Sequence[Variant], settings: Settings, data: Prepared, processes: int
) -> list[Cost]:
    """Time a few steps of each row, which take turns.

    Args:
        variants: the rows.
        settings: the settings they share.
        data: its prepared data.
        processes: how many runs share the cores.
    """
    steps, passes = {}, {}
    tokens = evaluated = 1
    for variant in variants:
        own = settings.override(variant.changes)
        model = build_model(own, data).to(bench_device())
        context = model.config.max_position_embeddings
        rows, held_out = data.training_sets(context)
        part = len(held_out) * context
        evaluated = part + min(part * (context + 1) // 2, PREFIX_TOKENS) + _SAMPLED
        size = min(own.training.get("per_device_train_batch_size", 8), len(rows))
        batch = {k: v.to(model.device) for k, v in rows.batch(list(range(size))).items()}
        tokens = batch["input_ids"].numel()
        steps[variant.name] = _step(model, batch)
        passes[variant.name] = _forward(model, batch)
    with _threads(max(available_cores() // processes, 1)):
        trained = interleaved(steps, _REPEATS)
        read = interleaved(passes, _REPEATS)
    return [
        Cost(
            name,
            _TRAINER * median(trained[name]),
            median(read[name]) * evaluated / tokens,
        )
        for name in steps
    ]


def _step(model: KetformerForCausalLM, batch: dict[str, Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        model.train()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return finished(step, model.device)


def _forward(model: KetformerForCausalLM, batch: dict[str, Tensor]) -> Callable[[], None]:
    inputs = {key: value for key, value in batch.items() if key != "shift_labels"}

    def forward() -> None:
        model.eval()
        with torch.inference_mode():
            model(**inputs, use_cache=False)

    return finished(forward, model.device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

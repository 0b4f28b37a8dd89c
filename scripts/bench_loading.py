"""What loading costs: the time to fetch a batch over the time of a training step, in one run.

Writes results/loading.json. Usage: python scripts/bench_loading.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader, RandomSampler

from ketformer.runs import describe_machine, write_json
from ketformer.settings import load_settings
from ketformer.tasks.text import TextWindows
from ketformer.training import build_model, prepare_text

RESULT = Path(__file__).resolve().parent.parent / "results/loading.json"


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of ``work``, after two calls that are not timed."""
    times = []
    for turn in range(repeats + 2):
        start = time.perf_counter()
        work()
        if turn >= 2:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def measure(preset: str, attention: str) -> dict[str, object]:
    """One row: the preset's own batch, fetched and then trained on."""
    settings = load_settings(preset).override({"data": "embedded", "attention": attention})
    data = prepare_text(settings)
    model = build_model(settings, data.tokenizer)
    optimizer = torch.optim.AdamW(model.parameters())
    windows = TextWindows(data.parts["train"], model.config.max_position_embeddings, stride=1)
    batch_size = settings.training["per_device_train_batch_size"]
    loader = DataLoader(
        windows, batch_size, sampler=RandomSampler(windows), collate_fn=lambda batch: batch
    )
    batches = iter(loader)
    batch = next(batches)

    def step() -> None:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    loading, training = median_ms(lambda: next(batches), 100), median_ms(step, 10)
    return {
        "name": attention,
        "work": f"{preset}, batch {batch_size}",
        "loading_ms": loading,
        "median_ms": training,
        "ratio": loading / training,
        "against": "a training step",
        "device": "cpu",
    }


if __name__ == "__main__":
    rows = [measure(preset, "classical") for preset in ("qisa-small", "char-gpt")]
    write_json(RESULT, {"machine": describe_machine(), "rows": rows})
    print(json.dumps(rows, indent=2))

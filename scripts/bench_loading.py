"""Measure data loading: the share of a training step that is spent waiting for its batch.

Trains with the command's own loop, fetching data once in the loop and once in a worker process.
Writes results/loading.json. Usage: python scripts/bench_loading.py
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from transformers import Trainer

from ketformer.runs import load_settings
from ketformer.training import train
from ketformer.utils.files import write_json
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine

RESULT = Path(__file__).resolve().parent.parent / "results/loading.json"

#: Preset, data, attention, steps.
WORKS = (
    ("qisa-small", "embedded", "classical", 120),
    ("char-gpt", "embedded", "classical", 24),
    ("overlap-qm9", "qm9", "overlap", 120),
    ("overlap-qm9-conditions", "qm9", "overlap", 120),
)
_UNTIMED = 4  # first steps, left out: they allocate memory


def measure(preset: str, data: str, attention: str, steps: int, workers: int) -> dict[str, Any]:
    """Return one row: medians over the steps of one run."""
    settings = load_settings(preset).override(
        {
            "data": data,
            "attention": attention,
            "max_steps": steps,
            "eval_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "dataloader_num_workers": workers,
        }
    )
    fetch = Trainer.get_batch_samples
    began, waited = [], []

    def timed(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        began.append(time.perf_counter())
        batch = fetch(self, *args, **kwargs)
        waited.append(1000 * (time.perf_counter() - began[-1]))
        return batch

    in_time = patch.object(Trainer, "get_batch_samples", timed)
    with tempfile.TemporaryDirectory() as folder, in_time:
        train(settings, Path(folder) / "run", progress=False)
    whole = [1000 * (b - a) for a, b in zip(began[_UNTIMED:], began[_UNTIMED + 1 :], strict=False)]
    loading, step = statistics.median(waited[_UNTIMED:]), statistics.median(whole)
    return {
        "name": attention,
        "work": f"{preset}, batch {settings.training['per_device_train_batch_size']}",
        "workers": workers,
        "loading_ms": loading,
        "median_ms": step,
        "ratio": loading / step,
        "against": "a training step",
        "device": "cpu",
    }


if __name__ == "__main__":
    quiet_libraries()
    rows = [measure(*work, workers) for work in WORKS for workers in (0, 1)]
    write_json(RESULT, {"machine": describe_machine(), "rows": rows})
    print(json.dumps(rows, indent=2))

"""Which circuit `overlap` should have where time counts: losses after training for equally long.

Every row is trained for as long as 600 steps of the published circuit take, so a faster one gets
more steps; parameters, starts and the search for the rate are those of `compare`. A quarter of an
hour of one core.
Usage: python scripts/equal_time_study.py [--seeds 5] [--folder runs/equal-time] [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from ketformer.comparison.costs import measured_costs
from ketformer.comparison.experiment import run_at_best_rates
from ketformer.comparison.search import Search
from ketformer.comparison.start import started_alike
from ketformer.comparison.variants import Variant, matched, rows_of
from ketformer.runs import Settings, load_settings
from ketformer.runs.data import prepare
from ketformer.utils.files import write_json
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine
from ketformer.utils.mappings import read_json

ROOT = Path(__file__).resolve().parent.parent
#: The first is the published circuit; four qubits have as many amplitudes as a head is wide.
CIRCUITS = (
    "overlap:n_qubits=6",
    "overlap:n_qubits=6,entanglement=none",
    "overlap:n_qubits=5",
    "overlap:n_qubits=5,entanglement=none",
    "overlap:n_qubits=4",
    "overlap:n_qubits=4,entanglement=none",
)
_STEPS = 600
PRESET = "char-small"
SETTINGS: dict[str, Any] = {
    "num_hidden_layers": 2,
    "data": "tinyshakespeare",
    "per_device_train_batch_size": 16,
}
# Medians of so many measurements decide how many steps a row gets.
_MEASUREMENTS = 5


def main() -> None:
    """Train, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each row (5)")
    parser.add_argument("--folder", type=Path, default=Path("runs/equal-time"))
    parser.add_argument("--out", type=Path, default=ROOT / "results/equal-time.json")
    given = parser.parse_args()
    quiet_libraries()
    write_json(given.out, {**study(given.seeds, given.folder), "machine": describe_machine()})


def study(seeds: int, folder: Path, *, progress: bool = True) -> dict[str, Any]:
    """The rows as `compare` gives them, each also with ``step_ms`` and ``steps``."""
    settings = load_settings(PRESET).override({**SETTINGS, "max_steps": _STEPS})
    keys = prepare(settings, progress=progress).model_keys
    rows = matched(rows_of(CIRCUITS, settings), settings, keys)
    first = settings.training.get("seed", 42)
    search = Search.around(settings, 3, 1 / 3)
    drawn = [*range(first, first + seeds), search.seed]
    rows = started_alike(rows, settings, keys, 1.0, drawn)
    seconds = _seconds(rows, settings, folder)
    steps = {row.name: round(_STEPS * seconds[rows[0].name] / seconds[row.name]) for row in rows}
    rows = [replace(row, changes={**row.changes, "max_steps": steps[row.name]}) for row in rows]
    result = run_at_best_rates(
        rows, settings, search, folder, range(first, first + seeds), progress=progress
    )
    for row in result["rows"]:
        row |= {"step_ms": 1000 * seconds[row["name"]], "steps": steps[row["name"]]}
    return result


def _seconds(rows: Sequence[Variant], settings: Settings, folder: Path) -> dict[str, float]:
    """What a training step of each takes, measured once, so that a study can be resumed."""
    file = folder / "seconds.json"
    if not file.is_file():
        data = prepare(settings, progress=False)
        found = [measured_costs(rows, settings, data, 1) for _ in range(_MEASUREMENTS)]
        seconds = {
            each[0].name: median(cost.step for cost in each) for each in zip(*found, strict=True)
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, seconds)
    return read_json(file)


if __name__ == "__main__":
    main()

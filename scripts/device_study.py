"""Run the released quantum weights and a trained qisa_a on recorded devices.

Imports the released checkpoints, trains a small qisa_a, measures all of them on three of IBM's
devices as they were recorded, raw and mitigated, and writes results/devices.json after each. What
has been measured is kept in runs/devices/journal.jsonl, so the same command goes on where it was
stopped. Some minutes on one core.
Usage: python scripts/device_study.py [--published FOLDER] [--runs FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers.utils.logging import set_verbosity_error

from ketformer.circuits.device_costs import DeviceCosts
from ketformer.circuits.device_tables import Sizes, device_table_of_run
from ketformer.evaluation import mitigation_study
from ketformer.quantum.backends.devices import find_device
from ketformer.quantum.backends.journal import JOURNAL_FILE
from ketformer.quantum.backends.transpiled import Transpiler
from ketformer.runs import Run, load_settings, open_run
from ketformer.runs.directory import WEIGHTS_FILE, make_manifest
from ketformer.runs.import_checkpoint import import_checkpoint
from ketformer.training import train
from ketformer.utils.files import write_json
from ketformer.utils.progress import Bars

ROOT = Path(__file__).resolve().parent.parent
#: The checkpoints of arXiv 2502.19214 with quantum attention.
RELEASED = {
    "released": "quantum_sequence_epoch_17",
    "released, conditions": "quantum_conditions_epoch_20",
}
TRAINED = "qisa_a"
#: Half a minute of training, and two layers to measure.
SMALL = {
    "attention": "qisa_a",
    "data": "embedded",
    "num_hidden_layers": 2,
    "max_steps": 200,
    "eval_strategy": "no",
}


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        devices: names that :func:`~ketformer.quantum.backends.devices.find_device` knows.
        kinds: of mitigation, see :func:`~ketformer.evaluation.mitigation_study`.
        shots: of each circuit.
        sequences: of a model's test part.
        tokens: of each sequence, the first ones.
        seed: of the shots.
    """

    devices: tuple[str, ...] = ("fake_nairobi", "fake_lagos", "fake_perth")
    kinds: tuple[str, ...] = ("", "readout", "readout,zne")
    shots: int = 2000
    sequences: int = 1
    tokens: int = 5
    seed: int = 0


def run(
    plan: Plan, models: Mapping[str, Path], journal: Path, progress: bool = True
) -> Iterator[dict[str, Any]]:
    """Measure every model on every device, raw and mitigated.

    Args:
        plan: what is measured.
        models: finished runs by name.
        journal: keeps what is measured.
        progress: show bars on standard error.

    Yields:
        After each model and device all that is known so far. ``rows``: those of
        :func:`~ketformer.evaluation.mitigation_study` with their ``model`` and ``device``.
        ``counts``: for each ``model`` and ``device`` the longest circuit after transpilation, and
        ``circuits``, ``shots`` and ``device_seconds`` of all sequences without mitigation, see
        :func:`~ketformer.circuits.device_tables.device_table`. ``data`` by model, ``plan`` and
        ``manifest``.
    """
    found: dict[str, Any] = {"rows": [], "counts": [], "data": {}}
    total, done = len(models) * len(plan.devices), 0
    with Bars(progress, "device") as bars:
        step = bars("device study")
        for model, path in models.items():
            opened = open_run(path)
            for device in plan.devices:
                study = mitigation_study(
                    opened,
                    find_device(device),
                    kinds=plan.kinds,
                    shots=plan.shots,
                    limit=plan.sequences,
                    tokens=plan.tokens,
                    seed=plan.seed,
                    journal=journal,
                    progress=False,
                )
                for row in study["rows"]:
                    del row["seconds"]  # of a simulator that has found some of it in the journal
                    found["rows"].append({"model": model, "device": device, **row})
                found["counts"].append({"model": model, **counted(opened, device, plan)})
                found["data"][model] = {key: study[key] for key in ("data", "split", "part")}
                done += 1
                step(done, total)
                yield {**found, "plan": asdict(plan), "manifest": make_manifest()}


def counted(opened: Run, device: str, plan: Plan) -> dict[str, Any]:
    """What the plan's sequences take on a device."""
    costs = DeviceCosts(Transpiler(find_device(device)))
    sizes = Sizes(length=plan.tokens, sequences=plan.sequences, shots=plan.shots)
    table = device_table_of_run(opened, costs, sizes, progress=False)
    (longest,) = table["rows"]
    (evaluation,) = (row for row in table["passes"] if row["pass"] == "evaluation")
    return {**longest, **{key: evaluation[key] for key in ("circuits", "shots", "device_seconds")}}


def models(published: Path, runs: Path) -> dict[str, Path]:
    """The released models, imported, and a trained one; those that are there already are used."""
    found = {}
    for name, file in RELEASED.items():
        found[name] = runs / file
        if not found[name].exists():
            import_checkpoint(published / f"{file}.pt", found[name])
    found[TRAINED] = runs / TRAINED
    if not (found[TRAINED] / WEIGHTS_FILE).exists():
        train(load_settings("qisa-small").override(SMALL), found[TRAINED])
    return found


def main() -> None:
    """Run the study, and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, default=ROOT / "../shared/published")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/devices")
    parser.add_argument("--out", type=Path, default=ROOT / "results/devices.json")
    given = parser.parse_args()
    set_verbosity_error()
    found = models(given.published, given.runs)
    for result in run(Plan(), found, given.runs / JOURNAL_FILE):
        write_json(given.out, result)


if __name__ == "__main__":
    main()

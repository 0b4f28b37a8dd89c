"""Run the released quantum weights and a trained qisa_a on recorded devices.

Imports the released checkpoints, trains a small qisa_a, measures all of them on three of IBM's
devices as they were recorded, and writes results/devices.json. What has been measured is kept in
runs/devices/journal.jsonl, so the same command goes on where it was stopped. About ten minutes on
one core. Usage: python scripts/device_study.py [--published FOLDER] [--runs FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.utils.logging import set_verbosity_error

from ketformer.attention.base import SCORE
from ketformer.circuits.device_costs import DeviceCosts
from ketformer.circuits.device_tables import Sizes, device_table_of_run
from ketformer.circuits.mechanisms import experiments, layers_with_circuits
from ketformer.circuits.resources import score_scale
from ketformer.evaluation.backend import (
    Sequences,
    compare_with_exact,
    evaluation_sequences,
    planned_batches,
)
from ketformer.quantum import Circuit, PauliStrings
from ketformer.quantum.backends import Journal, open_backend
from ketformer.quantum.backends.devices import find_device
from ketformer.quantum.backends.qiskit import QiskitBackend
from ketformer.quantum.backends.transpiled import Transpiler
from ketformer.runs import Run, load_settings, open_run
from ketformer.runs.directory import JOURNAL_FILE, WEIGHTS_FILE, make_manifest
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
#: A minute of training, and two layers to measure.
SMALL = {
    "attention": "qisa_a",
    "data": "embedded",
    "num_hidden_layers": 2,
    "max_steps": 200,
    "eval_strategy": "no",
}
#: What a row keeps of a measurement.
KEPT = (
    "loss", "exact_loss", "targets", "weight_difference", "mean_weight_difference",
    "logit_difference", "mean_logit_difference", "circuits",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        devices: names that :func:`~ketformer.quantum.backends.devices.find_device` knows.
        mitigations: options of the backend by the name of what they do; ``raw`` for nothing.
        shots: of each circuit.
        sequences: of a model's test part.
        tokens: of each sequence, the first ones.
        seed: of the shots.
    """

    devices: tuple[str, ...] = ("fake_nairobi", "fake_lagos", "fake_perth")
    mitigations: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"raw": {}})
    shots: int = 1000
    sequences: int = 2
    tokens: int = 6
    seed: int = 0


class Watched(QiskitBackend):
    """Notes by how much each expectation differs from the exact one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._exact = open_backend("torch")
        self._squares, self._number = 0.0, 0

    def expectations(self, circuit: Circuit, angles: Tensor, strings: PauliStrings) -> Tensor:
        """As measured."""
        measured = super().expectations(circuit, angles, strings)
        exact = self._exact.expectations(circuit, angles, strings)
        self._squares += float((measured - exact).double().square().sum())
        self._number += exact.numel()
        return measured

    @property
    def error(self) -> float:
        """Root of the mean square of the differences so far."""
        return float((self._squares / self._number) ** 0.5)


def run(
    plan: Plan, models: Mapping[str, Path], journal: Path, progress: bool = True
) -> dict[str, Any]:
    """Measure every model on every device with every mitigation.

    Args:
        plan: what is measured.
        models: finished runs by name.
        journal: keeps what is measured.
        progress: show bars on standard error.

    Returns:
        ``rows``: for each ``model``, ``device`` and ``mitigation`` the ``loss`` in nats, the
        ``exact_loss`` of the closed form, ``expectation_error`` (root mean square),
        ``score_error``, what that is in a score (None where circuits do not give scores), the
        differences of weights and logits, and the number of ``circuits``. ``counts``: for each
        ``model`` and ``device`` the longest circuit after transpilation, and ``circuits``,
        ``shots`` and ``device_seconds`` of all sequences without mitigation, see
        :func:`~ketformer.circuits.device_tables.device_table`. ``data`` by model, ``plan`` and
        ``manifest``.
    """
    rows: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    data: dict[str, dict[str, str]] = {}
    devices = {name: find_device(name) for name in plan.devices}
    total = len(models) * len(devices) * len(plan.mitigations)
    with Journal(journal) as book, Bars(progress, "measurement") as bars:
        step = bars("on devices")
        for model, path in models.items():
            opened = open_run(path)
            whole, data[model] = evaluation_sequences(opened, limit=plan.sequences, progress=False)
            some = shortened(whole, plan.tokens)
            planned = planned_batches(opened.model, some)
            for name, device in devices.items():
                counts.append({"model": model, **counted(opened, device, plan)})
                for mitigation, options in plan.mitigations.items():
                    backend = Watched(device=device, shots=plan.shots, seed=plan.seed, **options)
                    with backend, book.keeping(backend, planned):
                        found = compare_with_exact(opened.model, some, backend)
                    error, scale = backend.error, scale_of_scores(opened)
                    rows.append(
                        {
                            "model": model,
                            "device": name,
                            "mitigation": mitigation,
                            **{key: found[key] for key in KEPT},
                            "expectation_error": error,
                            "score_error": None if scale is None else scale * error,
                        }
                    )
                    step(len(rows), total)
    return {
        "rows": rows,
        "counts": counts,
        "data": data,
        "plan": asdict(plan),
        "manifest": make_manifest(),
    }


def shortened(rows: Sequences, tokens: int) -> Sequences:
    """The first tokens of each sequence."""
    inputs = {**rows.inputs, "input_ids": rows.inputs["input_ids"][:, :tokens]}
    return Sequences(inputs, rows.targets[:, :tokens])


def counted(opened: Run, device: Any, plan: Plan) -> dict[str, Any]:
    """What the plan's sequences take on a device."""
    costs = DeviceCosts(Transpiler(device))
    sizes = Sizes(length=plan.tokens, sequences=plan.sequences, shots=plan.shots)
    table = device_table_of_run(opened, costs, sizes, progress=False)
    (longest,) = table["rows"]
    (evaluation,) = (row for row in table["passes"] if row["pass"] == "evaluation")
    return {**longest, **{key: evaluation[key] for key in ("circuits", "shots", "device_seconds")}}


def scale_of_scores(opened: Run) -> float | None:
    """What the softmax multiplies an expectation by; None if no score is measured."""
    ((layer, *_),) = layers_with_circuits(opened.model).values()
    given = experiments(layer, batch=1, length=1)
    return score_scale(layer) if SCORE in given else None


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
    parser.add_argument("--published", type=Path, default=ROOT / "published")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/devices")
    parser.add_argument("--out", type=Path, default=ROOT / "results/devices.json")
    given = parser.parse_args()
    set_verbosity_error()
    found = models(given.published, given.runs)
    write_json(given.out, run(Plan(), found, given.runs / JOURNAL_FILE))


if __name__ == "__main__":
    main()

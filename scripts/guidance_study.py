"""How much nearer guidance and the best of several bring a model to the published targets.

Each property is requested two standard deviations below and above its mean, as it is, guided, as
the best of several, and both. About three minutes of one core for each run.
Usage: python scripts/guidance_study.py RUN [RUN …] [--num 1000] [--out results/guidance.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ketformer.comparison import summarise
from ketformer.evaluation.conditions import mean_target_error, target_errors
from ketformer.runs import Run, open_run
from ketformer.runs.data import molecules_of
from ketformer.tasks.molecules.conditions import as_asked
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.utils.files import write_json
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
#: The options of `evaluate` that are compared, by their names in the result.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "guided": {"guidance": 1.5},
    "best": {"best_of": 4},
    "both": {"guidance": 1.5, "best_of": 4},
}
_KEPT = ("mae", "validity", "uniqueness", "novelty")


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="conditional runs, one for each seed")
    parser.add_argument("--num", type=int, default=1_000, help="molecules for each target (1000)")
    parser.add_argument("--out", type=Path, default=ROOT / "results/guidance.json")
    given = parser.parse_args()
    quiet_libraries()
    write_json(given.out, study([open_run(path) for path in given.runs], given.num))


def study(runs: Sequence[Run], num: int, *, progress: bool = True) -> dict[str, Any]:
    """The errors of every way at every target, over the runs.

    Returns:
        ``rows``, one for each target: ``property``, ``target``, ``least``, the smallest error that
        any training molecule has, and by way ``mae``, ``validity``, ``uniqueness`` and ``novelty``;
        ``error`` by way, the mean error in standard deviations; ``lower`` by way, by which share
        that is below the plain one.
    """
    data = _data(runs[0])
    found = {
        way: [target_errors(run, data, num, progress=progress, **how) for run in runs]
        for way, how in WAYS.items()
    }
    errors = {way: [mean_target_error(rows) for rows in each] for way, each in found.items()}
    plain = errors["plain"]
    shares = {
        way: [1 - own / before for own, before in zip(each, plain, strict=True)]
        for way, each in errors.items()
        if way != "plain"
    }
    rows = [
        {
            "property": target["property"],
            "target": target["target"],
            "std": target["std"],
            "least": _least(data, target["property"], target["target"]),
            **{
                way: {key: summarise([rows[i][key] for rows in each]) for key in _KEPT}
                for way, each in found.items()
            },
        }
        for i, target in enumerate(found["plain"][0])
    ]
    return {
        "runs": [run.path.name for run in runs],
        "weights_sha256": [run.weights_sha256 for run in runs],
        "attention": runs[0].model.config.attention_name,
        "parameters": runs[0].model.num_parameters(),
        "steps": runs[0].settings.training["max_steps"],
        "data": data.facts,
        "num": num,
        "ways": WAYS,
        "rows": rows,
        "error": {way: summarise(each) for way, each in errors.items()},
        "lower": {way: summarise(each) for way, each in shares.items()},
        "machine": describe_machine(),
    }


def _data(run: Run) -> MoleculeData:
    conditions = as_asked(run.model.config.condition_names or [])
    return molecules_of(run.settings.override({"conditions": conditions}), run.tokenizer)


def _least(data: MoleculeData, name: str, target: float) -> float:
    """How near any training molecule is to a target, which may be impossible."""
    values = data.conditions["train"][:, data.names.index(name)]
    return float((values.double() - target).abs().min())


if __name__ == "__main__":
    main()

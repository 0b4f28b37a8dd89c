"""MOSES' metrics of runs trained on it, beside the figures of its baselines and of MolGPT.

What is evaluated already, with these weights and as many samples, is not evaluated again.
Usage: python scripts/moses_models.py RUN… [--samples 30000] [--out results/moses-models.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ketformer.evaluation import evaluate, save_evaluation
from ketformer.runs import Run, open_run, read_metrics
from ketformer.runs.directory import read_evaluation
from ketformer.utils.files import write_json
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
KEYS = (
    "moses_valid", "moses_unique_10k", "moses_novelty", "moses_fcd", "moses_fcd_scaffolds",
    "moses_snn", "moses_frag", "moses_scaf", "moses_scaf_scaffolds", "moses_int_div",
    "moses_filters",
)  # fmt: skip
#: The metrics of published models in the order of KEYS, by their source; None where it has none.
_PUBLISHED: dict[str, dict[str, tuple[float | None, ...]]] = {
    "Polykovskiy et al. 2020 (arXiv 1811.12823), README of its code: means of three runs": {
        "CharRNN": (
            0.9748, 0.9994, 0.8419, 0.0732, 0.5204, 0.6015, 0.9998, 0.9242, 0.1101, 0.8562, 0.9943,
        ),
        "AAE": (
            0.9368, 0.9973, 0.7931, 0.5555, 1.0572, 0.6081, 0.9910, 0.9022, 0.0789, 0.8557, 0.9960,
        ),
        "VAE": (
            0.9767, 0.9984, 0.6949, 0.0990, 0.5670, 0.6257, 0.9994, 0.9386, 0.0588, 0.8558, 0.9970,
        ),
        "JTN-VAE": (
            1.0, 0.9996, 0.9143, 0.3954, 0.9382, 0.5477, 0.9965, 0.8964, 0.1009, 0.8551, 0.9760,
        ),
        "LatentGAN": (
            0.8966, 0.9968, 0.9498, 0.2968, 0.8281, 0.5371, 0.9986, 0.8867, 0.1072, 0.8565, 0.9735,
        ),
    },
    "Bagal et al. 2022 (doi:10.1021/acs.jcim.1c00600)": {
        "MolGPT": (0.994, 1.0, 0.797, 0.067, None, None, None, None, None, 0.857, None),
    },
}  # fmt: skip


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="runs trained on the set moses")
    parser.add_argument("--samples", type=int, default=30_000, help="of each run (30000)")
    parser.add_argument("--out", type=Path, default=ROOT / "results/moses-models.json")
    given = parser.parse_args()
    quiet_libraries()
    write_json(
        given.out,
        {
            "samples": given.samples,
            "rows": [measure(open_run(path), given.samples) for path in given.runs],
            "published": published(),
            "machine": describe_machine(),
        },
    )


def published() -> list[dict[str, Any]]:
    """The metrics of published models, each with its source."""
    return [
        {"model": model, "source": source, **dict(zip(KEYS, values, strict=True))}
        for source, models in _PUBLISHED.items()
        for model, values in models.items()
    ]


def measure(run: Run, samples: int) -> dict[str, Any]:
    """How long a run was trained, and what its samples are like, free and constrained."""
    found = evaluated(run, samples, "moses_sampled")
    return {
        **trained(run, found),
        **{key: value for key, value in found.items() if key.startswith("moses_")},
        **free_and_constrained(found, ("validity", "fcd", "heavy_atoms")),
    }


def evaluated(run: Run, samples: int, counted: str, **options: Any) -> dict[str, Any]:
    """The run's evaluation: the one that is kept, or a new one, which is kept.

    Args:
        run: a run of molecules.
        samples: how many the evaluation is of.
        counted: the key of that number.
        options: of a new evaluation.
    """
    found = read_evaluation(run.path) or {}
    if found.get(counted) != samples or "constrained" not in found:
        found = evaluate(run, samples=samples, constrained=True, **options)
        save_evaluation(run, found)
    return found


def trained(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """What was trained, and how long."""
    *_, last = read_metrics(run.path)
    return {
        "name": found["attention"],
        **{key: found[key] for key in ("parameters", "weights_sha256", "causal", "loss")},
        **{key: run.manifest[key] for key in ("seed", "batch")},
        "steps": last["step"],
        "epochs": last["epoch"],
    }


def free_and_constrained(found: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """These metrics of both ways of sampling."""
    ways = (("free", found), ("constrained", found["constrained"]))
    return {name: {key: way[key] for key in keys} for name, way in ways}


if __name__ == "__main__":
    main()

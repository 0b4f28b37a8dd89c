"""Models of QM9 trained without conditions: free and constrained samples, one row for each seed.

What is evaluated already, with these weights and as many samples, is not evaluated again.
Usage: python scripts/qm9_models.py RUN… [--samples 10000] [--out results/qm9-models.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moses_models import evaluated, free_and_constrained, trained

from ketformer.runs import Run, open_run
from ketformer.utils.files import write_json
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("validity", "uniqueness", "novelty", "fcd", "snn", "heavy_atoms")


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="runs trained on qm9")
    parser.add_argument("--samples", type=int, default=10_000, help="of each run (10000)")
    parser.add_argument("--out", type=Path, default=ROOT / "results/qm9-models.json")
    given = parser.parse_args()
    quiet_libraries()
    rows = [measure(open_run(path), given.samples) for path in given.runs]
    write_json(given.out, {"samples": given.samples, "rows": rows, "machine": describe_machine()})
    for row in rows:
        print(f"{row['name']}, seed {row['seed']}: {row['free']['validity']:.2%} valid, "
              f"{row['constrained']['validity']:.2%} constrained")  # fmt: skip


def measure(run: Run, samples: int) -> dict[str, Any]:
    """How long a run was trained, and what its samples are like, free and constrained."""
    found = evaluated(run, samples, "sampled", with_fcd=True)
    return {**trained(run, found), **free_and_constrained(found, KEYS)}


if __name__ == "__main__":
    main()

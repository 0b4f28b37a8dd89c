"""MOSES' metrics of molecules drawn from its own training set, beside the figures in its README.

The best that a model which learns the training set could reach. The Fréchet ChemNet distance and
the similarity of scaffolds depend on how many molecules are drawn, so both are also given for
fewer, and the distance extrapolated to ever more. Needs the data set `moses`; 3,000 molecules took
18 minutes on two cores that were busy with much else.
Usage: python scripts/moses_train.py [--number 3000] [--seed 42] [--out results/moses-train.json]
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ketformer.tasks.datasets import DATASETS, locate
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.molecules.chemnet import activations, chemnet, frechet, moments
from ketformer.tasks.molecules.moses_metrics import TESTS, moses_metrics
from ketformer.tasks.molecules.moses_reference import read_reference
from ketformer.tasks.molecules.packed import moses_smiles
from ketformer.tasks.molecules.similarity import cosine, count_scaffolds
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.utils.files import write_json
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
#: The row "Train" of the table in the README of molsets 0.3.1: of the whole training set.
PUBLISHED = {
    "moses_valid": 1.0,
    "moses_unique_1k": 1.0,
    "moses_unique_10k": 1.0,
    "moses_fcd": 0.008,
    "moses_fcd_scaffolds": 0.476,
    "moses_snn": 0.642,
    "moses_snn_scaffolds": 0.586,
    "moses_frag": 1.0,
    "moses_frag_scaffolds": 0.999,
    "moses_scaf": 0.991,
    "moses_scaf_scaffolds": 0.0,
    "moses_int_div": 0.857,
    "moses_int_div2": 0.851,
    "moses_filters": 1.0,
}
_FRACTIONS = (1 / 3, 2 / 3, 1.0)


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=3_000, help="molecules to draw (3000)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the draw (42)")
    parser.add_argument("--out", type=Path, default=ROOT / "results/moses-train.json")
    given = parser.parse_args()
    write_json(given.out, measure(given.number, given.seed))


def measure(number: int, seed: int) -> dict[str, Any]:
    """The metrics of that many molecules of the training set, drawn without replacement."""
    begun = time.monotonic()
    wheel = locate(DATASETS["moses"])
    drawn = random.Random(seed).sample(list(moses_smiles(wheel, "train")), number)
    smiles = canonicalise(drawn, progress=False)
    valid = [text for text in smiles if text is not None]
    with tqdm(desc="fcd", total=len(valid), unit=" molecules") as bar:
        rows = activations(chemnet("cpu"), valid, bar)
    metrics = moses_metrics(smiles, wheel, with_fcd=False)
    by_number: list[dict[str, Any]] = []
    for share in _FRACTIONS:
        count = round(share * len(valid))
        scaffolds = count_scaffolds([mol for text in valid[:count] if (mol := parse(text))])
        row: dict[str, Any] = {"number": count}
        for part, end in TESTS.items():
            reference = read_reference(wheel, part)
            row[f"moses_fcd{end}"] = frechet(moments(rows[:count]), reference.chemnet)
            row[f"moses_scaf{end}"] = cosine(scaffolds, reference.scaffolds)
        by_number.append(row)
    metrics |= {key: value for key, value in by_number[-1].items() if key != "number"}
    for end in TESTS.values():
        metrics[f"moses_fcd{end}_limit"] = _limit(by_number, f"moses_fcd{end}")
    return {
        "data": "moses",
        "part": "train",
        "number": number,
        "seed": seed,
        "metrics": metrics,
        "by_number": by_number,
        "published": PUBLISHED,
        "seconds": time.monotonic() - begun,
        "machine": describe_machine(),
    }


def _limit(rows: list[dict[str, Any]], key: str) -> float:
    """Where a metric that is linear in 1/number goes for ever more molecules, by least squares.

    So the Fréchet distance is to first order (Chong and Forsyth 2020, arXiv 1911.07023).
    """
    inverse = [1 / row["number"] for row in rows]
    return float(np.polyfit(inverse, [row[key] for row in rows], 1)[1])


if __name__ == "__main__":
    main()

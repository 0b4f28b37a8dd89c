"""What fine-tuning on a series brings, beside asking for its scaffold and training on it alone.

Takes the largest scaffolds of the run's test part as series, which after `train --split scaffold`
it has never seen; half of each is trained on, the rest held out. Runs finished in --work are not
trained again. About five minutes of one core.
Usage: python scripts/series_study.py RUN [--series 3] [--seeds 1] [--num 1000] [--work runs/series]
       [--out results/series.json]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaffold_study import grouped

from ketformer.comparison import summarise
from ketformer.errors import KetformerError
from ketformer.evaluation.molecules import molecule_losses
from ketformer.generation import MoleculeSampling, sample_molecules
from ketformer.runs import Run, Settings, open_run
from ketformer.runs.data import molecules_of
from ketformer.runs.fine_tuning import settings_of_fine_tuning
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.tasks.molecules.notations import notation_of
from ketformer.tasks.molecules.rows import MoleculeRows, compact_ids
from ketformer.tasks.molecules.scaffolds import scaffolds
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.training import train
from ketformer.utils.files import write_json, write_text
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
#: A series has at least and at most that many molecules.
SIZES = (100, 500)


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run trained with --tokenizer safe")
    parser.add_argument("--series", type=int, default=3, help="number of series (3)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 42, 43, … (1)")
    parser.add_argument("--num", type=int, default=1_000, help="samples of each model (1000)")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/series")
    parser.add_argument("--out", type=Path, default=ROOT / "results/series.json")
    given = parser.parse_args()
    quiet_libraries()
    run = open_run(given.run)
    write_json(given.out, study(run, molecules_of(run.settings, run.tokenizer), given))


def study(run: Run, data: MoleculeData, given: argparse.Namespace) -> dict[str, Any]:
    """Every series, and what each way of getting at its molecules brings over the seeds."""
    everything = frozenset(data.source.smiles)
    rows = [
        _row(run, scaffold, molecules, everything, given)
        for scaffold, molecules in series_of(data.smiles["test"], given.series)
    ]
    return {
        "run": run.path.name,
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        "parameters": run.model.num_parameters(),
        "training": run.settings.training,
        "fine_tuning": settings_of_fine_tuning(run.path, {"data": ""}).training,
        "data": data.facts,
        "sizes": SIZES,
        "num": given.num,
        "seeds": _seeds(given),
        "rows": rows,
        "machine": describe_machine(),
    }


def series_of(smiles: Sequence[str], number: int) -> list[tuple[str, list[str]]]:
    """The largest groups of molecules with one Bemis-Murcko scaffold, in a random order."""
    least, most = SIZES
    fit = {s: group for s, group in grouped(smiles).items() if least <= len(group) <= most}
    largest = sorted(fit, key=lambda scaffold: -len(fit[scaffold]))[:number]
    return [
        (scaffold, random.Random(42).sample(fit[scaffold], len(fit[scaffold])))
        for scaffold in largest
    ]


def _row(
    run: Run,
    scaffold: str,
    molecules: Sequence[str],
    everything: frozenset[str],
    given: argparse.Namespace,
) -> dict[str, Any]:
    """One series: the run as it is, fine-tuned, both asked for the scaffold; the series alone."""
    training, held_out = molecules[: len(molecules) // 2], molecules[len(molecules) // 2 :]
    folder = given.work / f"series-{len(molecules)}"
    file = folder / "series.smi"
    write_text(file, "\n".join(training) + "\n")
    tuning = settings_of_fine_tuning(run.path, {"data": str(file)}).override({"data": str(file)})
    alone = replace(tuning, init=None).override(
        {"learning_rate": run.settings.training["learning_rate"]}
    )
    ways: dict[str, list[dict[str, Any]]] = {}
    for seed in _seeds(given):
        tuned = _trained(tuning, folder / f"tuned-seed{seed}", seed)
        for way, model, asked in (
            ("before", run, None),
            ("asked", run, scaffold),
            ("tuned", tuned, None),
            ("tuned_asked", tuned, scaffold),
            ("alone", _trained(alone, folder / f"alone-seed{seed}", seed), None),
        ):
            sampling = MoleculeSampling(seed=seed, scaffold=asked)
            found = _sampled(model, sampling, given.num, scaffold, held_out, everything)
            found["loss"] = None if asked else _loss(model, held_out)
            ways.setdefault(way, []).append(found)
    return {
        "scaffold": scaffold,
        "training": len(training),
        "held_out": len(held_out),
        "ways": {
            way: {key: summarise([one[key] for one in each]) for key in each[0]}
            for way, each in ways.items()
        },
    }


def _seeds(given: argparse.Namespace) -> list[int]:
    return list(range(42, 42 + given.seeds))


def _trained(settings: Settings, out: Path, seed: int) -> Run:
    train(settings.override({"seed": seed}), out, resume=True, label=str(out))
    return open_run(out)


def _loss(run: Run, smiles: Sequence[str]) -> float | None:
    """The loss on these molecules; None if one has a token that the model does not know."""
    texts = notation_of(run.tokenizer).written(smiles, progress=False)
    try:
        ids = compact_ids(run.tokenizer, texts)
    except KetformerError:
        return None
    rows = MoleculeRows(ids, run.tokenizer.pad_token_id, count_padding=True)
    return float(molecule_losses(run.model, rows, padded=False)["loss"])


def _sampled(
    run: Run,
    sampling: MoleculeSampling,
    num: int,
    scaffold: str,
    held_out: Sequence[str],
    everything: frozenset[str],
) -> dict[str, float]:
    """What a chemist would look at.

    Returns:
        ``validity``; ``in_series``, the share of samples with the scaffold; ``distinct``, how many
        different molecules with it there are; ``found``, the share of the held-out molecules that
        is among them; ``new``, how many of them are not in the data.
    """
    texts = [text for block in sample_molecules(run, num, sampling) for text in block]
    valid = [smiles for smiles in canonicalise(texts, progress=False) if smiles]
    own = scaffolds(valid, progress=False)
    within = [smiles for smiles, its in zip(valid, own, strict=True) if its == scaffold]
    distinct = frozenset(within)
    return {
        "validity": len(valid) / num,
        "in_series": len(within) / num,
        "distinct": len(distinct),
        "found": len(distinct.intersection(held_out)) / len(held_out),
        "new": len(distinct - everything),
    }


if __name__ == "__main__":
    main()

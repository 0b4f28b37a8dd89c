"""One verb: generate, of molecules. Sampled, judged and written block by block."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ketformer.errors import KetformerError
from ketformer.preparation import prepare_molecules
from ketformer.runs import Run
from ketformer.sampling import MoleculeSampling, sample_molecules
from ketformer.settings import load_settings
from ketformer.tasks.molecules.metrics import Judged, generation_metrics, judge, property_errors
from ketformer.tasks.molecules.output import MoleculeTable, write_sdf
from ketformer.tasks.molecules.pictures import molecule_grid
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties

# Distinct valid molecules that are kept for the SDF and the picture; the CSV has all.
_KEPT = 10_000
_SHOWN = 30


@dataclass
class Sampled:
    """What came out of sampling, with everything that does not grow with the strings.

    Attributes:
        metrics: see :func:`~ketformer.tasks.molecules.metrics.generation_metrics`.
        molecules: the first distinct valid molecules, canonical.
        properties: of these, ``[N, 9]``.
        requested: what was asked for.
        errors: distance of the valid molecules from it, by property.
    """

    metrics: dict[str, Any]
    molecules: list[str] = field(default_factory=list)
    properties: np.ndarray = field(default_factory=lambda: np.empty((0, len(PROPERTIES))))
    requested: Mapping[str, float] = field(default_factory=dict)
    errors: dict[str, Any] = field(default_factory=dict)


def training_molecules(run: Run, *, progress: bool = True) -> frozenset[str] | None:
    """Canonical SMILES that the run was trained on; None, with a warning, if they are gone."""
    settings = load_settings(str(run.path / "settings.yaml")).override({"conditions": None})
    try:
        data = prepare_molecules(settings, tokenizer=run.tokenizer, progress=progress)
    except KetformerError as error:
        warnings.warn(f"novelty is not known: {error}", stacklevel=2)
        return None
    if data.facts["sha256"] != run.manifest.get("data", {}).get("sha256"):
        warnings.warn(
            f"novelty is not known: {settings.data} has changed since the training", stacklevel=2
        )
        return None
    return frozenset(data.smiles["train"])


def generate_molecules(
    run: Run,
    num: int,
    sampling: MoleculeSampling | None = None,
    *,
    training: Collection[str] | None = None,
    table: Path | None = None,
    progress: bool = True,
    label: str = "sample",
) -> Sampled:
    """Sample molecules and judge them.

    Memory does not grow with the SMILES, but with the set of distinct ones.

    Args:
        run: an opened run.
        num: how many to sample.
        sampling: how.
        training: canonical SMILES that are not novel; None leaves novelty unknown.
        table: a CSV file for all of them.
        progress: show a bar on standard error.
        label: of the bar.

    Raises:
        KetformerError: the run is of text, or a requested condition is unknown to it.
    """
    sampling = sampling or MoleculeSampling()
    blocks = sample_molecules(run, num, sampling)  # refuses mistakes before a file is begun
    requested = dict(sampling.conditions)
    computed = [name for name in requested if name in PROPERTIES]
    writer = MoleculeTable(table, tuple(PROPERTIES), requested) if table else None
    seen: set[str] = set()
    flags: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    kept: list[str] = []
    values: list[np.ndarray] = []
    with (
        tqdm(total=num, desc=label, unit="molecule", disable=not progress) as bar,
        writer or nullcontext() as open_table,
    ):
        for block in blocks:
            judged = judge(block, training or (), seen=seen, progress=False)
            flags.append((judged.valid, judged.duplicate, judged.novel))
            if table or computed:
                properties = compute_properties(block, progress=False)
                values.append(properties[judged.valid])
            if open_table is not None:
                open_table.write(
                    judged.sampled,
                    judged.canonical,
                    judged.valid.tolist(),
                    judged.duplicate.tolist(),
                    judged.novel.tolist() if training is not None else [None] * len(block),
                    properties,
                )
            fresh = judged.valid & ~judged.duplicate
            kept += [judged.canonical[i] or "" for i in fresh.nonzero()[0][: _KEPT - len(kept)]]
            bar.update(len(block))
    valid, duplicate, novel = map(np.concatenate, zip(*flags, strict=True))
    metrics = generation_metrics(Judged([], [], valid, duplicate, novel))
    if training is None:
        _forget_novelty(metrics)
    all_values = np.concatenate(values) if values else np.empty((0, len(PROPERTIES)))
    return Sampled(
        metrics=metrics,
        molecules=kept,
        properties=compute_properties(kept, progress=False),
        requested=requested,
        errors=property_errors(all_values, {k: requested[k] for k in computed}, list(PROPERTIES)),
    )


def write_molecules(sampled: Sampled, table: Path, *, progress: bool = True) -> dict[str, str]:
    """An SDF and a grid picture beside the CSV ``table``; returns what was written.

    The SDF holds the first 10,000 distinct valid molecules.
    """
    files = {"csv": str(table)}
    if not sampled.molecules:
        return files
    sdf, grid = table.with_suffix(".sdf"), table.with_suffix(".png")
    write_sdf(sdf, sampled.molecules, sampled.properties, tuple(PROPERTIES), progress=progress)
    molecule_grid(grid, sampled.molecules[:_SHOWN], captions_of(sampled, _SHOWN))
    return {**files, "sdf": str(sdf), "grid": str(grid)}


def captions_of(sampled: Sampled, count: int) -> list[str]:
    """What to say under a molecule: its requested properties, or weight and LogP."""
    shown = [name for name in sampled.requested if name in PROPERTIES] or ["MW", "LogP"]
    columns = [list(PROPERTIES).index(name) for name in shown]
    return [
        "  ".join(f"{name} {row[i]:.4g}" for name, i in zip(shown, columns, strict=True))
        for row in sampled.properties[:count]
    ]


def parse_conditions(given: Sequence[str]) -> dict[str, float]:
    """``["LogP=2.0", "TPSA=60"]`` as a mapping.

    Raises:
        KetformerError: not of that form, or a name twice.
    """
    requested: dict[str, float] = {}
    for item in given:
        name, equals, value = item.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not equals or not name or not abs(number) < float("inf"):
            raise KetformerError(f"a condition is written NAME=NUMBER, got {item!r}")
        if name in requested:
            raise KetformerError(f"condition {name} is given twice")
        requested[name] = number
    return requested


def _forget_novelty(metrics: dict[str, Any]) -> None:
    for part in (metrics, *metrics["at"].values()):
        part.update(novel=None, novelty=None, product=None, in_training=None)

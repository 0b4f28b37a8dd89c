"""The ``generate`` command for molecules: sampled, judged and written block by block."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ketformer.drawing.molecules import molecule_grid
from ketformer.errors import KetformerError
from ketformer.generation.constraint import Refused
from ketformer.generation.options import MoleculeSampling
from ketformer.generation.sampling import (
    BATCH,
    generator_of,
    named_conditions,
    sample_molecules,
)
from ketformer.models.conditions import BeyondTraining, beyond_training
from ketformer.runs import Run
from ketformer.runs.data import molecules_of
from ketformer.tasks.molecules.chemistry import worker_processes
from ketformer.tasks.molecules.data import Known
from ketformer.tasks.molecules.journal import Journal, Progress, forget
from ketformer.tasks.molecules.metrics import Counts, Judged, PropertyErrors, judge
from ketformer.tasks.molecules.output import COLUMNS, MoleculeTable, write_sdf
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.tasks.molecules.seen import Seen
from ketformer.tasks.molecules.standardise import marks_of
from ketformer.tasks.molecules.substructure import contain

#: Key and column: contains the scaffold, or all fragments linked.
KEPT = "scaffold_kept"
# Distinct valid molecules kept for the SDF and the picture; the CSV has all.
_KEPT = 10_000
_SHOWN = 30
# The metrics that need the run's data.
_NOVELTY = (
    "novel", "novelty", "product", "not_in_training", "novelty_to_training", "in_training",
)  # fmt: skip


@dataclass
class Sampled:
    """The results of sampling, except for what grows with the number of samples.

    Attributes:
        metrics: see :func:`~ketformer.tasks.molecules.metrics.generation_metrics`; if a scaffold
            or fragments were asked for also ``scaffold_kept``, the share of samples with them.
        molecules: the first distinct valid molecules, canonical.
        properties: their properties, ``[N, 9]``.
        requested: the requested values, by condition.
        errors: how far the valid molecules are from these, by property.
        per_second: molecules sampled, judged and written per second; None if all of them
            were there already.
        constrained: how often constrained sampling did not follow the model, of the molecules
            sampled now; None for sampling without constraint.
    """

    metrics: dict[str, Any]
    molecules: list[str] = field(default_factory=list)
    properties: np.ndarray = field(default_factory=lambda: np.empty((0, len(PROPERTIES))))
    requested: Mapping[str, float] = field(default_factory=dict)
    errors: dict[str, Any] = field(default_factory=dict)
    per_second: float | None = None
    constrained: Refused | None = None


def known_molecules(run: Run, *, progress: bool = True) -> Known | None:
    """The molecules of the run's data, None with a warning if they are gone."""
    settings = run.settings.override({"conditions": None})
    try:
        data = molecules_of(settings, run.tokenizer, progress=progress)
    except KetformerError as error:
        warnings.warn(f"novelty is not known: {error}", stacklevel=2)
        return None
    if data.facts["sha256"] != run.manifest.get("data", {}).get("sha256"):
        warnings.warn(
            f"novelty is not known: {settings.data} has changed since training", stacklevel=2
        )
        return None
    return data.known


def generate_molecules(
    run: Run,
    num: int,
    sampling: MoleculeSampling | None = None,
    *,
    known: Known | None = None,
    table: Path | None = None,
    each: Callable[[Judged], None] = lambda judged: None,
    progress: bool = True,
    label: str = "sample",
) -> Sampled:
    """Sample molecules and judge them.

    Memory grows by 8 bytes for each distinct molecule (:class:`~.seen.Seen`).
    If a call is interrupted while it writes a table, the same call resumes after the last complete
    block and ends with the same file; :func:`write_molecules` marks the table as finished.

    Args:
        run: an opened run.
        num: how many to sample.
        sampling: how to sample.
        known: the molecules of the run's data, which are not novel; None leaves novelty unknown.
        table: a CSV file for all of them.
        each: called with each block of molecules that is sampled now.
        progress: show a bar on standard error.
        label: label of the bar.

    Raises:
        KetformerError: the run is of text, or does not have a requested condition.

    Warns:
        BeyondTraining: a requested value is outside what the training data hold.
    """
    sampling = checked(run, num, sampling or MoleculeSampling())
    generator = generator_of(run, sampling)
    requested = dict(sampling.conditions)
    computed = [name for name in requested if name in PROPERTIES]
    marks = marks_of(run.settings.standardise)
    tally = Tally({name: requested[name] for name in computed})
    journal = Journal(table, facts_of(run, num, sampling, known), num) if table else None
    before = journal.read() if journal else None
    parts, kept = sampling.parts, 0
    if journal and before:
        for rows in journal.rows(before, BATCH):
            tally.read(rows)
            kept += sum(row[KEPT] == "true" for row in rows) if parts else 0
        generator.set_state(
            torch.frombuffer(bytearray.fromhex(before.generator), dtype=torch.uint8)
        )
    refused = Refused()
    done, size = (before.rows, before.size) if before else (0, 0)
    begun = time.monotonic()
    with (
        worker_processes(),
        tqdm(total=num, initial=done, desc=label, unit="molecule", disable=not progress) as bar,
        MoleculeTable(table, tuple(PROPERTIES), requested, [KEPT] if parts else [], size=size)
        if table and done < num
        else nullcontext() as open_table,
    ):
        blocks = sample_molecules(
            run, num, sampling, done=done, generator=generator, refused=refused
        )
        for block in blocks:
            judged = judge(
                block, *(known or ((), ())), marks=marks, seen=tally.seen, progress=False
            )
            properties = _properties(judged.canonical) if table or computed else None
            tally.add(judged, properties)
            holds = contain(judged.canonical, parts) if parts else []
            kept += sum(holds)
            each(judged)
            _hand_back_memory()
            bar.update(len(block))
            if open_table is None or journal is None:
                continue
            open_table.write(
                judged.sampled,
                judged.canonical,
                judged.valid.tolist(),
                judged.duplicate.tolist(),
                judged.novel.tolist() if known else [None] * len(block),
                judged.in_training.tolist() if known else [None] * len(block),
                properties,
                [holds] if parts else [],
            )
            state = generator.get_state().numpy().tobytes().hex()
            journal.note(Progress(tally.counts.sampled, open_table.sync(), state))
    seconds = time.monotonic() - begun
    metrics = tally.metrics(novelty=known is not None)
    if parts:
        metrics[KEPT] = kept / num
    return Sampled(
        metrics=metrics,
        molecules=tally.kept,
        properties=compute_properties(tally.kept, progress=False),
        requested=requested,
        errors=tally.errors.result(),
        per_second=(num - done) / seconds if done < num else None,
        constrained=refused if sampling.constrained else None,
    )


def checked(run: Run, num: int, sampling: MoleculeSampling) -> MoleculeSampling:
    """The sampling by the model's own names; mistakes are reported before a file is created.

    Raises:
        KetformerError: see :func:`~.sampling.sample_molecules`.

    Warns:
        BeyondTraining: a requested value is outside what the training data hold.
    """
    sampling = replace(sampling, conditions=named_conditions(run, sampling.conditions))
    sample_molecules(run, num, sampling)
    for told in beyond_training(run.model.config, dict(sampling.conditions)):
        warnings.warn(told, BeyondTraining, stacklevel=3)
    return sampling


def rows_there(
    run: Run, num: int, sampling: MoleculeSampling, known: Known | None, table: Path
) -> int:
    """How many rows the same call of :func:`generate_molecules` has safely written already."""
    before = Journal(table, facts_of(run, num, sampling, known), num).read()
    return before.rows if before else 0


def _hand_back_memory() -> None:
    """Return freed heap memory to the system; glibc would keep 0.4 KB per molecule."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


class Tally:
    """What is kept of the molecules: counts, sums, and 8 bytes of each distinct one."""

    def __init__(self, targets: Mapping[str, float]) -> None:
        self.seen = Seen()
        self.kept: list[str] = []
        self.counts = Counts()
        self.errors = PropertyErrors(targets, tuple(PROPERTIES))
        self.targeted = bool(targets)

    def add(self, judged: Judged, properties: np.ndarray | None) -> None:
        """Add one block, with its properties ``[N, 9]`` if some are requested."""
        self.counts.add(judged)
        if properties is not None:
            self.errors.add(properties)
        fresh = (judged.valid & ~judged.duplicate).nonzero()[0]
        self.kept += [judged.canonical[i] or "" for i in fresh[: _KEPT - len(self.kept)]]

    def metrics(self, *, novelty: bool) -> dict[str, Any]:
        """The metrics so far; those that need the run's data are None if it is not there."""
        metrics = self.counts.metrics()
        if not novelty:
            for part in (metrics, *metrics["at"].values()):
                part.update(dict.fromkeys(_NOVELTY))
        return metrics

    def read(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Add rows read from a table."""
        judged = judged_of(rows)
        self.seen.add(judged.canonical)
        # Those in the table are rounded.
        self.add(judged, _properties(judged.canonical) if self.targeted else None)


def judged_of(rows: Sequence[Mapping[str, str]]) -> Judged:
    """The molecules and facts in rows of a table."""
    flags = (
        np.array([row[name] == "true" for row in rows], dtype=bool)
        for name in ("valid", "duplicate", "novel", "in_training")
    )
    sampled = [row["smiles"] for row in rows]
    return Judged(sampled, [row["canonical_smiles"] or None for row in rows], *flags)


def _properties(canonical: Sequence[str | None]) -> np.ndarray:
    """The nine properties ``[N, 9]`` of the molecules as they are judged; NaN where None."""
    return compute_properties([smiles or "" for smiles in canonical], progress=False)


def facts_of(run: Run, num: int, sampling: MoleculeSampling, known: Known | None) -> dict[str, Any]:
    """Everything that decides the content of a table, by name, as JSON has it."""
    config = run.model.config.to_dict()
    model = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in run.model.state_dict().items():
        model.update(name.encode())
        model.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    data = [hashlib.sha256("\n".join(sorted(part)).encode()).hexdigest() for part in known or ()]
    facts = {
        "run": model.hexdigest(),
        "data": data,
        "num": num,
        **asdict(sampling),
        "standardise": run.settings.standardise,
        "columns": COLUMNS,
        "batch": BATCH,
        "device": run.model.device.type,
        "torch": torch.__version__,
    }
    told: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return told


def write_molecules(sampled: Sampled, table: Path, *, progress: bool = True) -> dict[str, str]:
    """Write an SDF and a grid picture beside the CSV ``table``; return the files by kind.

    The SDF holds the first 10,000 distinct valid molecules.
    """
    files = {"csv": str(table)}
    if not sampled.molecules:
        forget(table)
        return files
    sdf, grid = table.with_suffix(".sdf"), table.with_suffix(".png")
    write_sdf(sdf, sampled.molecules, sampled.properties, tuple(PROPERTIES), progress=progress)
    molecule_grid(grid, sampled.molecules[:_SHOWN], captions_of(sampled, _SHOWN))
    forget(table)
    return {**files, "sdf": str(sdf), "grid": str(grid)}


def captions_of(sampled: Sampled, count: int) -> list[str]:
    """A caption for each of the first molecules: requested properties, or weight and LogP."""
    shown = [name for name in sampled.requested if name in PROPERTIES] or ["MW", "LogP"]
    columns = [list(PROPERTIES).index(name) for name in shown]
    return [
        "  ".join(f"{name} {row[i]:.4g}" for name, i in zip(shown, columns, strict=True))
        for row in sampled.properties[:count]
    ]


def parse_conditions(given: Sequence[str]) -> dict[str, float]:
    """Parse ``["LogP=2.0", "TPSA=60"]`` into a mapping.

    Raises:
        KetformerError: an item has another form, or a name is given twice.
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

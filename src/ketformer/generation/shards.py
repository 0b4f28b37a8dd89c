"""Sampling in shards: several at once or on several machines, and one table of them all."""

from __future__ import annotations

import csv
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ketformer.errors import KetformerError
from ketformer.generation.constraint import Refused
from ketformer.generation.molecules import (
    KEPT,
    Sampled,
    Tally,
    checked,
    facts_of,
    generate_molecules,
    judged_of,
    rows_there,
)
from ketformer.generation.options import MoleculeSampling, share_of
from ketformer.generation.sampling import BATCH
from ketformer.runs import Run, open_run
from ketformer.tasks.molecules.data import Known
from ketformer.tasks.molecules.journal import forget, noted, rows_noted
from ketformer.tasks.molecules.output import COLUMNS, flag_text
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.utils.background import watching
from ketformer.utils.files import hash_of, replacing
from ketformer.utils.locks import in_use
from ketformer.utils.workers import do_jobs

_REQUESTED = "requested_"
# Seconds that a worker whose parent was killed may take to end.
_LAST_STEP = 60
_BEAT = 0.5  # seconds between two looks at the shards, for the bar


@dataclass(frozen=True)
class Shard:
    """A shard to sample, as a value; see :class:`~ketformer.utils.cluster.Job`.

    Attributes:
        path: the folder of its table.
        model: the run directory.
        num: how many molecules to sample.
        sampling: how, and which of how many shards this is.
        known: the molecules of the run's data.
    """

    path: Path
    model: Path
    num: int
    sampling: MoleculeSampling
    known: Known | None

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"shard {self.path.name}"

    @property
    def last(self) -> None:
        """A growing table is too large to be sent again and again."""

    @property
    def table(self) -> Path:
        """Its table."""
        return self.path / "molecules.csv"

    def answer(self) -> None:
        """Only a worker, with the model, can tell whether it is finished."""

    def run(self) -> tuple[int, Refused | None]:
        """Sample what is left; return how many that were, and how constrained sampling went."""
        run = open_run(self.model)
        with in_use(self.path, wait=_LAST_STEP):
            there = rows_there(run, self.num, self.sampling, self.known, self.table)
            if there == self.num:
                return 0, None
            sampled = generate_molecules(
                run, self.num, self.sampling, known=self.known, table=self.table, progress=False
            )
        return self.num - there, sampled.constrained


def generate_in_shards(
    run: Run,
    num: int,
    sampling: MoleculeSampling,
    table: Path,
    shards: int,
    *,
    known: Known | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> Sampled:
    """Sample several shards at once, and merge them into one table without repeats.

    The result is that of sampling each shard by itself and merging them, see
    :func:`merge_tables`. They are kept in a folder beside the table, ``NAME.shards``, so that the
    same call resumes and another one is refused, until :func:`forget_shards`.

    Args:
        run: an opened run.
        num: how many molecules to sample in all.
        sampling: how to sample, but for the shard.
        table: the CSV file to write.
        shards: how many, and how many worker processes; they share the cores.
        known: the molecules of the run's data, which are not novel; None leaves novelty unknown.
        cluster: address of a Ray cluster to sample on, or ``auto`` for this machine's; its nodes
            share the storage of the table and of the run.
        progress: show bars on standard error.

    Raises:
        KetformerError: see :func:`~.molecules.generate_molecules`; or there are fewer molecules
            than shards, another process writes this table, another call's shards lie beside it, a
            worker died, or the cluster cannot be reached or does not share the storage.
        Stopped: a signal arrived; what was sampled is kept.
    """
    sampling = checked(run, num, sampling)
    folder = _folder(table)
    jobs = [
        Shard(
            folder / f"{part}-of-{shards}",
            run.path.absolute(),
            share_of(num, part, shards),
            replace(sampling, shard=(part, shards)),
            known,
        )
        for part in range(1, shards + 1)
    ]
    tables = [job.table for job in jobs]
    with in_use(folder):
        _refuse_others(folder, jobs, facts_of(run, num, sampling, known))
        begun = time.monotonic()
        with _bar(tables, num, progress):
            answers = do_jobs(jobs, processes=shards, cluster=cluster)
        seconds = time.monotonic() - begun
        sampled = _merge(tables, table, _columns(tables, table), progress=progress)
    new = sum(count for count, _ in answers)
    refused = [counts for _, counts in answers if counts is not None]
    return replace(
        sampled,
        requested=dict(sampling.conditions),
        per_second=new / seconds if new else None,
        constrained=_sum(refused) if sampling.constrained else None,
    )


def forget_shards(table: Path) -> None:
    """Remove the shards of a finished table, and what other calls for it have left."""
    folder = _folder(table)
    for path in folder.iterdir():
        if re.fullmatch(r"\d+-of-\d+", path.name):
            shutil.rmtree(path)
    with suppress(OSError):  # not empty: somebody else's files
        folder.rmdir()


def _refuse_others(folder: Path, jobs: Sequence[Shard], facts: Mapping[str, Any]) -> None:
    """Refuse to sample where another call's shards lie, which would be lost."""
    own = {
        job.table: {**facts, "num": job.num, "shard": [part, len(jobs)]}
        for part, job in enumerate(jobs, 1)
    }
    total, other = 0, set[str]()
    for table in (path / "molecules.csv" for path in folder.glob("*-of-*")):
        rows, theirs = noted(table)
        total += rows
        if rows and table not in own:
            other.add("jobs")
        elif rows:
            other |= {name for name, value in own[table].items() if theirs.get(name) != value}
    other -= {"device", "torch"}  # of the worker, perhaps on another machine
    if other:
        raise KetformerError(
            f"{folder} holds {total:,} molecules of another command (not the same: "
            f"{', '.join(sorted(other))}); repeat that command, remove the folder or choose "
            "another --out"
        )


def _folder(table: Path) -> Path:
    return table.absolute().with_suffix(".shards")


def _sum(counts: Sequence[Refused]) -> Refused:
    return Refused(*map(sum, zip(*map(astuple, counts), strict=True)))


@contextmanager
def _bar(tables: Sequence[Path], num: int, shown: bool) -> Iterator[None]:
    """A bar of the molecules in all tables, which follows the notes beside them."""

    def noted() -> int:
        return sum(map(rows_noted, tables))

    with tqdm(total=num, initial=noted(), desc="sample", unit="molecule", disable=not shown) as bar:

        def look() -> None:
            if more := noted() - bar.n:
                bar.update(more)

        with watching(look, _BEAT):
            yield


def merge_tables(tables: Sequence[Path], out: Path, *, progress: bool = True) -> Sampled:
    """Write one table of several, without the molecules that came before, and count anew.

    Rows are in the order of the tables. Samples that are no molecule stay, repeats go; the metrics
    are those of all samples. Memory is as in :func:`~.molecules.generate_molecules`.

    Args:
        tables: tables that ``generate`` wrote, of the same model and request.
        out: the table to write.
        progress: show a bar on standard error.

    Raises:
        KetformerError: a table is missing, was not written by ``generate``, has other columns or
            another request than the first, is damaged or the same as another; or ``out`` is one of
            them.
        OSError: a file cannot be written.
    """
    header = _columns(tables, out)
    _refuse_the_same(tables)
    return _merge(tables, out, header, progress=progress)


def _merge(tables: Sequence[Path], out: Path, header: Sequence[str], *, progress: bool) -> Sampled:
    requested: dict[str, float] = {}
    tally: Tally | None = None
    judged_by_data, kept = True, 0
    with (
        replacing(out) as part,
        part.open("w", encoding="utf-8", newline="") as file,
        tqdm(desc="merge", unit="molecule", disable=not progress) as bar,
    ):
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        for table in tables:
            for rows, properties, wanted in _blocks(table, header):
                if tally is None:
                    requested = wanted
                    computed = {k: v for k, v in wanted.items() if k in PROPERTIES}
                    tally = Tally(computed)
                if wanted != requested:
                    raise KetformerError(f"{table} has another request than {tables[0]}")
                judged = judged_of(rows)
                judged.duplicate[:] = tally.seen.add(judged.canonical)
                tally.add(judged, properties)
                judged_by_data &= all(row["novel"] for row in rows)
                kept += sum(row.get(KEPT) == "true" for row in rows)
                for row, repeated in zip(rows, judged.duplicate, strict=True):
                    if not repeated:
                        writer.writerow({**row, "duplicate": flag_text(False)})
                bar.update(len(rows))
        if tally is None:
            raise KetformerError(f"{', '.join(map(str, tables))}: no samples to merge")
    forget(out)
    metrics = tally.metrics(novelty=judged_by_data)
    if KEPT in header:
        metrics[KEPT] = kept / tally.counts.sampled
    return Sampled(
        metrics=metrics,
        molecules=tally.kept,
        properties=compute_properties(tally.kept, progress=False),
        requested=requested,
        errors=tally.errors.result(),
    )


def _columns(tables: Sequence[Path], out: Path) -> list[str]:
    """The columns of the tables, which are the same."""
    headers: list[list[str]] = []
    for table in tables:
        if not table.is_file():
            raise KetformerError(f"--merge {table}: no such file; is its shard finished?")
        if table.resolve() == out.resolve():
            raise KetformerError(f"--out {out} is one of the tables to merge; choose another")
        with table.open(encoding="utf-8", newline="", errors="replace") as file:
            headers.append(next(csv.reader(file), []))
        if not {*COLUMNS, *PROPERTIES} <= set(headers[-1]):
            raise KetformerError(f"--merge {table}: not a table that generate wrote")
        if headers[-1] != headers[0]:
            raise KetformerError(f"{table} has other columns than {tables[0]}")
    return headers[0]


def _refuse_the_same(tables: Sequence[Path]) -> None:
    hashes: dict[str, Path] = {}
    for table in tables:
        if (same := hashes.setdefault(hash_of(table), table)) is not table:
            raise KetformerError(
                f"{same} and {table} hold the same samples; give each its own --shard or --seed"
            )


def _blocks(
    table: Path, header: Sequence[str]
) -> Iterator[tuple[list[dict[str, str]], NDArray[np.float64], dict[str, float]]]:
    """Some rows at a time, with their properties ``[N, 9]`` and what was requested."""
    asked = [name for name in header if name.startswith(_REQUESTED)]
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            while block := list(islice(rows, BATCH)):
                if any(None in row or None in row.values() for row in block):
                    raise ValueError("a row has another number of fields than the header")
                properties = [[float(row[name] or "nan") for name in PROPERTIES] for row in block]
                wanted = {name.removeprefix(_REQUESTED): float(block[0][name]) for name in asked}
                yield block, np.array(properties), wanted
    except (ValueError, csv.Error) as error:
        raise KetformerError(f"--merge {table}: the table is damaged ({error})") from None

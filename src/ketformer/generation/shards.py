"""Sampling on several machines: a shard on each, and one table of them all."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ketformer.errors import KetformerError
from ketformer.generation.molecules import KEPT, Sampled, Tally, judged_of
from ketformer.generation.sampling import BATCH
from ketformer.tasks.molecules.journal import forget
from ketformer.tasks.molecules.output import COLUMNS, flag_text
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.utils.files import hash_of, replacing

_REQUESTED = "requested_"


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
    header = _check(tables, out)
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


def _check(tables: Sequence[Path], out: Path) -> list[str]:
    """The columns of the tables, which are the same."""
    headers: list[list[str]] = []
    hashes: dict[str, Path] = {}
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
        if (same := hashes.setdefault(hash_of(table), table)) is not table:
            raise KetformerError(
                f"{same} and {table} hold the same samples; give each its own --shard or --seed"
            )
    return headers[0]


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

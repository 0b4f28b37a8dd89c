"""From a table of samples to a shortlist: filtered, ranked, and compared with known compounds."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ketformer.drawing.molecules import molecule_grid
from ketformer.errors import KetformerError
from ketformer.generation.options import BEST
from ketformer.runs import Run
from ketformer.tasks.molecules.chemistry import worker_processes
from ketformer.tasks.molecules.criteria import (
    DISTANCE,
    SIMILARITY,
    Criterion,
    Key,
    parse_filter,
    parse_rank,
    ranked,
)
from ketformer.tasks.molecules.descriptors import DESCRIPTORS, describe
from ketformer.tasks.molecules.known import Compounds, nearest_known, read_compounds
from ketformer.tasks.molecules.output import flag_text, number_text, write_sdf
from ketformer.tasks.molecules.properties import PROPERTIES
from ketformer.tasks.molecules.seen import Seen
from ketformer.tasks.molecules.standardise import MARKS, canonicalise, marks_of
from ketformer.utils.files import replacing

_ROWS = 8192  # of the table, read at once
_SHOWN = 30
_ALWAYS = (*PROPERTIES, "QED", "SA")


@dataclass(frozen=True)
class Plan:
    """What a shortlist is made by; see :func:`plan_shortlist`.

    Attributes:
        criteria: all of which a molecule must meet.
        keys: what molecules are ranked by; none leaves them in the order of sampling.
        targets: the requested values of the properties that RDKit computes.
        scales: the training data's standard deviation of each of these.
        known: the user's compounds.
        desalt: keep only the largest organic fragment of each molecule.
        best: how many molecules are listed at most.
    """

    criteria: tuple[Criterion, ...] = ()
    keys: tuple[Key, ...] = ()
    targets: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    known: Compounds | None = None
    desalt: bool = False
    best: int = BEST

    @property
    def names(self) -> list[str]:
        """The descriptors that it decides by."""
        named = [*self.targets, *(key.name for key in self.keys), *(c.name for c in self.criteria)]
        return [name for name in dict.fromkeys(named) if name in DESCRIPTORS]

    def values(
        self, smiles: Sequence[str], names: Sequence[str], *, nearest: bool
    ) -> dict[str, NDArray[np.float64]]:
        """Values of N molecules by name: descriptors, and the distance if there is a request.

        Args:
            smiles: N valid molecules.
            names: descriptors, among them the requested ones.
            nearest: also the similarity to the nearest known compound.
        """
        columns = dict(zip(names, describe(smiles, names).T, strict=True))
        if self.targets:
            distances = [
                np.abs(columns[name] - target) / self.scales[name]
                for name, target in self.targets.items()
            ]
            columns[DISTANCE] = np.mean(distances, axis=0)
        if nearest and self.known:
            columns[SIMILARITY] = nearest_known(smiles, self.known)[0]
        return columns


@dataclass
class Shortlist:
    """A shortlist, as it was written.

    Attributes:
        considered: distinct valid molecules.
        passed: how many of them meet each criterion, and under ``all`` every one.
        listed: how many are on the list.
        new: how many of these are not among the known compounds; None without any.
        files: what was written, by kind.
    """

    considered: int = 0
    passed: dict[str, int] = field(default_factory=dict)
    listed: int = 0
    new: int | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """Everything but the files."""
        counts = {"considered": self.considered, "passed": self.passed, "listed": self.listed}
        return counts if self.new is None else {**counts, "new": self.new}


def plan_shortlist(
    run: Run,
    requested: Mapping[str, float],
    *,
    desalt: bool = False,
    filters: str | None = None,
    rank: Sequence[str] = (),
    known: str | None = None,
    best: int = BEST,
    progress: bool = True,
) -> Plan:
    """Check what is asked of a shortlist, and read the known compounds, before the sampling.

    Args:
        run: the model that samples.
        requested: values by the model's names of its conditions.
        desalt: keep only the largest organic fragment of each molecule.
        filters: see :func:`~ketformer.tasks.molecules.criteria.parse_filter`; besides the
            descriptors there is ``request``, the distance below, and with known compounds
            ``similarity``.
        rank: see :func:`~ketformer.tasks.molecules.criteria.parse_rank`; by default the distance
            from the request, if there is one that can be checked: the mean over the requested
            properties of ``|value - request|`` in the training data's standard deviations.
        known: a file of compounds, see :func:`~ketformer.tasks.molecules.known.read_compounds`.
        best: how many molecules are listed at most.
        progress: show a bar while a large file is read.

    Raises:
        KetformerError: a mistake in one of these.
    """
    if best < 1:
        raise KetformerError(f"best must be positive, got {best}")
    targets = {name: value for name, value in requested.items() if name in PROPERTIES}
    offered = [*DESCRIPTORS, DISTANCE, SIMILARITY]
    criteria = parse_filter(filters, offered) if filters is not None else []
    keys = parse_rank(rank or ([DISTANCE] if targets else []), offered)
    named = {criterion.name for criterion in criteria} | {key.name for key in keys}
    if SIMILARITY in named and not known:
        raise KetformerError(f"{SIMILARITY} is to the compounds of a file, which --known names")
    if DISTANCE in named and not targets:
        raise KetformerError(
            f"{DISTANCE} is the distance from the request, but no property that RDKit computes is "
            "requested; --condition LogP=2 requests one"
        )
    marks = marks_of(run.settings.standardise)
    if desalt:
        marks = tuple(mark for mark in MARKS if mark in (*marks, "salts"))
    compounds = read_compounds(known, marks, progress=progress) if known else None
    if compounds and compounds.broken:
        total = compounds.broken + len(compounds.smiles)
        warnings.warn(
            f"{compounds.broken:,} of {total:,} compounds in {known} cannot be read and are left "
            "out",
            stacklevel=2,
        )
    return Plan(
        tuple(criteria), tuple(keys), targets, _scales(run, targets), compounds, desalt, best
    )


def _scales(run: Run, names: Mapping[str, float]) -> dict[str, float]:
    """The training data's standard deviation of each condition.

    Of conditions that are not standardised only the range is known, of which it is about a quarter.
    """
    config = run.model.config
    scales = dict(zip(config.condition_names or [], config.condition_stds or [], strict=False))
    if scales and set(scales.values()) == {1.0}:
        ranges = config.condition_ranges or []
        scales |= {
            name: (high - low) / 4 or 1.0 for name, (low, high) in zip(scales, ranges, strict=False)
        }
    return {name: scales.get(name) or 1.0 for name in names}


def write_shortlist(plan: Plan, table: Path, *, progress: bool = True) -> Shortlist:
    """Write ``NAME-shortlist.csv``, ``.sdf`` and ``.png`` beside a finished table ``NAME.csv``.

    The table is read twice, some thousand rows at a time, and memory grows only by 8 bytes for
    each molecule that meets the criteria and each key.

    Args:
        plan: what it is made by.
        table: a table that :func:`~ketformer.generation.molecules.generate_molecules` wrote.
        progress: show bars on standard error.

    Raises:
        OSError: a file cannot be read or written.

    Warns:
        UserWarning: no molecule meets the criteria.
    """
    result = Shortlist(passed={str(criterion): 0 for criterion in plan.criteria} | {"all": 0})
    decided_by = {key.name for key in plan.keys} | {part.name for part in plan.criteria}
    nearest = SIMILARITY in decided_by
    found: list[NDArray[np.int64]] = []
    columns: dict[Key, list[NDArray[np.float64]]] = {key: [] for key in plan.keys}
    seen = Seen()
    with (
        worker_processes(),
        tqdm(desc="shortlist", unit="molecule", disable=not progress) as bar,
    ):
        for block in _blocks(table):
            bar.update(len(block))
            smiles = [_molecule(plan, row) for _, row in block]
            repeated = seen.add(smiles)
            fresh = {
                place: text
                for (place, _), text, old in zip(block, smiles, repeated, strict=True)
                if text and not old
            }
            if not fresh:
                continue
            places = np.array([*fresh])
            values = plan.values([*fresh.values()], plan.names, nearest=nearest)
            met = np.ones(len(places), dtype=bool)
            for criterion in plan.criteria:
                passed = criterion.met(values[criterion.name])
                result.passed[str(criterion)] += int(passed.sum())
                met &= passed
            result.considered += len(places)
            result.passed["all"] += int(met.sum())
            found.append(places[met])
            for key, parts in columns.items():
                parts.append(values[key.name][met])
        if not result.passed["all"]:
            _say_why_none(result)
        places = np.concatenate([np.empty(0, int), *found])
        joined = {key: np.concatenate([np.empty(0), *parts]) for key, parts in columns.items()}
        chosen = places[ranked(joined, len(places))[: plan.best]]
        _write(plan, table, chosen, result, progress)
    return result


def _blocks(table: Path) -> Iterator[list[tuple[int, dict[str, str]]]]:
    """The rows of a table with their numbers, from 1, some thousand at a time."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = enumerate(csv.DictReader(file), start=1)
        while block := list(islice(rows, _ROWS)):
            yield block


def _molecule(plan: Plan, row: Mapping[str, str]) -> str | None:
    """The molecule of a row as it would be listed; None if it is not valid, or came before."""
    if row["valid"] != "true" or row["duplicate"] == "true":
        return None
    smiles = row["canonical_smiles"]
    if plan.desalt and "." in smiles:
        return canonicalise([smiles], ("salts",), progress=False)[0]
    return smiles


def _say_why_none(result: Shortlist) -> None:
    if not result.considered:
        warnings.warn("the shortlist is empty: no sample is a valid molecule", stacklevel=3)
        return
    counts = ", ".join(
        f"{name} by {count:,}" for name, count in result.passed.items() if name != "all"
    )
    warnings.warn(
        f"the shortlist is empty: none of {result.considered:,} molecules meets all criteria "
        f"({counts}); loosen the strictest or sample more",
        stacklevel=3,
    )


def _write(
    plan: Plan, table: Path, chosen: NDArray[np.int64], result: Shortlist, progress: bool
) -> None:
    """Write the files of the molecules in these rows of the table, in this order."""
    wanted = {place: i for i, place in enumerate(chosen.tolist())}
    rows: list[dict[str, str]] = [{}] * len(wanted)
    for block in _blocks(table) if wanted else ():
        for place, row in block:
            if place in wanted:
                rows[wanted[place]] = row
    smiles = [_molecule(plan, row) or "" for row in rows]
    names = list(dict.fromkeys([*_ALWAYS, *plan.names]))
    columns = plan.values(smiles, names, nearest=False)
    if plan.targets:
        columns["request_distance"] = columns.pop(DISTANCE)
        columns |= {
            f"requested_{name}": np.full(len(rows), target) for name, target in plan.targets.items()
        }
    texts: dict[str, list[str]] = {}
    if plan.known:
        texts, columns[SIMILARITY], result.new = _compared(plan.known, smiles)
    result.listed = len(rows)
    path = table.with_name(f"{table.stem}-shortlist.csv")
    # Flags of the table are about the molecule before it was desalted.
    flags = [
        [row[flag] if row["canonical_smiles"] == own else "" for flag in ("novel", "in_training")]
        for row, own in zip(rows, smiles, strict=True)
    ]
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["rank", "sample", "smiles", "novel", "in_training", *columns, *texts])
        for i, own in enumerate(smiles):
            numbers = [number_text(values[i]) for values in columns.values()]
            words = [values[i] for values in texts.values()]
            out.writerow([i + 1, int(chosen[i]), own, *flags[i], *numbers, *words])
    result.files = {"shortlist_csv": str(path)}
    if not rows:
        return
    sdf, grid = path.with_suffix(".sdf"), path.with_suffix(".png")
    ranks = {"rank": np.arange(1.0, len(rows) + 1), **columns}
    write_sdf(sdf, smiles, np.stack([*ranks.values()], 1), [*ranks], progress=progress, texts=texts)
    molecule_grid(grid, smiles[:_SHOWN], _captions(plan, columns, texts, min(_SHOWN, len(rows))))
    result.files |= {"shortlist_sdf": str(sdf), "shortlist_grid": str(grid)}


def _compared(
    known: Compounds, smiles: Sequence[str]
) -> tuple[dict[str, list[str]], NDArray[np.float64], int]:
    """Columns of text about the nearest known compounds, the similarities, and how many are new."""
    if not smiles:
        return {"nearest_known": [], "nearest_id": [], "new": []}, np.empty(0), 0
    similarity, place = nearest_known(smiles, known)
    new = [own not in known.places for own in smiles]
    # A molecule that is there is its own nearest, whatever else has the same fingerprint.
    where = [known.places.get(own, i) for own, i in zip(smiles, place.tolist(), strict=True)]
    texts = {
        "nearest_known": [known.smiles[i] for i in where],
        "nearest_id": [known.ids[i] for i in where],
        "new": [flag_text(flag) for flag in new],
    }
    return texts, similarity, sum(new)


def _captions(
    plan: Plan,
    columns: Mapping[str, NDArray[np.float64]],
    texts: Mapping[str, Sequence[str]],
    count: int,
) -> list[str]:
    """For each of the first molecules what decided, and the nearest known compound."""
    # What must equal a number says nothing here.
    same = {criterion.name for criterion in plan.criteria if criterion.sign in ("=", "==")}
    shown = [name for name in plan.names if name not in same][:4] or ["QED", "SA"]
    captions = []
    for i in range(count):
        numbers = [f"{name} {columns[name][i]:.3g}" for name in shown]
        lines = ["  ".join(numbers[at : at + 2]) for at in range(0, len(numbers), 2)]
        if texts:
            name = texts["nearest_id"][i]
            near = f"nearest {name} ({columns[SIMILARITY][i]:.2f})"
            lines.append(near if texts["new"][i] == "true" else f"known: {name}")
        captions.append("\n".join([f"{i + 1}.  {lines[0]}", *lines[1:]]))
    return captions

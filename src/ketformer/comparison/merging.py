"""Comparisons that were made apart, other seeds or other arms, put together as one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ketformer.comparison.experiment import tabulated
from ketformer.comparison.tables import columns_of, notes_on
from ketformer.comparison.variants import Variant
from ketformer.errors import KetformerError
from ketformer.runs import Settings
from ketformer.runs.directory import make_manifest, read_evaluation, read_manifest, weights_sha256
from ketformer.utils.files import write_json
from ketformer.utils.locks import alone_in_out, contents
from ketformer.utils.mappings import read_json

_RESULT = "comparison.json"
# What the runs of one row have in common, whatever their seed.
_OF_A_ROW = (
    "attention",
    "attention_options",
    "parameters",
    "intermediate_size",
    "learning_rate",
    "control",
)


# What a row was chosen or measured to be before its training; the start is the first seed's.
_BEFORE_TRAINING = ("learning_rate", "learning_rates", "start_spread", "start_entropy")


@alone_in_out
def merge(folders: Sequence[str | Path], out: str | Path) -> dict[str, Any]:
    """Put comparisons together that were made apart, with the tests over all their seeds.

    The runs stay where they are; ``out`` gets links to them, and ``comparison.json``.

    Args:
        folders: folders of finished comparisons of the same settings, with other seeds or arms.
        out: a new folder, or that of an earlier merge.

    Returns:
        As :func:`~ketformer.comparison.compare`; the first folder's reference is the reference.

    Raises:
        KetformerError: the folders differ in settings, data, version, matching or search; a row
            was measured twice with the same seed and other weights, or lacks a seed; ``out`` holds
            something else.
    """
    paths, out = [Path(folder) for folder in folders], Path(out)
    if len({path.resolve() for path in paths}) < 2:
        raise KetformerError("a merge needs at least two folders of comparisons")
    if (contents(out) and "merged" not in _manifest_in(out)) or out.resolve() in map(_real, paths):
        raise KetformerError(f"{out} holds something other than a merge; choose another --out")
    parts = {path: _read(path) for path in paths}
    first, *others = paths
    for other in others:
        _require_equal(f"{first} and {other}", _terms(parts[first]), _terms(parts[other]))
    rows: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[int, Path]] = {}
    for path, part in parts.items():
        for row in part["rows"]:
            known = rows.setdefault(row["name"], row)
            terms = ({key: each.get(key) for key in _OF_A_ROW} for each in (known, row))
            _require_equal(f"{row['name']} in {first} or later and in {path}", *terms)
            _add_runs(runs.setdefault(row["name"], {}), path, row, part["seeds"])
    seeds = sorted({seed for found in runs.values() for seed in found})
    for name, found in runs.items():
        if lacking := sorted({*seeds} - {*found}):
            raise KetformerError(
                f"{name} has no run with seed {lacking[0]}; a paired test needs each seed of each "
                "row"
            )
    _require_one_data({path for found in runs.values() for path in found.values()})
    _link(out, [path for found in runs.values() for path in found.values()])
    settings = Settings(**parts[first]["settings"]).override({"seed": seeds[0]})
    variants = [Variant(name, control=row.get("control")) for name, row in rows.items()]
    results = [[_evaluation(runs[name][seed]) for seed in seeds] for name in rows]
    result = tabulated(variants, results, settings, out, seeds)
    by_seed = sorted(parts.values(), key=lambda part: -min(part["seeds"]))
    begun = {row["name"]: row for part in by_seed for row in part["rows"]}  # the smallest seed's
    for row in result["rows"]:
        row |= {key: begun[row["name"]].get(key) for key in _BEFORE_TRAINING}
    result = {
        "manifest": make_manifest(merged=[str(path) for path in paths]),
        "matched": parts[first]["matched"],
        "initial_spread": parts[first]["initial_spread"],
        "search": parts[first]["search"],
        **result,
    }
    result |= {"columns": columns_of(result), "notes": notes_on(result)}
    write_json(out / _RESULT, result)
    return result


def _real(path: Path) -> Path:
    return path.resolve()


def _manifest_in(out: Path) -> dict[str, Any]:
    """The manifest of the comparison in a folder, empty if there is none."""
    found = read_json(out / _RESULT) if (out / _RESULT).is_file() else {}
    manifest = found.get("manifest")
    return manifest if isinstance(manifest, dict) else {}


def _read(folder: Path) -> dict[str, Any]:
    """The result of a comparison, with what a merge needs."""
    if not (folder / _RESULT).is_file():
        raise KetformerError(f"{folder}: no {_RESULT}; the comparison must be finished first")
    found = read_json(folder / _RESULT)
    try:
        _terms(found)
        [(row["name"], row["weights_sha256"][len(found["seeds"]) - 1]) for row in found["rows"]]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise KetformerError(
            f"{folder / _RESULT}: not the result of a comparison, or of an older Ketformer"
        ) from None
    return found


def _terms(result: Mapping[str, Any]) -> dict[str, Any]:
    """What comparisons must share to be one; the data is compared by its hash, not its path."""
    settings = {key: value for key, value in result["settings"].items() if key != "data"}
    settings["training"] = {k: v for k, v in settings["training"].items() if k != "seed"}
    terms = {
        "ketformer": result["manifest"]["machine"]["versions"]["ketformer"],
        "settings": settings,
        "matched": result["matched"],
        "initial_spread": result["initial_spread"],
        "search": result["search"],
    }
    if result["matched"]:
        reference = result["rows"][0]
        terms["reference"] = {key: reference[key] for key in ("name", "parameters")}
    return terms


def _require_equal(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise an error that names the first difference."""
    a, b = dict(_flat(ours)), dict(_flat(theirs))
    for key in dict.fromkeys((*a, *b)):
        if a.get(key) != b.get(key):
            raise KetformerError(
                f"{where} cannot be merged: {key} is {a.get(key)!r} in one and {b.get(key)!r} in "
                "the other"
            )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as pairs of a dotted key and a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + str(key), value


def _add_runs(
    found: dict[int, Path], folder: Path, row: Mapping[str, Any], seeds: Sequence[int]
) -> None:
    """Add a row's runs by seed, each with the weights that were measured."""
    for seed, measured in zip(seeds, row["weights_sha256"], strict=False):
        path = folder / f"{Variant(row['name']).folder}-seed{seed}"
        if weights_sha256(path) != measured:
            raise KetformerError(f"{path}: missing, or not with the weights that were measured")
        twin = found.setdefault(seed, path)
        if weights_sha256(twin) != measured:
            raise KetformerError(
                f"{twin} and {path} are of the same row and seed but have other weights; leave one "
                "of the folders out"
            )


def _require_one_data(paths: set[Path]) -> None:
    """Raise an error if two runs were trained on other data."""
    hashes: dict[Any, Path] = {}
    for path in sorted(paths):
        hashes.setdefault(read_manifest(path).get("data", {}).get("sha256"), path)
    if len(hashes) > 1:
        (one, a), (other, b), *_ = hashes.items()
        raise KetformerError(
            f"{a} and {b} cannot be merged: the SHA-256 of their data is {str(one)[:12]}… and "
            f"{str(other)[:12]}…"
        )


def _evaluation(path: Path) -> dict[str, Any]:
    if (found := read_evaluation(path)) is None:
        raise KetformerError(f"{path}: no evaluation of its weights; run its comparison again")
    return found


def _link(out: Path, runs: Sequence[Path]) -> None:
    """Links to the runs, relative, so that a folder that holds all of them can be moved."""
    for path in contents(out):
        if path.is_symlink():
            path.unlink()
    for run in runs:
        (out / run.name).symlink_to(os.path.relpath(run.resolve(), out.resolve()))

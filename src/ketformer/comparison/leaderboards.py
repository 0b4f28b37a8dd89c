"""The ``leaderboard`` verb: every mechanism beside its classical twins, on text and molecules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ketformer.attention import attention_class
from ketformer.attention.layers import is_hybrid
from ketformer.attention.registry import causal_mechanisms
from ketformer.comparison.experiment import compare
from ketformer.comparison.formats import Table
from ketformer.comparison.standings import standings
from ketformer.comparison.tables import cell, length_of
from ketformer.comparison.terms import TERMS, Terms
from ketformer.comparison.variants import is_offered, matched, mechanisms_of, row_of, rows_of
from ketformer.comparison.verdicts import REFERENCE
from ketformer.errors import KetformerError
from ketformer.runs import Settings
from ketformer.runs.data import prepare
from ketformer.runs.directory import make_manifest
from ketformer.utils.files import write_json

#: The file with the result, in the leaderboard's folder.
LEADERBOARD = "leaderboard.json"


def leaderboard(
    mechanisms: Sequence[str],
    out: str | Path,
    *,
    terms: Mapping[str, Terms] = TERMS,
    changes: Mapping[str, Any] | None = None,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare mechanisms and their twins on each task, and judge each of them.

    Each task is a :func:`~ketformer.comparison.compare` in ``out/TASK``, whose finished runs are
    reused. The result is also saved in ``out/leaderboard.json``.

    Args:
        mechanisms: arms, such as ``mine`` or ``overlap:n_qubits=4``; none for every causal
            mechanism of the registry, with those of installed packages.
        out: folder for the runs and the result.
        terms: the terms by task.
        changes: further changes to the settings of all tasks.
        processes: how many runs at once.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show tables on standard error.

    Returns:
        See :func:`joined`.

    Raises:
        KetformerError: as in :func:`arms_of` and :func:`~ketformer.comparison.compare`.
    """
    out = Path(out)
    shared = {task: its.settings(changes or {}) for task, its in terms.items()}
    arms = {task: arms_of(mechanisms, settings) for task, settings in shared.items()}
    results, left_out = {}, {}
    for task, its in terms.items():
        keys = prepare(shared[task], progress=progress).model_keys
        left_out[task] = _of_other_sizes(arms[task], shared[task], keys)
        if named := [arm for arm in mechanisms if arm in left_out[task]]:
            raise KetformerError(left_out[task][named[0]])
        results[task] = compare(
            [arm for arm in arms[task] if arm not in left_out[task]],
            shared[task],
            out / task,
            seeds=its.seeds,
            processes=processes,
            cluster=cluster,
            progress=progress,
        )
    result = {"manifest": make_manifest(processes=processes), **joined(results, left_out)}
    write_json(out / LEADERBOARD, result)
    return result


def _of_other_sizes(
    arms: Sequence[str], settings: Settings, keys: Mapping[str, Any]
) -> dict[str, str]:
    """The arms that cannot have as many parameters as the reference, each with its size."""
    reference, *rows = rows_of(arms, settings)
    found = {}
    for row in rows:
        try:
            matched([reference, row], settings, keys)
        except KetformerError as error:
            found[row.name] = str(error).partition(";")[0]
    return found


def arms_of(mechanisms: Sequence[str], settings: Settings) -> list[str]:
    """The arms of a comparison: classical attention, each mechanism, and its twins.

    A mechanism that does not offer the settings' positions is compared with learned ones, and so
    are its twins and, once more, classical attention. Where only a twin does not, the mechanism is
    compared with both.

    Raises:
        KetformerError: an unknown mechanism or option, a hybrid, or a mechanism that leaks.
    """
    arms: dict[str, None] = {REFERENCE: None}  # in order
    learned: dict[str, None] = {}
    for arm in mechanisms or causal_mechanisms():
        if is_hybrid(names := mechanisms_of(arm)):
            raise KetformerError(f"{arm}: a hybrid has no twins; `ketformer compare` takes it")
        cls = attention_class(str(names))
        if cls.leaks:
            raise KetformerError(f"{arm} leaks: the leaderboard is of causal mechanisms")
        group = [arm, *cls.twins]
        offered = [each for each in group if is_offered(row_of(each, settings), settings)]
        arms |= dict.fromkeys(offered)
        if offered != group:
            learned |= dict.fromkeys(_learned(each) for each in (REFERENCE, *group))
    return [*arms, *(arm for arm in learned if arm not in arms)]


def _learned(arm: str) -> str:
    """The arm with learned positions."""
    return f"{arm}{',' if ':' in arm else ':'}positions=learned"


def joined(
    results: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """The leaderboard of finished comparisons.

    A mechanism is judged against classical attention with the same positions, and its controls are
    its own twins and every classical row with these positions that is not a twin of other
    mechanisms (:mod:`ketformer.comparison.rules`).

    Args:
        results: a result of :func:`~ketformer.comparison.compare` for each task, with any arms
            that include classical attention.
        left_out: for each task the arms that were not compared, with the reason.

    Returns:
        ``tasks``: for each its ``data``, ``seeds``, ``length`` in words, ``parameters`` of the
        reference, ``rows``, ``left_out`` and ``notes``. The lowest loss comes first. A row has its
        ``name``, its registry name as ``attention``, whether it ``is_classical``, its
        ``positions``, ``parameters``, ``learning_rate``, ``loss`` with the prefix alone (nats per
        token, as from :func:`~ketformer.comparison.summarise`), ``relative_inference_time``,
        ``circuits`` and ``two_qubit_gates`` of a layer for each token. For a mechanism come the
        ``twin`` with the lowest loss, the ``difference`` to it (as from
        :func:`~ketformer.comparison.paired`, with the ``values`` by seed), both None where no twin
        was run, and the ``verdict``.

    Raises:
        KetformerError: a row has no classical attention with the same positions, lacks a loss, or
            has a single seed.
    """
    absent = left_out or {}
    ranked = {task: _ranked(result, absent.get(task, {})) for task, result in results.items()}
    return {"tasks": ranked}


def _ranked(result: Mapping[str, Any], left_out: Mapping[str, str]) -> dict[str, Any]:
    """One task of the leaderboard."""
    settings = Settings(**result["settings"])
    rows = standings(result["rows"], settings)
    return {
        "data": Path(settings.data).name,
        "seeds": result["seeds"],
        "length": length_of(settings.training),
        "parameters": result["rows"][0]["parameters"],
        "rows": rows,
        "left_out": dict(left_out),
        "notes": _notes(result, rows, left_out),
    }


def _notes(
    result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], left_out: Mapping[str, str]
) -> list[str]:
    """What a reader of the table must know, one sentence each."""
    notes = [
        "Loss is in nats per token, with the prefix alone, on the test part; ± is half of the 95 % "
        "interval over the seeds, for differences seed by seed.",
        "The twin is the best of those that the mechanism names, by its loss in this table, which "
        "favours the twin.",
        "The verdict is by the rules of `ketformer verdict`, against classical attention with the "
        "same positions; its controls are the mechanism's twins and the classical rows with these "
        "positions that are not twins of others. Gains are adjusted for the number of mechanisms.",
        "Circuits and two-qubit gates (CNOTs) are of one layer, for each token on average, "
        "without shots.",
    ]
    if learned := [row["name"] for row in rows if "positions=" in row["name"]]:
        usual = next(row["positions"] for row in rows if row["name"] == REFERENCE)
        notes.append(
            f"Positions are {usual}, which some mechanisms do not have; {', '.join(learned)} are "
            "compared among each other."
        )
    notes += [f"Left out: {reason}." for reason in left_out.values()]
    # Its own note on intervals is above, and its entropies are in no column here.
    kept = [note for note in result["notes"] if not note.startswith("±")]
    return [*notes, *(re.sub("; entropy at the start[^.]*", "", note) for note in kept)]


def ranking(task: Mapping[str, Any]) -> Table:
    """The table of one task, the lowest loss first."""
    titles = (
        "", "mechanism", "parameters", "rate", "loss", "twin", "difference to it", "time",
        "circuits a token", "two-qubit gates", "verdict",
    )  # fmt: skip
    rows = [[str(place), *_cells(row)] for place, row in enumerate(task["rows"], 1)]
    return Table(titles, rows, " ".join(task["notes"]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    keys = ("name", "parameters", "learning_rate", "loss")
    shown = [cell(dict(row), key) for key in keys]
    difference, verdict = row.get("difference"), row.get("verdict")
    apart = "–"
    if difference and difference["low"] is not None:
        half = difference["high"] - difference["difference"]
        apart = f"{difference['difference']:+.3f} ± {half:.3f}"
    costs = [f"{row[key]:,.4g}" if row[key] else "–" for key in ("circuits", "two_qubit_gates")]
    return [
        *shown,
        row.get("twin") or "–",
        apart,
        cell(dict(row), "relative_inference_time"),
        *costs,
        verdict["answer"] if verdict else "classical" if row["is_classical"] else "a twin",
    ]


def sentences(task: Mapping[str, Any]) -> list[str]:
    """The verdict on each mechanism, in the order of the table."""
    return [row["verdict"]["sentence"] for row in task["rows"] if row.get("verdict")]


def records_of(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record for each row of each task, for CSV; what a twin does not have is left empty."""
    return [
        {
            "task": task,
            "place": place,
            **{key: row[key] for key in ("name", "positions", "parameters", "learning_rate")},
            **{f"loss_{end}": row["loss"][end] for end in ("mean", "low", "high")},
            **{key: row[key] for key in ("relative_inference_time", "circuits", "two_qubit_gates")},
            "twin": row.get("twin"),
            **{
                f"difference_{end}": (row.get("difference") or {}).get(key)
                for end, key in (("mean", "difference"), ("low", "low"), ("high", "high"))
            },
            "verdict": row.get("verdict", {}).get("answer"),
        }
        for task, its in board["tasks"].items()
        for place, row in enumerate(its["rows"], 1)
    ]

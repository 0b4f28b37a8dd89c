"""The ``verdict`` verb: is a mechanism's gain real, and what explains it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ketformer.attention import ATTENTION, attention_class
from ketformer.attention.layers import distinct
from ketformer.audit import audit_causality
from ketformer.comparison.budget import Cost, Plan, plan
from ketformer.comparison.costs import measured_costs
from ketformer.comparison.experiment import run_at_best_rates
from ketformer.comparison.rules import Verdict, judge, on_both_sides
from ketformer.comparison.search import Search
from ketformer.comparison.tables import columns_of, notes_on
from ketformer.comparison.variants import (
    Variant,
    is_offered,
    matched,
    mechanisms_of,
    row_of,
    rows_of,
    trained_settings,
)
from ketformer.errors import KetformerError
from ketformer.evaluation.truncation import truncation_curve
from ketformer.runs import Settings, open_run
from ketformer.runs.data import build_model, prepare
from ketformer.utils.files import write_json
from ketformer.utils.locks import alone_in_out
from ketformer.utils.mappings import read_json

#: The file with the answer, in the verdict's folder.
VERDICT = "verdict.json"
REFERENCE = "classical"
#: The loss of each task, teacher-forced and with the prefix alone.
LOSSES = {"text": ("cross_entropy", "prefix_cross_entropy"), "molecules": ("loss", "prefix_loss")}
# The start that most code gives classical attention; the control for it is `matched_start`.
_USUAL_RANGE = 0.02
# A mechanism that takes this many times as long for a step gets a control trained as long.
_SLOWER = 1.1
_PLAN = "plan.json"
# The controls that have explained most gains, first; the others follow in the registry's order.
_TELLING = ("matched_start", "local_start", "no_entanglement", "classical_fourier")
# Changes that are made to the mechanism and to classical attention; one that starts as small as
# classical attention is compared with it as it is.
_ON_BOTH_SIDES = {"token_shift": "_token_shift", "small_start": ""}


@alone_in_out
def verdict(
    mechanism: str,
    settings: Settings,
    out: str | Path,
    *,
    seconds: float = 1800,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Judge a mechanism against classical attention and every control that applies.

    All rows have the same data, batches, seeds, steps and, within 2 %, parameters, and each has
    its best learning rate by the validation part. Mechanism and reference begin as they are: the
    start is one of the controls. Choices are made on the validation part; the answer is from the
    test part, with the prefix alone. The rules: :mod:`ketformer.comparison.rules`.

    The same command continues an interrupted verdict with the plan that it had.

    Args:
        mechanism: an arm: a registry name, with or without options.
        settings: the settings they share; their steps are the most that a row is trained.
        out: folder for the runs, ``verdict.json`` and ``comparison.json``.
        seconds: the budget, which decides on steps, seeds and controls.
        processes: how many runs at once; by default one, or on a cluster as many as it has cores
            or GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show tables on standard error.

    Returns:
        The fields of :class:`~ketformer.comparison.rules.Verdict`; the ``plan``, with the controls
        ``left_out``; the ``audit``; ``truncation``, see
        :func:`~ketformer.evaluation.truncation.truncation_curve`; and the ``comparison``, as from
        :func:`~ketformer.comparison.compare`.

    Raises:
        KetformerError: an unknown mechanism, a budget that is too small, or another process is
            using the folder.
    """
    out = Path(out)
    if settings.model.get("initializer_range", "width") == "width":
        settings = settings.override({"initializer_range": _USUAL_RANGE})
    data = prepare(settings, progress=progress)
    reference, arm, *controls = _rows(mechanism, settings)
    with torch.random.fork_rng(devices=[]):
        model = build_model(settings.override(arm.changes), data)
        audit = audit_causality(model, sequences=4)
    rows = [reference, arm, *controls] if audit.causal else [reference, arm]
    rows = matched(rows, settings, data.model_keys)
    # How many runs a cluster takes is known only once it is reached: then it is taken for one.
    chosen, rows = _planned(rows, settings, data, out, seconds, processes or 1)
    settings = settings.override(_shortened(settings, chosen.steps))
    first = settings.training.get("seed", 42)
    result = run_at_best_rates(
        rows,
        settings,
        Search.around(settings, 3, 1 / 3),
        out,
        range(first, first + chosen.seeds),
        processes=processes,
        cluster=cluster,
        progress=progress,
    )
    result["matched"] = True
    result |= {"columns": columns_of(result), "notes": notes_on(result)}
    answer = _judged(result["rows"], settings.task, audit.worst)
    said = {
        **answer.to_dict(),
        "plan": chosen.to_dict(),
        "audit": audit.to_dict(),
        "truncation": truncation_curve(open_run(result["rows"][1]["run"])),
    }
    write_json(out / VERDICT, said)
    result["verdict"] = said
    write_json(out / "comparison.json", result)
    return {**said, "comparison": result}


def _rows(mechanism: str, settings: Settings) -> list[Variant]:
    """The reference, the mechanism and its controls, the most telling first."""
    if mechanism == REFERENCE:
        raise KetformerError(f"{REFERENCE} is what a mechanism is judged against; name another one")
    reference, arm, *controls = rows_of([REFERENCE, mechanism], settings, ["all"])
    parts = [attention_class(name) for name in distinct(mechanisms_of(mechanism))]
    own = list(dict.fromkeys(twin for part in parts for twin in part.twins))
    controls = [control for control in controls if control.name not in twins_of_others(own)]
    trained = [trained_settings(row, settings) for row in (reference, arm, *controls)]
    for twin in own:
        row = replace(row_of(twin, settings), control=f"{mechanism} without anything quantum")
        if is_offered(row, settings) and trained_settings(row, settings) not in trained:
            controls.append(row)
    return [reference, arm, *sorted(controls, key=lambda control: _importance(control, own))]


def twins_of_others(own: Sequence[str]) -> set[str]:
    """Twins that are no controls of a mechanism with twins of its own.

    They stand for what is special to other mechanisms. That they may be as good, for reasons of
    their own, would explain nothing. A mechanism that names no twins is not spared any.
    """
    named = {twin for _, cls in ATTENTION.loaded() for twin in cls.twins}
    return named - {*own} if own else set()


def _importance(control: Variant, own: Sequence[str]) -> int:
    """The place of a control among those that a budget pays for, the smallest first."""
    places = (i for i, name in enumerate(_TELLING) if name in control.name)
    return next(places, len(_TELLING) + (control.name not in own))


def _planned(
    rows: Sequence[Variant],
    settings: Settings,
    data: Any,
    out: Path,
    seconds: float,
    processes: int,
) -> tuple[Plan, list[Variant]]:
    """What the budget buys, or what it bought when the verdict was begun, and those rows."""
    file = out / _PLAN
    if file.is_file():
        kept = read_json(file)
        costs = [Cost(**cost) for cost in kept["costs"]]
        chosen = Plan(**kept["plan"])
    else:
        costs = measured_costs(rows, settings, data, processes)
        slower = costs[1].step / costs[0].step
        if slower > _SLOWER and len(rows) > 2:
            costs.insert(3, replace(costs[0], name=_equal_time(rows[0]), longer=slower))
        chosen = plan(costs, seconds, processes=processes, whole=_whole(settings, data))
        out.mkdir(parents=True, exist_ok=True)
        whole = {"plan": chosen.to_dict(), "costs": [vars(cost) for cost in costs]}
        write_json(file, whole)
    longer = {cost.name: cost.longer for cost in costs}
    by_name = {row.name: row for row in rows}
    if (name := _equal_time(rows[0])) in longer:
        changes = {**rows[0].changes, "max_steps": round(chosen.steps * longer[name])}
        by_name[name] = Variant(
            name, changes, f"{rows[0].name}, trained for as long as {rows[1].name}"
        )
    if gone := [name for name in chosen.rows if name not in by_name]:
        raise KetformerError(
            f"{file} was planned with the control {gone[0]}, which does not apply any more; choose "
            "another --out"
        )
    return chosen, [by_name[name] for name in chosen.rows]


def _equal_time(reference: Variant) -> str:
    return f"{reference.name}_equal_time"


def _whole(settings: Settings, data: Any) -> int:
    """The settings' own number of steps."""
    training = settings.training
    if (steps := training.get("max_steps", -1)) > 0:
        return int(steps)
    context = settings.model.get(
        "max_position_embeddings", data.model_keys.get("max_position_embeddings", 128)
    )
    rows = len(data.training_sets(context)[0])
    batch = training.get("per_device_train_batch_size", 8)
    return max(int(training.get("num_train_epochs", 3) * rows / batch), 1)


def _shortened(settings: Settings, steps: int) -> dict[str, Any]:
    """Training options for that many steps, measured once at the end."""
    warmup = settings.training.get("warmup_steps", 0)
    return {
        "max_steps": steps,
        "warmup_steps": min(warmup, steps // 10) if warmup >= 1 else warmup,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": steps,
        "save_steps": max(steps // 4, 1),
        "save_total_limit": 1,
    }


def _judged(rows: Sequence[dict[str, Any]], task: str, leak: tuple[int, int] | None) -> Verdict:
    """The rules applied to the rows."""
    forced, key = LOSSES[task]
    reference, arm, *controls = rows
    losses = {row["name"]: row[key]["values"] for row in rows}
    if missing := [name for name, values in losses.items() if None in values]:
        raise KetformerError(f"{missing[0]} has no {key} for every seed, so there is no verdict")
    said = ""
    if leak:
        said = (
            f"{arm['name']} leaks: changing token {leak[0]} changes the output at the earlier "
            f"position {leak[1]}. Its loss of {arm[forced]['mean']:.3f} nats per token becomes "
            f"{arm[key]['mean']:.3f} with the prefix alone, where {reference['name']} has "
            f"{reference[key]['mean']:.3f}."
        )
    told = {row["name"]: (row["control"] or "", losses[row["name"]]) for row in controls}
    return judge(
        (arm["name"], losses[arm["name"]]),
        (reference["name"], losses[reference["name"]]),
        _evened(arm["name"], reference["name"], losses, told),
        leak=said,
    )


def _evened(
    mechanism: str,
    reference: str,
    losses: Mapping[str, list[float]],
    controls: Mapping[str, tuple[str, list[float]]],
) -> dict[str, tuple[str, list[float]]]:
    """The controls, with those that change the mechanism as a change to both sides."""
    found = dict(controls)
    for change, suffix in _ON_BOTH_SIDES.items():
        if (changed := f"{mechanism}_{change}") not in found:
            continue
        reason, values = found.pop(changed)
        if (other := reference + suffix) not in losses:
            continue  # a budget left it out
        name = other if suffix else changed
        if suffix:
            reason = f"{found[other][0].partition(': ')[2]}, on both sides"
        found[name] = reason, on_both_sides(losses[mechanism], values, losses[other])
    return found

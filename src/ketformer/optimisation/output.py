"""The results of an optimisation: files of molecules, a curve, and the steered model as a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ketformer.drawing.molecules import molecule_grid
from ketformer.drawing.optimisation import draw_optimisation
from ketformer.models import KetformerForCausalLM
from ketformer.optimisation.efficiency import EVERY, top_auc, top_means
from ketformer.optimisation.history import History
from ketformer.runs import Run
from ketformer.runs.card import write_run_card
from ketformer.runs.directory import MANIFEST_FILE, SETTINGS_FILE, make_manifest, save_model
from ketformer.tasks.molecules.output import write_sdf
from ketformer.utils.files import replacing, write_json, write_text

RESULT_FILE = "result.json"
AGENT_FOLDER = "agent"
TABLE_FILE = "molecules.csv"
CURVE_FILE = "curve.svg"

_TOPS = (1, 10, 100)
_IN_SDF = 1_000
_SHOWN = 30


def write_results(
    out: Path,
    run: Run,
    agent: KetformerForCausalLM,
    history: History,
    facts: Mapping[str, Any],
    trace: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    """Write all files of an optimisation, ``result.json`` last, and return what is in that.

    Args:
        out: the folder.
        run: the run that was steered.
        agent: the steered model.
        history: all calls.
        facts: what was optimised and how.
        trace: a row for each step.
    """
    ranked = history.ranked()
    _write_table(out / TABLE_FILE, history, ranked)
    best = [place for place in ranked if history.scores[place] > 0]
    files = {"csv": TABLE_FILE, "curve": CURVE_FILE, "agent": AGENT_FOLDER}
    if best:
        files |= {"sdf": "molecules.sdf", "grid": "molecules.png"}
        _draw(out, history, best)
    curve = curve_of(history.scores)
    draw_optimisation(curve, trace, out / CURVE_FILE)
    _write_agent(out / AGENT_FOLDER, run, agent, facts)
    result = {
        **facts,
        **measures(history, int(facts["budget"])),
        "steps": len(trace),
        "valid": _mean([row["valid"] for row in trace]),
        "unique": _mean([row["unique"] for row in trace]),
        "best": [shown(history, place) for place in ranked[:_SHOWN]],
        "failed": [
            {"smiles": history.calls[place].smiles, "why": why}
            for place, why in list(history.failures.items())[:10]
        ],
        "curve": curve,
        "trace": list(trace),
        "files": files,
    }
    write_json(out / RESULT_FILE, result)
    return result


def measures(history: History, budget: int) -> dict[str, Any]:
    """The numbers of calls, and PMO's measures of efficiency."""
    scores = history.scores
    tops = {f"top_{top}": float(np.mean(sorted(scores)[-top:])) for top in _TOPS if scores}
    areas = {f"auc_top_{top}": top_auc(scores, budget, top) for top in _TOPS}
    return {
        "calls": len(scores),
        "failures": len(history.failures),
        "scaffolds": history.scaffolds,
        **tops,
        **areas,
    }


def curve_of(scores: Sequence[float]) -> list[dict[str, float]]:
    """The best score and the means of the best 10 and 100, after each 100 calls."""
    columns = [top_means(scores, top) for top in _TOPS]
    return [
        {
            "calls": min((number + 1) * EVERY, len(scores)),
            **{f"top_{top}": mean for top, mean in zip(_TOPS, means, strict=True)},
        }
        for number, means in enumerate(zip(*columns, strict=True))
    ]


def shown(history: History, place: int) -> dict[str, Any]:
    """A molecule as the table and the page show it."""
    call = history.calls[place]
    return {
        "smiles": call.smiles,
        "score": history.scores[place],
        "value": None if math.isnan(call.value) else call.value,
        "call": place + 1,
        "scaffold": call.scaffold,
    }


def _write_table(path: Path, history: History, ranked: Sequence[int]) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["smiles", "score", "value", "call", "scaffold", "failure"])
        for place in ranked:
            row = shown(history, place)
            value = "" if row["value"] is None else f"{row['value']:.6g}"
            writer.writerow(
                [
                    row["smiles"],
                    f"{row['score']:.6g}",
                    value,
                    row["call"],
                    row["scaffold"],
                    history.calls[place].failure,
                ]
            )


def _draw(out: Path, history: History, best: Sequence[int]) -> None:
    """The SDF and the picture of the best molecules."""
    rows = [shown(history, place) for place in best[:_IN_SDF]]
    numbers = np.array([[row["score"], row["value"], row["call"]] for row in rows], dtype=float)
    smiles = [row["smiles"] for row in rows]
    write_sdf(out / "molecules.sdf", smiles, numbers, ("score", "value", "call"), progress=False)
    captions = [f"{row['score']:.3f}  call {row['call']:,}" for row in rows[:_SHOWN]]
    molecule_grid(out / "molecules.png", smiles[:_SHOWN], captions)


def _write_agent(
    path: Path, run: Run, agent: KetformerForCausalLM, facts: Mapping[str, Any]
) -> None:
    """The steered model as a run directory of its own."""
    manifest = make_manifest(
        data=run.manifest.get("data", {}),
        seed=facts["seed"],
        attention=agent.config.attention_name,
        parameters=agent.num_parameters(),
        causal=agent.is_causal,
        optimised={key: facts[key] for key in ("run", "weights_sha256", "oracle", "budget")},
    )
    write_text(path / SETTINGS_FILE, yaml.safe_dump(run.settings.to_dict(), sort_keys=False))
    write_json(path / MANIFEST_FILE, manifest)
    save_model(path, agent, run.tokenizer)
    write_run_card(path, agent.config)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None

"""``reproduce`` for a run: train it again from its directory and compare."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ketformer.errors import KetformerError
from ketformer.runs import load_settings, open_run, read_metrics
from ketformer.runs.directory import (
    SETTINGS_FILE,
    WEIGHTS_FILE,
    changes_on_the_way,
    make_manifest,
)
from ketformer.training import train

# Facts of the machine that can change the last digit of a sum.
_MACHINE = ("cpu", "threads", "gpu", "platform", "python", "versions")
# Endings of the keys in a row of metrics that depend on the clock.
_TIMES = ("_runtime", "_per_second")


def repeat_run(run: str | Path, out: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Train a finished run again, with its settings, data and threads, and compare the two.

    Args:
        run: the run directory.
        out: the new run directory; an interrupted repetition in it is resumed.
        progress: show a bar on standard error.

    Returns:
        ``weights_equal`` and ``losses_equal``, bit for bit; ``largest_difference`` of any
        weight; ``differs``, what has changed since, in words; the two runs.

    Raises:
        KetformerError: the run is unfinished or was imported, its data has changed, or it was
            trained with another number of processes.
    """
    run, out = Path(run), Path(out)
    then = open_run(run).manifest
    if "imported" in then:
        raise KetformerError(f"{run} was imported, not trained; there is nothing to repeat")
    processes, here = then.get("processes", 1), int(os.environ.get("WORLD_SIZE", "1"))
    if processes != here:
        raise KetformerError(
            f"{run} was trained with {processes} processes, not {here}; use torchrun "
            f"--nproc_per_node {processes} -m ketformer reproduce {run}"
        )
    settings = load_settings(str(run / SETTINGS_FILE))
    if threads := then.get("machine", {}).get("threads"):
        torch.set_num_threads(threads)  # sums are split among them
    differs = _differences(then, make_manifest())
    if differs and os.environ.get("RANK", "0") == "0":
        warnings.warn(f"changed since {run} was trained: {'; '.join(differs)}", stacklevel=2)
    train(
        settings,
        out,
        resume=(out / SETTINGS_FILE).is_file(),
        progress=progress,
        label="reproduce",
        data_sha256=then.get("data", {}).get("sha256"),
    )
    old, new = (load_file(path / WEIGHTS_FILE) for path in (run, out))
    largest = max(float((old[name].double() - new[name].double()).abs().max()) for name in old)
    return {
        "run": str(run),
        "repetition": str(out),
        "steps": read_metrics(out)[-1]["step"],
        "weights_equal": all(torch.equal(old[name], new[name]) for name in old),
        "losses_equal": _losses(run) == _losses(out),
        "largest_difference": largest,
        "differs": differs,
    }


def _losses(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.endswith(_TIMES)}
        for row in read_metrics(run)
    ]


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """``torch 2.9 then, 2.10 now``, for each changed fact of machine, versions and commit."""
    pairs = {"commit": (then.get("commit"), now["commit"])}
    old, new = then.get("machine", {}), now["machine"]
    for key in _MACHINE:
        if key == "versions":
            versions = old.get("versions", {})
            pairs |= {name: (versions.get(name), new["versions"][name]) for name in new[key]}
        else:
            pairs[key] = (old.get(key), new[key])
    found = [f"{name} {a} then, {b} now" for name, (a, b) in pairs.items() if a != b]
    return [*found, *changes_on_the_way(then)]

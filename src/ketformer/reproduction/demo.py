"""The ``demo`` verb: the main job on embedded data, in a few minutes and with no download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from ketformer.comparison import Variant, run_variants
from ketformer.errors import KetformerError
from ketformer.runs import load_settings
from ketformer.runs.directory import make_manifest
from ketformer.utils.files import write_json, write_text
from ketformer.utils.locks import alone_in_out, contents

ATTENTIONS = ("classical", "qisa", "qisa_a", "qsann", "qisa_published")
MOLECULE_ATTENTIONS = ("overlap", "classical")


@alone_in_out
def run_demo(
    out: str | Path = "runs/demo",
    *,
    steps: int | None = None,
    processes: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Train mechanisms on text and on molecules, audit, compare and sample.

    One seed and no size matching: it shows the tool and the leak, not which mechanism
    is better.

    Args:
        out: folder; an earlier demo in it is replaced.
        steps: training steps of each model; by default 300 for text and 400 for molecules.
        processes: how many models at once.
        progress: show a table on standard error.

    Returns:
        The comparisons ``text`` and ``molecules``, also saved in ``demo.json``.

    Raises:
        KetformerError: the folder holds something other than a demo, or is in use.
    """
    if steps is not None and steps < 1:  # before an earlier demo is removed
        raise KetformerError(f"max_steps must be positive, got {steps}")
    if processes < 1:
        raise KetformerError(f"jobs must be positive, got {processes}")
    out = Path(out)
    marker = out / ".ketformer-demo"
    if earlier := contents(out):
        if not marker.is_file():
            raise KetformerError(f"{out} holds something other than a demo; choose another --out")
        for path in earlier:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_text(marker, "This folder is replaced by each `ketformer demo`.\n")
    if progress:
        print(
            "Training five small models on Python's language reference and two on small "
            "molecules: a few minutes on two cores.",
            file=sys.stderr,
        )
    how: dict[str, Any] = {"steps": steps, "processes": processes, "progress": progress}
    text = _compare(ATTENTIONS, "demo", out / "text", **how)
    molecules = _compare(MOLECULE_ATTENTIONS, "demo-molecules", out / "molecules", **how)
    result = {"manifest": make_manifest(), "text": text, "molecules": molecules}
    write_json(out / "demo.json", result)
    return result


def _compare(
    attentions: tuple[str, ...],
    preset: str,
    out: Path,
    *,
    steps: int | None,
    processes: int,
    progress: bool,
) -> dict[str, Any]:
    settings = load_settings(preset)
    steps = steps or settings.training["max_steps"]
    # Five points make a curve; more validation would cost as much as the training.
    settings = settings.override(
        {"max_steps": steps, "eval_steps": max(steps // 5, 1), "save_steps": steps}
    )
    variants = [Variant(name, {"attention": name}) for name in attentions]
    return run_variants(
        variants,
        settings,
        out,
        [settings.training["seed"]],
        evaluation={"samples": 500, "with_fcd": False},
        processes=processes,
        progress=progress,
    )

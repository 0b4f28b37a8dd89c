"""One verb: demo. The main job on embedded data, in a few minutes and with no download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from ketformer import runs
from ketformer.comparison import run_variants
from ketformer.errors import KetformerError
from ketformer.matching import Variant
from ketformer.report import write_report
from ketformer.settings import Settings

ATTENTIONS = ("classical", "qisa", "qisa_a", "qsann", "qisa_published")
MOLECULE_ATTENTIONS = ("overlap", "classical")

#: Small enough for two CPU cores, large enough to learn words.
SETTINGS = Settings(
    name="demo",
    data="embedded",
    split="standard",
    tokenizer="char",
    model={
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    },
    training={
        "max_steps": 300,
        "per_device_train_batch_size": 64,
        "learning_rate": 4e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 30,
        "weight_decay": 0.01,
        "seed": 42,
        "report_to": "none",
    },
)

#: On every small molecule of C, N, O and F, enumerated on the spot.
MOLECULE_SETTINGS = Settings(
    name="demo-molecules",
    task="molecules",
    data="embedded",
    split="standard",
    model={
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    },
    training={**SETTINGS.training, "max_steps": 400},
)


def run_demo(
    out: str | Path = "runs/demo",
    *,
    steps: int | None = None,
    processes: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Train mechanisms on text and on molecules, audit, compare, sample; write ``report.html``.

    One seed and no size matching: it shows the tool and the leak, not which mechanism
    is better.

    Args:
        out: folder; an earlier demo in it is replaced.
        steps: training steps of each model; 300 of text and 400 of molecules by default.
        processes: how many models at once.
        progress: show a table on standard error.

    Returns:
        The comparisons ``text`` and ``molecules``, and the path of the ``report``.

    Raises:
        KetformerError: the folder holds something that no demo made.
    """
    if steps is not None and steps < 1:  # said before an earlier demo is removed
        raise KetformerError(f"max_steps must be positive, got {steps}")
    if processes < 1:
        raise KetformerError(f"jobs must be positive, got {processes}")
    out = Path(out)
    marker = out / ".ketformer-demo"
    if out.exists() and any(out.iterdir()):
        if not marker.is_file():
            raise KetformerError(f"{out} holds something else than a demo; choose another --out")
        shutil.rmtree(out)
    runs.write_text(marker, "This folder is replaced by each `ketformer demo`.\n")
    if progress:
        print(
            "Training five small models on Python's language reference and two on small "
            "molecules: some minutes on two cores.",
            file=sys.stderr,
        )
    how: dict[str, Any] = {"steps": steps, "processes": processes, "progress": progress}
    text = _compare(ATTENTIONS, SETTINGS, out / "text", **how)
    molecules = _compare(MOLECULE_ATTENTIONS, MOLECULE_SETTINGS, out / "molecules", **how)
    result = {"manifest": runs.make_manifest(), "text": text, "molecules": molecules}
    runs.write_json(out / "demo.json", result)
    report = write_report(
        out / "report.html",
        "Ketformer demo",
        "Five attention mechanisms trained on Python's language reference, two on all small "
        "molecules of C, N, O and F. One seed and no matching of sizes: it shows the tool and the "
        "leak, not which is better.",
        {**text, "manifest": result["manifest"]},
        {**molecules, "manifest": result["manifest"]},
    )
    return {**result, "report": str(report)}


def _compare(
    attentions: tuple[str, ...],
    settings: Settings,
    out: Path,
    *,
    steps: int | None,
    processes: int,
    progress: bool,
) -> dict[str, Any]:
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

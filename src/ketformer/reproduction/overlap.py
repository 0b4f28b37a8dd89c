"""``reproduce overlap``: the table of arXiv 2502.19214, published figures and ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ketformer.comparison import Variant, run_variants
from ketformer.comparison.tables import Columns
from ketformer.comparison.variants import chosen_rows
from ketformer.reproduction.rows import OVERLAP_ROWS
from ketformer.runs import Settings, load_settings
from ketformer.runs.directory import make_manifest
from ketformer.utils.files import write_json
from ketformer.utils.locks import alone_in_out

#: The published figures of each: the recorded validation loss (padding counts), and for the
#: conditional models the samples without a target. None where no figure is known.
OVERLAP_PUBLISHED: dict[str, dict[str, float | None]] = {
    "overlap_sequence": {"loss": 0.63440},
    "classical_sequence": {"loss": 0.632},
    "classical_eq_sequence": {"loss": 0.63882},
    "overlap_conditions": {
        "loss": 0.39707,
        "validity": 0.505,
        "uniqueness": 0.388,
        "novelty": 0.696,
    },
    "classical_conditions": {
        "loss": None,
        "validity": 0.385,
        "uniqueness": 0.480,
        "novelty": 0.712,
    },
    "classical_eq_conditions": {
        "loss": None,
        "validity": 0.507,
        "uniqueness": 0.400,
        "novelty": 0.704,
    },
}


#: Columns of the hybrid decoder's table; the first loss counts padding, as in the paper.
_COLUMNS: Columns = (
    ("model", "name"),
    ("parameters", "parameters"),
    ("seeds", "seeds"),
    ("published loss", "published_loss"),
    ("loss", "loss_as_published"),
    ("without padding", "loss"),
    ("published valid / unique / novel", "published_samples"),
    ("valid", "validity"),
    ("unique", "uniqueness"),
    ("novel", "novelty_to_training"),  # as published
)


@alone_in_out
def reproduce_overlap(
    out: str | Path,
    *,
    data: str = "qm9",
    seeds: int = 3,
    rows: Sequence[str] | None = None,
    gradient: str = "exact",
    samples: int = 10_000,
    targets: int = 1_000,
    changes: dict[str, Any] | None = None,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train and measure the paper's six models.

    Args:
        out: folder for the runs and ``reproduction.json``; finished runs in it are kept.
        data: data set or file of molecules.
        seeds: number of seeds for each of the three sequence models; the conditional ones take one.
        rows: names of rows, all six by default; for a subset only the runs are saved.
        gradient: gradient of the overlap's angles, ``exact`` or ``spsa`` as in the released code.
        samples: molecules sampled from each model.
        targets: molecules sampled for each of the 18 published targets.
        changes: settings to change from the published ones, e.g. fewer epochs.
        processes: how many runs at once; by default one, or on a cluster as many as it has cores or
            GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show a table on standard error.

    Returns:
        The ``rows`` of a comparison, each with its ``published`` figures. Means are over the
        seeds; each row's ``seeds`` is their number.

    Raises:
        KetformerError: a row is unknown, or another process is using the folder.
    """
    names = chosen_rows(rows, [variant.name for variant in OVERLAP_ROWS])
    settings = load_settings("overlap-qm9").override({"data": data, **(changes or {})})
    chosen = [variant for variant in OVERLAP_ROWS if variant.name in names]
    parts = []
    for kind, count in (("sequence", seeds), ("conditions", 1)):
        variants = [_with_gradient(v, settings, gradient) for v in chosen if v.name.endswith(kind)]
        if variants:
            evaluation = {"samples": samples, "with_fcd": False}
            evaluation |= {"targets": targets} if kind == "conditions" else {}
            first = settings.training.get("seed", 42)
            parts.append(
                run_variants(
                    variants,
                    settings,
                    Path(out),
                    range(first, first + count),
                    evaluation=evaluation,
                    processes=processes,
                    cluster=cluster,
                    progress=progress,
                )
            )
    table = [
        {
            **row,
            "seeds": len(part["seeds"]),
            **_published(OVERLAP_PUBLISHED[row["name"].removesuffix("_spsa")]),
        }
        for part in parts
        for row in part["rows"]
    ]
    result = {
        "paper": "arXiv 2502.19214",
        "gradient": gradient,
        "manifest": make_manifest(),
        "settings": settings.to_dict(),
        "columns": _COLUMNS,
        "rows": table,
        "notes": [],
    }
    if rows is None:
        write_json(Path(out) / "reproduction.json", result)
    return result


def _with_gradient(variant: Variant, settings: Settings, gradient: str) -> Variant:
    """The row with an estimated gradient of the angles, under a separate name in the folder."""
    if gradient == "exact" or variant.changes["attention"] != "overlap":
        return variant
    options = {**settings.model["attention_options"], "gradient": gradient}
    options |= variant.changes.get("attention_options", {})
    changes = {**variant.changes, "attention_options": options}
    return Variant(f"{variant.name}_{gradient}", changes)


def _published(figures: dict[str, float | None]) -> dict[str, Any]:
    """The published figures of a row, as numbers and as cells of the table."""
    shares = [figures.get(key) for key in ("validity", "uniqueness", "novelty")]
    known = [f"{share:.3f}" for share in shares if share is not None]
    loss = figures["loss"]
    return {
        "published": figures,
        "published_loss": "–" if loss is None else f"{loss:.3f}",
        "published_samples": " / ".join(known) or "–",
    }

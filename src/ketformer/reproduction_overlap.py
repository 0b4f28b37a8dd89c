"""One verb: reproduce overlap. The table of arXiv 2502.19214: published figures and ours."""

from __future__ import annotations

from typing import Any

from ketformer.comparison import Variant

_SEQUENCE: dict[str, dict[str, Any]] = {
    "overlap": {"attention": "overlap"},
    "classical": {"attention": "classical"},
    "classical_eq": {
        "attention": "classical_eq",
        "attention_options": {"features": "embedding"},
    },
}

# Properties in their own units, always all of them, and the angles scaled by the batch.
_AS_PUBLISHED: dict[str, Any] = {
    "conditions": "all",
    "standardise_conditions": False,
    "condition_unknown": False,
}


def _conditional(changes: dict[str, Any]) -> dict[str, Any]:
    scaled = {"angles": "embedding", "n_qubits": 6, "layers": 1, "published_scaling": True}
    options = {"attention_options": scaled} if changes["attention"] == "overlap" else {}
    return {**changes, **_AS_PUBLISHED, **options}


#: The six models of the paper, by name.
OVERLAP_ROWS: tuple[Variant, ...] = (
    *(Variant(f"{name}_sequence", changes) for name, changes in _SEQUENCE.items()),
    *(Variant(f"{name}_conditions", _conditional(changes)) for name, changes in _SEQUENCE.items()),
)

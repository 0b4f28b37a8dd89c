"""The rows of each paper's table, apart from what trains them, which takes seconds to import."""

from __future__ import annotations

from typing import Any

from ketformer.comparison.variants import Variant

_AS_RELEASED = {"score": "double_exponential", "observables": "random"}

#: Of arXiv 2603.03318: name, how it relates to the paper, settings.
QISA_ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("classical", "baseline", {"attention": "classical"}),
    (
        "classical_transposed",
        "control: classical with the leak",
        {"attention": "classical", "attention_options": {"mixing": "transposed"}},
    ),
    ("qisa_published", "as published", {"attention": "qisa_published"}),
    ("qisa_causal", "leak mended", {"attention": "qisa", "attention_options": _AS_RELEASED}),
    ("qisa", "ours", {"attention": "qisa"}),
    ("qisa_a_published", "as published", {"attention": "qisa_a_published"}),
    (
        "qisa_a_causal",
        "leak mended",
        {"attention": "qisa_a", "attention_options": _AS_RELEASED},
    ),
    ("qisa_a", "ours", {"attention": "qisa_a"}),
    ("qsann", "baseline", {"attention": "qsann"}),
)

_SEQUENCE: dict[str, dict[str, Any]] = {
    "overlap": {"attention": "overlap"},
    "classical": {"attention": "classical"},
    "classical_eq": {
        "attention": "classical_eq",
        "attention_options": {"features": "embedding"},
    },
}

# All properties are always given, in their own units, and the batch scales the angles.
_CONDITIONS: dict[str, Any] = {
    "conditions": "all",
    "standardise_conditions": False,
    "condition_unknown": False,
}


def _conditional(changes: dict[str, Any]) -> dict[str, Any]:
    scaled = {"angles": "embedding", "n_qubits": 6, "layers": 1, "published_scaling": True}
    options = {"attention_options": scaled} if changes["attention"] == "overlap" else {}
    return {**changes, **_CONDITIONS, **options}


#: Of arXiv 2502.19214: its six models, by name.
OVERLAP_ROWS: tuple[Variant, ...] = (
    *(Variant(f"{name}_sequence", changes) for name, changes in _SEQUENCE.items()),
    *(Variant(f"{name}_conditions", _conditional(changes)) for name, changes in _SEQUENCE.items()),
)

#: Of arXiv 1906.09777: name, what it is.
TENSORIZED_ROWS: tuple[tuple[str, str], ...] = (
    ("tensorized_published", "as released"),
    ("tensorized", "the same layer, masked"),
    ("classical", "classical attention"),
)

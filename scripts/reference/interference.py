"""`interference`: amplitudes, phases and scores of one layer."""

from __future__ import annotations

from torch import Tensor

from ketformer.attention import build_attention
from ketformer.attention.interference import Interference, Phases
from reference import Case, load, scores_of, set_identity


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores."""
    hidden = case.inputs["x"][None]
    attention = _built(case, "trained")
    plain = _built(case, "zero")
    query, key, _ = attention.project(hidden)
    mixed, weights = attention(hidden, return_weights=True)
    amplitudes = map(attention.split_heads, attention.amplitude_proj(hidden).chunk(2, -1))
    assert attention.phase_proj is not None
    phases = map(attention.split_heads, attention.phase_proj(hidden).chunk(2, -1))
    named = [*zip(("amplitude_q", "amplitude_k"), amplitudes, strict=True)]
    named += zip(("phase_q", "phase_k"), phases, strict=True)
    return {
        **{name: tensor[0] for name, tensor in named},
        "scores": scores_of(attention, query, key)[0],
        "scores_no_phase": scores_of(plain, *plain.project(hidden)[:2])[0],
        "weights": weights[0],
        "mixed": mixed[0],
    }


def _built(case: Case, phases: Phases) -> Interference:
    attention = build_attention(
        "interference",
        case.size("d"),
        case.size("heads"),
        query_modes=case.size("width"),
        phases=phases,
    )
    assert isinstance(attention, Interference)
    attention.double().eval()
    given = case.parameters
    pairs = [(attention.amplitude_proj, ("Waq", "Wak")), (attention.phase_proj, ("Wpq", "Wpk"))]
    for linear, names in pairs:
        if linear is not None:
            for name, part in zip(names, linear.weight.chunk(2), strict=True):
                load(name, part, given[name])
    load("Wv", attention.value_proj.weight, given["Wv"])
    set_identity(attention.out_proj)
    return attention

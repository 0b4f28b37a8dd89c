"""`vqc_plain`, `vqc`, and the feed-forward layer `vqc`."""

from __future__ import annotations

from torch import Tensor

from ketformer.attention import build_attention
from ketformer.attention.vqc import VQC
from ketformer.attention.vqc_plain import VQCPlain
from ketformer.models.feed_forward import build_feed_forward, vqc as feed_forward
from reference import Case, load, mask_of, scores_of, set_identity


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores; the case's parameters say which form it is."""
    if "W1" in case.parameters:
        return _feed_forward(case)
    return _dressed(case) if "adapter_q" in case.parameters else _plain(case)


def _plain(case: Case) -> dict[str, Tensor]:
    hidden = case.inputs["x"][None]
    sizes = case.size("n_qubits"), case.size("heads")
    mask = mask_of(hidden.shape[1], causal=case.choice("causal", (True, False)))
    built = {}
    for entanglement in ("ring", "none"):
        attention = build_attention(
            "vqc_plain", *sizes, layers=case.size("layers"), entanglement=entanglement
        )
        assert isinstance(attention, VQCPlain)
        for i, name in enumerate("qkvo"):
            load(f"w_{name}", attention.double().angles[i], case.parameters[f"w_{name}"].flatten())
        built[entanglement] = attention.eval()
    attention = built["ring"]
    query, key, value = attention.project(hidden)
    output, weights = attention(hidden, mask=mask, return_weights=True)
    assert weights is not None
    return {
        "queries": _joined(query),
        "keys": _joined(key),
        "values": _joined(value),
        "scores": scores_of(attention, query, key)[0],
        "weights": weights[0],
        "mixed": _joined(weights @ value),
        "output": output[0],
        "queries_no_entanglement": _joined(built["none"].project(hidden)[0]),
    }


def _dressed(case: Case) -> dict[str, Tensor]:
    """One head of the model: every head has the same weights, and the first is compared."""
    hidden, width, n = case.inputs["x"][None], case.size("d_model"), case.size("n_qubits")
    attention = build_attention(
        "vqc",
        width,
        max(width // n, 1),
        n_qubits=n,
        layers=case.size("layers"),
        temperature=(width / n) ** 0.5,  # the original divides by sqrt(d_model)
    )
    assert isinstance(attention, VQC)
    attention.double().eval()
    heads = attention.num_heads
    weights = attention.narrow_proj.weight.unflatten(0, (3, heads, n))
    biases = attention.narrow_proj.bias.unflatten(0, (3, heads, n))
    for i, name in enumerate("qkv"):
        for head in range(heads):
            load(f"adapter_{name}", weights[i, head], case.parameters[f"adapter_{name}"])
            load(f"bias_{name}", biases[i, head], case.parameters[f"bias_{name}"])
            angles = case.parameters[f"w_{name}"].flatten()
            load(f"w_{name}", attention.angles[i, head], angles)
    set_identity(attention.out_proj)
    query, key, value = attention.project(hidden)
    mixed, shares = attention(hidden, return_weights=True)
    assert shares is not None
    return {
        "queries": query[0, 0],
        "keys": key[0, 0],
        "values": value[0, 0],
        "scores": scores_of(attention, query, key)[0, 0],
        "weights": shares[0, 0],
        "mixed": mixed[0, :, :n],
    }


def _feed_forward(case: Case) -> dict[str, Tensor]:
    given, hidden = case.parameters, case.inputs["x"]
    layer = build_feed_forward(
        "vqc", hidden.shape[-1], n_qubits=case.size("n_qubits"), layers=case.size("layers")
    )
    assert isinstance(layer, feed_forward.VQC)
    layer.double().eval()
    for number, linear in enumerate((layer.down_proj, layer.up_proj), start=1):
        load(f"W{number}", linear.weight, given[f"W{number}"])
        load(f"b{number}", linear.bias, given[f"b{number}"])
    load("w", layer.angles, given["w"].flatten())
    return {
        "angles": layer.down_proj(hidden),
        "measured": layer.measure(hidden),
        "output": layer(hidden),
    }


def _joined(heads: Tensor) -> Tensor:
    """``[1, H, T, w]`` as ``[T, H * w]``."""
    return heads[0].transpose(0, 1).flatten(1)

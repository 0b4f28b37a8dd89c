"""`tensorized_published`: the released layer, its causal twin, and the module for translation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention import InputSizes, build_attention
from ketformer.attention.tensorized import BlockTerms
from ketformer.attention.tensorized_published import translation_module
from reference import Case, load, set_identity


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores."""
    if "x" not in case.inputs:
        query, key, value = (case.inputs[name] for name in "qkv")
        return {"output": translation_module(query, key, value, case.parameters["cores"])}
    x = case.inputs["x"]
    released, twin = (_built(name, case) for name in ("tensorized_published", "tensorized"))
    attended = released(x[None])[0][0]
    return {
        "F": _pairs(released, x),
        "attention": attended,
        "output": _norm(x + attended),
        "leak": _influence(released, x, case.inputs["delta"]),
        "masked_attention": twin(x[None])[0][0],
    }


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _pairs(mixer: BlockTerms, x: Tensor) -> Tensor:
    """F, which an identity in place of W_o reads as it is."""
    length, weight = len(x), mixer.pair_weight
    every = torch.ones(1, length, length, dtype=torch.bool)
    identity = torch.eye(length**2, dtype=x.dtype).view(1, -1, length, length)
    mixer.pair_weight = nn.Parameter(identity)
    found = mixer.sum_of_pairs(*mixer.factors(x[None]), every)
    mixer.pair_weight = weight
    return found.view(length, length, length)


def _influence(mixer: BlockTerms, x: Tensor, delta: Tensor) -> Tensor:
    """How far a change of the token (row) changes the layer's output (column)."""
    changed = x + torch.eye(len(x), dtype=x.dtype).unsqueeze(-1) * delta
    before, after = (_norm(h + mixer(h)[0]) for h in (x.expand_as(changed), changed))
    return (after - before).abs().amax(-1)


def _built(name: str, case: Case) -> BlockTerms:
    context = case.size("T")
    mixer = build_attention(
        name,
        case.size("d"),
        case.size("heads"),
        rank=case.size("rank"),
        n_cores=case.size("cores"),
        inputs=InputSizes(1, context),
    )
    assert isinstance(mixer, BlockTerms)
    mixer.double().eval()
    given = case.parameters
    load("Wqkv", mixer.qkv_proj.weight, given["Wqkv"])
    load("Wr", mixer.position_proj.weight, given["Wr"])
    load("cores", mixer.cores, given["cores"].unsqueeze(1))
    load("u", mixer.key_bias, given["u"])
    load("w", mixer.position_bias, given["w"])
    load("Wo", mixer.pair_weight.flatten(2)[0], given["Wo"])
    set_identity(mixer.out_proj)
    # The released table is float32.
    setattr(mixer, "sinusoids", lambda like: case.inputs["positions"])  # noqa: B010
    return mixer

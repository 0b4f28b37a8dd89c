"""`qsa_cp`: scores, weights and mixed values of one layer, from its state and pair by pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ketformer.attention import InputSizes, build_attention
from ketformer.attention.linear import in_chunks
from ketformer.attention.qsa_cp import QSACP
from reference import Case, load

#: The package's cosines and sines are float32.
TOLERANCE = 1e-6
# The package's factor of the output before the residual.
_SHARE = 0.9


def outputs(case: Case) -> dict[str, Tensor]:
    """What the file stores; of the output the real part, which is all that the layer returns."""
    mixer, x = _built(case), case.inputs["x"]
    length, width = x.shape[0], mixer.head_dim
    tokens = mixer.project(x[None], torch.arange(length)[None], None)
    query, key = tokens.queries[0, :, 0, 0], tokens.keys[0]
    query, key = (torch.complex(*part.chunk(2, -1)) for part in (query, key))
    scores = (query @ key.mH).tril()
    norm = (scores.abs().square().sum(-1, keepdim=True) + 1e-8).sqrt()
    mixed = torch.complex(*mixer.merge(in_chunks(tokens)[0], tokens)[0].chunk(2, -1))
    return {
        "scores": scores,
        "weights": scores / (norm * width**0.5),
        "mixed": mixed,
        "output": torch.complex(
            x + mixer(x[None])[0][0], _SHARE * (mixed @ case.parameters["Wo"].T).imag
        ),
    }


def _built(case: Case) -> QSACP:
    rope = case.choice("rope", (True, False))
    mixer = build_attention(
        "qsa_cp",
        case.size("d"),
        case.size("heads"),
        inputs=InputSizes(1, 1, positions="rotary" if rope else "none"),
    )
    assert isinstance(mixer, QSACP)
    mixer.double().eval()
    width, given = mixer.head_dim, case.parameters
    # The package turns neighbours, we turn entries half a width apart.
    order = torch.arange(width).view(-1, 2).T.reshape(-1) if rope else torch.arange(width)
    order = (order + torch.arange(0, mixer.hidden_size, width)[:, None]).reshape(-1)
    rows = {"Wq": order, "Wk": order, "Wv": slice(None)}
    for part, half in zip(("real", "imag"), mixer.token_proj.weight.chunk(2), strict=True):
        for name, weight in zip(rows, half.chunk(3), strict=True):
            load(name, weight, getattr(given[name][rows[name]], part))
    output = given["Wo"]
    load("Wo", mixer.out_proj.weight, _SHARE * torch.cat([output.real, -output.imag], 1))
    nn.init.zeros_(mixer.out_proj.bias)
    return mixer

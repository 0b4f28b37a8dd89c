"""`pam`: one layer, and its real twin.

What is read and the last state are those of the recurrent form, the output is that of the parallel
one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ketformer.attention import InputSizes, build_attention
from ketformer.attention.linear import Tokens, complex_read, start, step
from ketformer.attention.pam import PAM
from reference import Case, load

#: The released rotary table is float32.
TOLERANCE = 1e-6


def outputs(case: Case) -> dict[str, Tensor]:
    """What the file stores; a case with ``q`` and ``gamma`` among its inputs is the real twin."""
    return _real(case) if "gamma" in case.inputs else _complex(case)


def _real(case: Case) -> dict[str, Tensor]:
    """The recurrence alone."""
    query, key, value = (case.inputs[name].transpose(0, 1)[None] for name in "qkv")
    tokens = Tokens(
        (query * query.shape[-1] ** -0.5)[:, :, None, None],
        key,
        value,
        case.inputs["gamma"].log().mT[None, :, None],
    )
    read, state = _step_by_step(tokens)
    return {"y": read[0, :, 0].transpose(0, 1), "final_state": state[0, :, 0]}


def _complex(case: Case) -> dict[str, Tensor]:
    mixer = _built(case)
    x = case.inputs["x"]
    length, half = x.shape
    hidden = torch.cat([x.real, x.imag], dim=-1)[None]
    places = torch.arange(length)[None]
    tokens = mixer.project(hidden, places, None)
    read, state = _step_by_step(tokens)
    log_decay = tokens.log_decay
    assert log_decay is not None
    total = log_decay[0, :, 0].cumsum(-1)
    decay = (total[:, :, None] - total[:, None]).exp().tril()
    query, key = (
        torch.complex(*part.chunk(2, -1)) for part in (tokens.queries[0, :, 0, 0], tokens.keys[0])
    )
    out = mixer(hidden)[0][0]
    found = {
        "queries": (query * query.shape[-1] ** 0.5).transpose(0, 1),
        "keys": key.transpose(0, 1),
        "values": torch.complex(*tokens.values[0].chunk(2, -1)).transpose(0, 1),
        "gamma": log_decay[0, :, 0].exp().mT,
        "scores": (query @ key.mH).permute(1, 2, 0),
        "decay": decay.permute(1, 2, 0),
        "y": torch.complex(*complex_read(read)[:, 0]).transpose(0, 1),
        "final_state": _complex_state(state[0, :, 0]),
        "output": torch.complex(out[:, :half], out[:, half:]),
    }
    if mixer.gate_proj is None:
        found["protect"] = torch.zeros(length, mixer.num_heads)
    else:
        assert mixer.gate_bias is not None
        modulus = (x.abs().square() + 1e-8).sqrt()
        found["protect"] = (mixer.gate_proj(modulus) + mixer.gate_bias).sigmoid()
    if mixer.phase_proj is not None:
        modulus = (x.abs().square() + 1e-8).sqrt()
        phases = mixer.phase_proj(modulus) + mixer.phase_bias
        found["phi"] = phases.unflatten(-1, (mixer.num_heads, -1))
    return found


def _complex_state(products: Tensor) -> Tensor:
    """V k† of the products of [Re v, Im v] and [Re k, Im k]."""
    real, imag = (part.chunk(2, -1) for part in products.chunk(2, -2))
    return torch.complex(real[0] + imag[1], imag[0] - real[1])


def _step_by_step(tokens: Tokens) -> tuple[Tensor, Tensor]:
    state, read = start(tokens), []
    for place in range(tokens.keys.shape[2]):
        found, state = step(tokens.part(place, place + 1), state)
        read.append(found)
    return torch.cat(read, dim=-2), state


def _built(case: Case) -> PAM:
    width, heads = case.inputs["x"].shape[-1], case.size("heads")
    states = case.size("states") if "states" in case.config else 1
    rope = bool(case.config.get("rope", True))
    mixer = build_attention(
        "pam",
        2 * width,
        heads,
        states=states,
        gate="Wp" in case.parameters,
        qk_norm=bool(case.config.get("qk_norm", False)),
        inputs=InputSizes(1, 1, positions="rotary" if rope else "none"),
    )
    assert isinstance(mixer, PAM)
    mixer.double().eval()
    given = case.parameters
    for linear, part in ((mixer.real_proj, "real"), (mixer.imag_proj, "imag")):
        for name, weight in zip(("Wq", "Wk", "Wv"), linear.weight.chunk(3), strict=True):
            load(name, weight, getattr(given[name], part))
    output = given["Wo"]
    top, bottom = (
        torch.cat([output.real, -output.imag], 1),
        torch.cat([output.imag, output.real], 1),
    )
    load("Wo", mixer.out_proj.weight, torch.cat([top, bottom]))
    nn.init.zeros_(mixer.out_proj.bias)
    load("Wdt", mixer.decay_proj.weight, given["Wdt"])
    bias = (given["b_lin"] + given["dt_bias"])[:, None].expand(-1, states)
    if states > 1:  # ours start at even offsets, which the bias of each state changes
        bias = bias + given["state_offset"] - torch.linspace(-2, 2, states, dtype=torch.float64)
        assert mixer.phase_proj is not None
        assert mixer.phase_bias is not None
        load("Wphi", mixer.phase_proj.weight, given["Wphi"])
        load("bphi", mixer.phase_bias, given["bphi"])
    load("dt_bias", mixer.decay_bias, bias)
    if mixer.gate_proj is not None and mixer.gate_bias is not None:
        load("Wp", mixer.gate_proj.weight, given["Wp"])
        load("bp", mixer.gate_bias, given["bp"])
    return mixer

"""`kernel`: fidelity kernels of encoded features, their random features, and linear attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ketformer.attention import Attention, build_attention
from ketformer.attention.classical_fourier import ClassicalFourier
from ketformer.attention.kernel import Kernel
from ketformer.errors import KetformerError
from reference import Case, load, mask_of, set_identity

_ENCODINGS = {"coupling": "iqp", "reuploads": "ry_reupload", "layers": "angle"}


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores; the configuration tells what kind of case it is."""
    if "heads" in case.config:
        return _linear_attention(case)
    if "features" in case.config:
        return _random_features(case, "iqp" if "coupling" in case.config else "angle")
    for key, encoding in _ENCODINGS.items():
        if key in case.config:
            return _kernel(case, encoding)
    known = ", ".join(("heads", "features", *_ENCODINGS))
    raise KetformerError(f"{case.where}: its config must have one of {known}")


def _kernel(case: Case, encoding: str) -> dict[str, Tensor]:
    options: dict[str, Any] = {"encoding": encoding, "bandwidth": _number(case, "bandwidth")}
    if encoding == "iqp":
        options["coupling"] = _number(case, "coupling")
    else:
        options["repeats"] = case.size("layers" if encoding == "angle" else "reuploads")
    rows = {name: case.inputs[name] for name in ("q", "k", "v")}
    size = case.size("d")
    published, softmax = (
        _attending_to_rows("kernel", rows, n_qubits=size, normalise=how, **options)
        for how in ("sum", "softmax")
    )
    assert isinstance(published, Kernel)
    if encoding == "ry_reupload":
        load("theta", published.theta[0, 0], case.parameters["theta"])
        softmax.load_state_dict(published.state_dict())
    hidden, length = _stacked(rows), len(rows["q"])
    query, key, _ = published.project(hidden)
    found = {"scores": (query @ key.mT)[0, 0]}
    for suffix, causal in (("", False), ("_causal", True)):
        mixed, weights = _attended(published, hidden, length, causal=causal)
        found |= {f"weights{suffix}": weights, f"mixed{suffix}": mixed[:, : rows["v"].shape[1]]}
    # The stored softmax is of the kernel itself: the temperature takes out our factor.
    softmax.initial_temperature = softmax.dot_scale(size)
    found["softmax_causal"] = _attended(softmax, hidden, length, causal=True)[1]
    if encoding == "ry_reupload":  # the released formula is that of copies, not of uploads
        copies = _attending_to_rows(
            "kernel", rows, **{**options, "encoding": "angle"}, n_qubits=size
        )
        turned = {**rows, **{name: rows[name] * case.parameters["theta"] for name in ("q", "k")}}
        query, key, _ = copies.project(_stacked(turned))
        found["released_scores"] = (query @ key.mT)[0, 0]
    if "state_q0" in case.outputs:
        found["state_q0"] = published.states(hidden)[0, 0, 0, 0]
    return found


def _random_features(case: Case, kernel: str) -> dict[str, Tensor]:
    rows = {name: case.inputs[name] for name in ("q", "k", "v")}
    options: dict[str, Any] = {"kernel": kernel}
    if kernel == "iqp":
        options |= {key: _number(case, key) for key in ("bandwidth", "coupling")}
    attention = _attending_to_rows(
        "classical_fourier",
        rows,
        n_angles=case.size("d"),
        n_features=case.size("features"),
        waves="shifted",
        **options,
    )
    assert isinstance(attention, ClassicalFourier)
    if kernel == "iqp":
        for name, signs in zip(("s", "s2"), attention.signs, strict=True):
            load(name, signs[0], case.parameters[name])
    else:
        load("W", attention.frequencies[0], case.parameters["W"])
    load("b", attention.shifts[0, 0], case.parameters["b"])
    query, key, _ = (part[0, 0] for part in attention.project(_stacked(rows)))
    return {"features_q": query, "features_k": key, "scores": query @ key.mT}


def _linear_attention(case: Case) -> dict[str, Tensor]:
    width, heads, head_dim = case.size("width"), case.size("heads"), case.size("dim_head")
    attention = build_attention(
        "classical_fourier",
        width,
        heads,
        kernel="angle",
        normalise="sum",
        waves="shifted",
        n_angles=head_dim,
        n_features=case.size("features"),
        constant=_number(case, "dc"),
        bias=False,
    )
    assert isinstance(attention, ClassicalFourier)
    attention.double().eval()
    given = case.parameters
    for frequencies, shifts in zip(attention.frequencies, attention.shifts, strict=True):
        load("W", frequencies, given["W"])
        load("b", shifts[0], given["b"])
    rows = 2 * heads * head_dim
    load("Wqkv", attention.angle_proj.weight, given["Wqkv"][:rows])
    load("Wqkv", attention.value_proj.weight, given["Wqkv"][rows:])
    load("Wo", attention.out_proj.weight, given["Wo"])
    load("bo", attention.out_proj.bias, given["bo"])
    attention.angle_proj.bias.zero_()
    hidden = F.layer_norm(case.inputs["x"][None], (width,))
    query, key, _ = attention.project(hidden)
    mask = mask_of(hidden.shape[1], causal=False)
    output, weights = attention(hidden, mask=mask, return_weights=True)
    return {"scores": (query @ key.mT)[0], "weights": weights[0], "output": output[0]}


def _attending_to_rows(name: str, rows: dict[str, Tensor], **options: Any) -> Attention:
    """A mechanism of one head that gets q, k and v side by side, and takes each as it is."""
    widths = [tensor.shape[1] for tensor in rows.values()]
    size = sum(widths)
    attention = build_attention(name, size, 1, bias=False, **options).double().eval()
    angle_proj, value_proj = attention.angle_proj, attention.value_proj
    assert isinstance(angle_proj, torch.nn.Linear)
    assert isinstance(value_proj, torch.nn.Linear)
    chosen = torch.eye(size, dtype=torch.float64)
    load("q and k", angle_proj.weight, chosen[: sum(widths[:2])])
    if angle_proj.bias is not None:
        angle_proj.bias.zero_()
    value_proj.weight.zero_()
    value_proj.weight[: widths[2]] = chosen[sum(widths[:2]) :]
    set_identity(attention.out_proj)
    return attention


def _stacked(rows: dict[str, Tensor]) -> Tensor:
    return torch.cat(list(rows.values()), dim=-1)[None]


def _attended(
    attention: Attention, hidden: Tensor, length: int, *, causal: bool
) -> tuple[Tensor, Tensor]:
    mask = mask_of(length, causal=causal)
    output, weights = attention(hidden, mask=mask, return_weights=True)
    return output[0], weights[0, 0]


def _number(case: Case, key: str) -> float:
    value = case.config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KetformerError(f"{case.where}: config {key!r} must be a number, got {value!r}")
    return float(value)

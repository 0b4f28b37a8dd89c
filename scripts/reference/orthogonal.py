"""`orthogonal`, its matrices, its loader, and the compound layer that cannot be causal."""

from __future__ import annotations

import torch
from torch import Tensor

from ketformer.attention import build_attention
from ketformer.attention.givens import Rotations, compound, loader, loader_angles
from ketformer.attention.orthogonal import Orthogonal
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, run
from reference import Case, load, mask_of, scores_of, set_identity

_LAYOUTS = ("pyramid", "butterfly")


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores; the case's parameters say what it is."""
    if "angles_v" in case.parameters:
        return _attention(case)
    if "angles" in case.parameters:
        return _compound(case)
    return _released_score(case) if "angles_w" in case.parameters else _loader(case)


def _attention(case: Case) -> dict[str, Tensor]:
    hidden = case.inputs["x"][None]
    mask = mask_of(hidden.shape[1], causal=case.choice("causal", (True, False)))
    found = {}
    kinds = {"squared": ("square", "signed"), "root": ("absolute", "absolute")}
    for kind, (score, values) in kinds.items():
        attention = _built(case, score, values)
        query, key, value = attention.project(hidden)
        mixed, weights = attention(hidden, mask=mask, return_weights=True)
        assert weights is not None
        found[f"scores_{kind}"] = scores_of(attention, query, key)[0, 0]
        found[f"weights_{kind}"] = weights[0, 0]
        found["mixed" if kind == "squared" else "mixed_root_absolute"] = mixed[0]
        found["values" if values == "signed" else "values_absolute"] = value[0, 0]
        found["overlaps"] = (query @ key.mT)[0, 0]
    assert attention.rotations is not None
    w, v = attention.rotations.matrix(attention.angles[:, 0])
    return {"W": w, "V": v, **found}


def _built(case: Case, score: str, values: str) -> Orthogonal:
    """One head as wide as the model; scores are not scaled, as published."""
    layout, width = case.choice("family", _LAYOUTS), case.size("d")
    scale = width if score == "square" else width**0.5
    options = {"layout": layout, "score": score, "values": values, "temperature": float(scale)}
    attention = build_attention("orthogonal", width, 1, **options)
    assert isinstance(attention, Orthogonal)
    attention.double().eval()
    for i, name in enumerate(("angles_w", "angles_v")):
        load(name, attention.angles[i, 0], case.parameters[name])
    set_identity(attention.out_proj)
    return attention


def _loader(case: Case) -> dict[str, Tensor]:
    """The unit vector is read off the state that the circuit prepares."""
    vector = case.inputs["x"]
    angles, released = loader_angles(vector), _released_angles(vector / vector.norm())
    circuit = Circuit(len(vector)).x(0).then(loader(len(vector), "a"))
    return {
        "alpha": angles,
        "xhat": _unary(run(circuit, angles)),
        "released_alpha": released,
        "released_state": _unary(run(circuit, released)),
    }


def _compound(case: Case) -> dict[str, Tensor]:
    vectors, n, d = case.inputs["X"], case.size("n"), case.size("d")
    if vectors.shape != (n, d):
        raise KetformerError(f"{case.where}: X has shape {list(vectors.shape)}, not {[n, d]}")
    rotations = Rotations(n + d, case.choice("family", _LAYOUTS))
    w = rotations.matrix(_of_length(case.parameters["angles"], rotations.n_angles))
    made = compound(vectors, w)
    # Two excitations are a plane: the antisymmetric matrix of X turns with W on both sides.
    plane = torch.zeros_like(w)
    plane[:n, n:] = vectors / vectors.square().sum().sqrt()
    turned = w @ (plane - plane.mT) @ w.mT
    squares = turned.square()
    mass = torch.stack(
        [squares[:n, :n].sum() / 2, squares[:n, n:].sum(), squares[n:, n:].sum() / 2]
    )
    return {"W": w, "Y": made, "probabilities": made.square(), "sector_mass": mass}


def _released_score(case: Case) -> dict[str, Tensor]:
    """The released circuit with its second X on qubit 0, and what it was meant to be."""
    units, width = case.inputs["x"], case.size("d")
    rotations = Rotations(width, "pyramid")
    angles = _of_length(case.parameters["angles_w"], rotations.n_angles)
    loads = _released_angles(units)
    count = len(units)
    circuit = Circuit(width).x(0).then(loader(width, "ket")).then(rotations.circuit("w"))
    circuit = circuit.x(0).then(loader(width, "bra").inverse())
    columns = [
        loads[:, None].expand(-1, count, -1),
        angles.expand(count, count, -1),
        loads[None].flip(-1).expand(count, -1, -1),  # unloading uses the last angle first
    ]
    shares = run(circuit, torch.cat(columns, dim=-1)).square()
    released = shares[..., shares.shape[-1] // 2 :].sum(-1)  # qubit 0 is the highest bit
    intended = (units @ (units @ rotations.matrix(angles).mT).mT).square().mT
    return {"released": released, "intended": intended}


def _released_angles(units: Tensor) -> Tensor:
    """Angles of the released loader: arccosines, which lose the last sign, off by about 1e-8."""
    angles, left = [], torch.ones_like(units[..., 0])
    for entry in units[..., :-1].unbind(-1):
        angles.append((entry / left).clamp(-1, 1).arccos())
        left = left * (angles[-1].sin() + 1e-8)
    return torch.stack(angles, dim=-1)


def _of_length(angles: Tensor, length: int) -> Tensor:
    if angles.shape != (length,):
        raise KetformerError(f"{length} angles are needed, the file has {list(angles.shape)}")
    return angles


def _unary(state: Tensor) -> Tensor:
    """The amplitudes of e_0, e_1, … of a state."""
    width = state.shape[-1].bit_length() - 1
    return state[..., [1 << (width - 1 - i) for i in range(width)]]

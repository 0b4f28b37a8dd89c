"""`quixer`: one window as published, and the mixer's outcomes for every prefix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ketformer.attention import InputSizes, build_attention
from ketformer.attention.quixer import Quixer, ansatz14, window
from ketformer.quantum import Circuit, unitary
from reference import Case, load


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores."""
    mixer = _built(case)
    angles, given = _own(mixer.ansatz, case.inputs["angles"]), case.parameters
    unitaries = mixer.unitaries(angles[None])[0, 0].to(torch.complex128)
    last = unitary(mixer.last_ansatz, mixer.last_angles[0])
    b, c = given["lcu"], given["polynomial"]
    whole = window(unitaries, b, c, last)
    prefixes = [window(unitaries[:end], b[:end], c, last) for end in range(1, len(b) + 1)]
    return {
        "U_first": unitaries[0],
        **whole._asdict(),
        "M": whole.matrix,
        "prefix_norms": torch.stack([prefix.norm for prefix in prefixes]),
        "prefix_outcomes": mixer(angles[None])[0][0],
    }


def _own(circuit: Circuit, angles: Tensor) -> Tensor:
    """The angles of gates that are there; files keep a place for those of all."""
    return angles[..., [int(name[1:]) for name in circuit.parameters]]


def _built(case: Case) -> Quixer:
    """A mixer whose hidden states are the angles, and whose outputs are the outcomes."""
    sizes = case.size("n_qubits"), case.size("ansatz_layers")
    entanglement = "ring" if case.choice("entangling", (True, False)) else "none"
    circuit = ansatz14(*sizes, entanglement)
    mixer = build_attention(
        "quixer",
        len(circuit.parameters),
        1,
        n_qubits=sizes[0],
        layers=sizes[1],
        degree=case.size("degree"),
        entanglement=entanglement,
        inputs=InputSizes(1, case.size("window")),
    )
    assert isinstance(mixer, Quixer)
    assert mixer.coefficients is not None
    mixer.double().eval()
    given = case.parameters
    nn.init.eye_(mixer.angle_proj.weight)
    nn.init.zeros_(mixer.angle_proj.bias)
    load("lcu", mixer.coefficients[:, 0], torch.stack([given["lcu"].real, given["lcu"].imag]))
    load("polynomial", mixer.polynomial[0], given["polynomial"])
    load("feedforward", mixer.last_angles[0], _own(mixer.last_ansatz, given["feedforward"]))
    setattr(mixer, "out_proj", nn.Identity())  # noqa: B010
    return mixer

"""Quixer: the published form by window, the causal one by prefix sums, and its controls."""

import pennylane as qml
import pytest
import torch

from ketformer.attention import InputSizes
from ketformer.attention._trials import GrowingCache
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.quixer import ansatz14, polynomial_state, read_out, window
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import unitary

from .helpers import assert_equal_to, build, dense_pauli, tokens

CHECKS = {check.name: check for check in CONFORMANCE}
CASES = pytest.mark.parametrize("name", ["published", "two_qubits", "no_entanglement"])


def sizes(context, positions="learned"):
    return InputSizes(vocab_size=11, max_positions=context, positions=positions)


def parts_of(case):
    """Angles of the tokens and of V, and the options, without those of gates that are not there."""
    config = case.config
    entanglement = "ring" if config["entangling"] else "none"
    size = {"n_qubits": config["n_qubits"], "layers": config["ansatz_layers"]}
    token = [int(name[1:]) for name in ansatz14(*size.values(), entanglement).parameters]
    last = [int(name[1:]) for name in ansatz14(size["n_qubits"], 1, entanglement).parameters]
    options = {**size, "degree": config["degree"], "entanglement": entanglement}
    return case.inputs["angles"][:, token], case.parameters["feedforward"][last], options


@CASES
def test_a_window_as_published(name, reference_cases):
    case = reference_cases("quixer")[name]
    angles, last_angles, options = parts_of(case)
    shape = options["n_qubits"], options["layers"], options["entanglement"]
    unitaries = unitary(ansatz14(*shape), angles)
    last = unitary(ansatz14(shape[0], 1, shape[2]), last_angles)
    given, out = case.parameters, case.outputs
    assert_equal_to(1e-10, unitaries[0].to(torch.complex128), out["U_first"])
    found = window(unitaries, given["lcu"], given["polynomial"], last)
    assert_equal_to(1e-10, found.matrix, out["M"])
    assert_equal_to(1e-10, found.state, out["state"])
    assert_equal_to(1e-10, found.norm, out["norm"])
    assert_equal_to(1e-10, found.outcomes, out["outcomes"])
    for t in range(len(angles)):
        prefix = window(unitaries[: t + 1], given["lcu"][: t + 1], given["polynomial"], last)
        assert_equal_to(1e-10, prefix.norm, out["prefix_norms"][t])


@CASES
def test_the_mixer_is_the_window_of_every_prefix(name, reference_cases):
    case = reference_cases("quixer")[name]
    angles, last_angles, options = parts_of(case)
    length, width = angles.shape
    mixer = build("quixer", width, 1, inputs=sizes(length), **options).double()
    with torch.no_grad():
        mixer.angle_proj.weight.copy_(torch.eye(width))  # the hidden states are the angles
        mixer.angle_proj.bias.zero_()
        lcu = case.parameters["lcu"]
        mixer.coefficients.copy_(torch.stack([lcu.real, lcu.imag])[:, None])
        mixer.polynomial.copy_(case.parameters["polynomial"])
        mixer.last_angles.copy_(last_angles)
    mixer.out_proj = torch.nn.Identity()
    assert_equal_to(1e-10, mixer(angles[None])[0][0], case.outputs["prefix_outcomes"])
    cache = GrowingCache()
    steps = [mixer(angles[None, i : i + 1], cache=cache)[0][0] for i in range(length)]
    assert_equal_to(1e-10, torch.cat(steps), case.outputs["prefix_outcomes"])


# --- The parts, against PennyLane and dense matrices -------------------------------------------


@pytest.mark.parametrize("entanglement", ["ring", "none"])
def test_the_circuit_is_number_14(entanglement):
    n_qubits, layers = 3, 2
    angles = torch.rand(24, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 6

    def gates():
        left = iter(angles.tolist())
        for _ in range(layers):
            for ring in ([(2, 0), (1, 2), (0, 1)], [(2, 1), (0, 2), (1, 0)]):
                for qubit in range(n_qubits):
                    qml.RY(next(left), qubit)
                for pair in ring:
                    angle = next(left)
                    if entanglement == "ring":
                        qml.CRX(angle, pair)

    expected = torch.as_tensor(qml.matrix(gates, wire_order=range(n_qubits))())
    circuit = ansatz14(n_qubits, layers, entanglement)
    own = angles[[int(name[1:]) for name in circuit.parameters]]
    assert_equal_to(
        1e-12, unitary(circuit, own).to(torch.complex128), expected.to(torch.complex128)
    )


def test_the_polynomial_and_what_is_read():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 8, 8, generator=generator, dtype=torch.complex128)
    c = torch.tensor([0.3, -1.0, 0.5, 2.0], dtype=torch.float64)
    powers = [torch.linalg.matrix_power(matrix, k)[..., 0] for k in range(4)]
    state = sum(a * power for a, power in zip(c, powers, strict=True)) / 3.8
    assert_equal_to(1e-10, polynomial_state(matrix, c), state)
    last = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.complex128))[0]
    turned = (last @ state.mT).mT
    turned = turned / turned.norm(dim=-1, keepdim=True)
    strings = [k.join(("I" * i, "I" * (2 - i))) for k in "XYZ" for i in range(3)]
    expected = [(turned.conj() * (turned @ dense_pauli(s).mT)).sum(-1).real for s in strings]
    assert_equal_to(1e-12, read_out(state, last), torch.stack(expected, dim=-1))


# --- Controls, and mistakes --------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"matrices": "free", "n_qubits": 2},
        {"coefficients": "equal", "entanglement": "none", "n_qubits": 2, "degree": 1},
        {"n_qubits": 1, "layers": 2, "token_shift": True, "inputs": sizes(128, "none")},
    ],
    ids=str,
)
def test_controls_do_what_they_must(options):
    for name in ("causality", "padding", "cache_and_padding", "forms", "gradients", "types"):
        CHECKS[name]("quixer", 8, 2, **options)


def test_equal_coefficients_know_no_order():
    """And trained ones do: by position, as nothing else in the mixer."""
    hidden_states = tokens(1, 6, 8).double()
    mixed_up = hidden_states[:, [3, 0, 4, 2, 1, 5]]
    last = {}
    for kind in ("equal", "trained"):
        mixer = build("quixer", 8, 2, coefficients=kind, n_qubits=2).double()
        last[kind] = [mixer(states)[0][0, -1] for states in (hidden_states, mixed_up)]
    assert_equal_to(1e-12, *last["equal"])
    assert (last["trained"][0] - last["trained"][1]).abs().max() > 1e-3


def test_unitaries_are_unitary_and_free_matrices_are_not():
    hidden_states = tokens(2, 3, 8).double()
    for kind in ("circuit", "free"):
        found = build("quixer", 8, 2, matrices=kind, n_qubits=2).double().unitaries(hidden_states)
        assert found.shape == (2, 2, 3, 4, 4)
        identity = torch.eye(4, dtype=torch.complex128).expand_as(found)
        assert torch.allclose(found.mH @ found, identity) == (kind == "circuit")


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"degree": 0}, KetformerError, "degree must be positive"),
        ({"n_qubits": 0}, KetformerError, "at least one qubit"),
        ({"n_qubits": 16, "matrices": "free"}, KetformerError, "too large"),
        ({"matrices": "any"}, KetformerError, "matrices must be one of circuit, free"),
        ({"coefficients": "any"}, KetformerError, "must be one of trained, equal"),
        ({"inputs": sizes(8, "rotary")}, NotOfferedError, "use learned or none"),
        ({"inputs": sizes(8, "alibi")}, NotOfferedError, "positions=alibi"),
    ],
)
def test_what_it_cannot_be_is_refused(options, error, told):
    with pytest.raises(error, match=told) as caught:
        build("quixer", 512, 2, **options)
    assert "\n" not in str(caught.value)


def test_coefficients_end_with_the_context():
    mixer, cache = build("quixer", 8, 2, inputs=sizes(5, "none")), GrowingCache()
    with pytest.raises(KetformerError, match="weights for 5 positions, the context length; 6 are"):
        mixer(tokens(1, 6, 8))
    mixer(tokens(1, 5, 8), cache=cache)
    with pytest.raises(KetformerError, match="weights for 5 positions"):
        mixer(tokens(1, 1, 8), cache=cache)
    equal = build("quixer", 8, 2, coefficients="equal", inputs=sizes(5, "none"))
    assert equal(tokens(1, 6, 8))[0].shape == (1, 6, 8)

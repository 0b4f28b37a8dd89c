"""OpenQASM 3 that Qiskit reads back as the same circuit."""

import math
import re

import pytest
import torch
from hypothesis import given, settings, strategies as st
from qiskit import qasm3, quantum_info

from ketformer.quantum import Angle, Circuit, Gate, entangling_ansatz, unitary
from ketformer.quantum.gates import GATES
from ketformer.quantum.qasm import identifiers, to_qasm

from .helpers import assert_equal_to, circuits, random_angles, seeds

# Qiskit's reader uses a deprecated argument of Qiskit.
pytestmark = pytest.mark.filterwarnings("ignore:.*annotated:DeprecationWarning")

EXACT = 1e-12  # float64, the global phase included

HOSTILE = [
    "", " ", "pi", "tau", "q", "U", "rx", "ccx", "gate", "input", "float", "sin", "OPENQASM",
    "x[0]", "x_0_", "x[0)", "0", "t.1", "θ", "ℇ", "π", "a b", "a\nx q[0];", "a\r\u2028", "*/", "//",
    '"', "$0", "angle_pi", "angle_pi_2", "angle_", "__", "_", "im", "é", "\ud800",
]  # fmt: skip
names = st.sampled_from(HOSTILE) | st.text(max_size=6)


def read_back(text, values=()):
    """The matrix of a program read by Qiskit, with qubit 0 as the most significant bit."""
    read = qasm3.loads(text)
    read = read.assign_parameters(dict(values))
    return torch.from_numpy(quantum_info.Operator(read.reverse_bits()).data)


def matrix_of(circuit, angles):
    return unitary(circuit, angles).to(torch.complex128)


# --- What Qiskit reads -------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_with_numbers(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    by_name = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    text = to_qasm(circuit, angles.tolist())
    assert text == to_qasm(circuit, by_name)
    assert "input" not in text
    assert_equal_to(EXACT, read_back(text), matrix_of(circuit, angles))


@settings(max_examples=50, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_with_free_angles(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    values = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    assert_equal_to(EXACT, read_back(to_qasm(circuit), values), matrix_of(circuit, angles))


@pytest.mark.parametrize("n_controls", [0, 1, 2, 3])
@pytest.mark.parametrize("name", GATES)
def test_every_gate_with_any_number_of_controls(name, n_controls):
    angle = Angle(-1.3) if GATES[name].has_angle else None
    second = 4 if GATES[name].targets == 2 else None
    circuit = Circuit(5, (Gate(name, 1, (3, 0, 2)[:n_controls], angle, second),))
    expected = matrix_of(circuit, torch.empty(0, dtype=torch.float64))
    assert_equal_to(EXACT, read_back(to_qasm(circuit)), expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(names, min_size=1, max_size=8))
def test_any_name_of_an_angle(given_names):
    circuit = Circuit(2)
    for i, name in enumerate(given_names):
        circuit = circuit.rx(i % 2, name).ry(1 - i % 2, name)
    words = identifiers(circuit)
    assert tuple(words) == circuit.parameters
    assert len(set(words.values())) == len(words)

    angles = random_angles(circuit)
    values = zip(words.values(), angles.tolist(), strict=True)
    assert_equal_to(EXACT, read_back(to_qasm(circuit), values), matrix_of(circuit, angles))


# --- The text ----------------------------------------------------------------------------------


def test_a_program_line_by_line():
    circuit = Circuit(3).h(0).cnot(0, 2).rx(1, "turn").ry(1, 0.1).rz(2, "x[0]")
    circuit = circuit.then(Circuit(3).ry(0, "turn").controlled(1).controlled(2))
    assert to_qasm(circuit).splitlines() == [
        "OPENQASM 3.0;",
        'include "stdgates.inc";',
        "// q[i] is qubit i; qubit 0 is the most significant bit of a basis index.",
        "input float[64] turn;",
        'input float[64] x_0_;  // "x[0]"',
        "qubit[3] q;",
        "h q[0];",
        "cx q[0], q[2];",
        "rx(turn) q[1];",
        "ry(0.1) q[1];",
        "rz(x_0_) q[2];",
        "ctrl(2) @ ry(turn) q[2], q[1], q[0];",
    ]


@pytest.mark.parametrize(
    ("angle", "free", "bound"),
    [
        (Angle("a"), "a", "0.3"),
        (Angle("a", -1), "-1.0 * a", "-0.3"),
        (Angle("a", 0.5), "0.5 * a", "0.15"),
        (Angle("a", 0), "0.0 * a", "0.0"),
        (Angle(2, -0.25), "-0.5", "-0.5"),
        (Angle(math.pi), "3.141592653589793", "3.141592653589793"),
        (Angle(1e-300), "1e-300", "1e-300"),
    ],
)
def test_an_angle_as_text(angle, free, bound):
    circuit = Circuit(1, (Gate("RX", 0, angle=angle),))
    assert to_qasm(circuit).splitlines()[-1] == f"rx({free}) q[0];"
    assert to_qasm(circuit, {"a": 0.3}).splitlines()[-1] == f"rx({bound}) q[0];"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (["a", "theta_1", "_b", "T0"], ["a", "theta_1", "_b", "T0"]),
        (["pi", "rx", "q"], ["angle_pi", "angle_rx", "angle_q"]),
        (["x[0]", "x_0_", "x(0)"], ["x_0__2", "x_0_", "x_0__3"]),
        (["0", "", "θ"], ["angle_0", "angle_", "_"]),
        (["pi", "angle_pi"], ["angle_pi_2", "angle_pi"]),
    ],
)
def test_names_are_changed_only_where_they_must_be(parameters, words):
    circuit = Circuit(1)
    for name in parameters:
        circuit = circuit.rx(0, name)
    assert identifiers(circuit) == dict(zip(parameters, words, strict=True))


def test_a_name_cannot_leave_its_comment():
    text = to_qasm(Circuit(1).rx(0, "a\nx q[0];\r\u2028y q[0];"))
    assert text.isascii()
    assert not re.search(r"^\s*[xy] q", text, re.MULTILINE)
    assert len(text.splitlines()) == 6


def test_numbers_may_be_a_tensor():
    circuit = entangling_ansatz(2)
    angles = random_angles(circuit)
    assert to_qasm(circuit, angles) == to_qasm(circuit, angles.tolist())


@pytest.mark.parametrize(
    ("circuit", "angles", "message"),
    [
        (Circuit(1).rx(0, "a").rx(0, "b"), [1.0], "2 parameters, 1 angles were given"),
        (Circuit(1).rx(0, "a"), [], "1 parameters, 0 angles were given"),
        (Circuit(1).rx(0, "a").rx(0, "b"), {"b": 1.0}, "no value for the angle 'a'"),
        (Circuit(1).rx(0, "a"), [math.nan], "finite number, got nan"),
        (Circuit(1).rx(0, math.inf), None, "finite number, got inf"),
    ],
)
def test_mistakes(circuit, angles, message):
    with pytest.raises(ValueError, match=message):
        to_qasm(circuit, angles)

"""Circuits of Qiskit and OpenQASM become ours, phase included."""

import builtins
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings, strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, library
from qiskit.quantum_info import Operator

from ketformer.errors import KetformerError
from ketformer.quantum import Angle, Circuit, Experiment, Gate, PauliStrings, run
from ketformer.quantum.backends import open_backend
from ketformer.quantum.backends.from_qiskit import read_openqasm
from ketformer.quantum.backends.qiskit import to_qiskit
from ketformer.quantum.gradients import outcomes_of
from ketformer.quantum.qasm import to_qasm
from ketformer.quantum.qasm_reader import read_own
from public_circuits import NAMES, public

from .helpers import assert_equal_to, circuits, matrix_of, random_angles, seeds

EXACT = 1e-10
A, B = Parameter("a"), Parameter("b")
VALUES = {"a": 0.3, "b": -1.1}


def qiskits_matrix(circuit, values=VALUES):
    """Qiskit's matrix, with qubit 0 as the most significant bit."""
    bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
    return torch.from_numpy(Operator(bound.reverse_bits()).data)


# --- The ten ansätze of the libraries ----------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_states_of_public_ansaetze(name):
    circuit, state = public(name, 3)
    assert circuit.parameters
    angles = random_angles(circuit)
    expected = state(dict(zip(circuit.parameters, angles.tolist(), strict=True)))
    assert_equal_to(EXACT, run(circuit, angles).to(torch.complex128), expected)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_shift_of_public_ansaetze(name):
    circuit, _ = public(name, 2)
    strings = PauliStrings(("XZ", "ZI", "YY"))
    exactly, shifted = (
        outcomes_of(open_backend("torch"), rule) for rule in (None, "parameter_shift")
    )

    def outcome(angles, of):
        return of(Experiment(circuit, angles, strings)).square().sum()

    angles = random_angles(circuit).requires_grad_()
    (found,) = torch.autograd.grad(outcome(angles, shifted), angles)
    with torch.no_grad():
        for i in range(len(circuit.parameters)):
            step = torch.zeros_like(angles)
            step[i] = 1e-5
            slope = (outcome(angles + step, exactly) - outcome(angles - step, exactly)) / 2e-5
            assert_equal_to(1e-7, found[i], slope)


# --- Qiskit ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_a_circuit_that_qiskit_holds_comes_back(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    values = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    held = to_qiskit(circuit)
    expected = matrix_of(circuit, values)
    assert_equal_to(EXACT, qiskits_matrix(held, values), expected)
    assert_equal_to(EXACT, matrix_of(Circuit.from_qiskit(held), values), expected)


def test_gates_that_are_ours_stay_as_they_are():
    circuit = Circuit(3).h(0).sx(1).cz(0, 2).crx(1, 0, Angle("a", 2, math.pi / 2)).swap(2, 1)
    circuit = circuit.rxx(0, 1, "b").ryy(1, 2, 0.3).rzz(0, 2, Angle("b", -1)).tdg(0).sxdg(2).p(1, 1)
    found = Circuit.from_qiskit(to_qiskit(circuit))
    assert Counter(found.gates) == Counter(circuit.gates)  # Qiskit sorts gates that commute
    assert_equal_to(EXACT, matrix_of(found, VALUES), matrix_of(circuit, VALUES))


def everything():
    circuit = QuantumCircuit(3, global_phase=A + 0.5)
    circuit.rx(2 * A + math.pi / 2, 0)
    circuit.u(A, B, A + B, 1)
    circuit.cu(A, B, 0.3, 0.4, 0, 2)
    circuit.append(library.iSwapGate(), [1, 2])
    circuit.cswap(0, 1, 2)
    circuit.csx(2, 1)
    circuit.rzz(A - B, 0, 1)
    circuit.append(library.XGate().control(2, ctrl_state=1), [0, 1, 2])
    circuit.unitary(library.iSwapGate().to_matrix(), [2, 0])
    return circuit


def test_other_gates_are_decomposed_with_their_phase():
    source = everything()
    found = Circuit.from_qiskit(source)
    assert found.n_qubits == 3
    assert_equal_to(EXACT, matrix_of(found, VALUES), qiskits_matrix(source))
    assert_equal_to(
        EXACT, matrix_of(found.controlled(3), VALUES), torch.from_numpy(
            Operator(source.assign_parameters({A: 0.3, B: -1.1}).to_gate().control(1)).data
        )[_with_control_last()][:, _with_control_last()],
    )  # fmt: skip


def _with_control_last():
    """Our basis index, control on qubit 3, in Qiskit's order with the control first."""
    rows = []
    for index in range(16):
        bits = [(index >> (3 - q)) & 1 for q in range(4)]
        rows.append(bits[3] + sum(bits[q] << (q + 1) for q in range(3)))
    return torch.tensor(rows)


def test_a_sum_of_parameters_is_one_gate_for_each():
    source = QuantumCircuit(1)
    source.rz(2 * A - B + 0.5, 0)
    assert Circuit.from_qiskit(source).gates == (
        Gate("RZ", 0, angle=Angle("a", 2.0, 0.5)),
        Gate("RZ", 0, angle=Angle("b", -1.0)),
    )


def test_barriers_delays_and_final_measurements_are_dropped():
    source = QuantumCircuit(2, 1)
    source.h(0)
    source.barrier()
    source.measure(0, 0)
    source.delay(10, 1)
    source.id(1)
    source.x(1)
    assert Circuit.from_qiskit(source) == Circuit(2).h(0).x(1)


def of_qiskit(*steps):
    source = QuantumCircuit(2, 1)
    for name, *arguments in steps:
        getattr(source, name)(*arguments)
    return source


def with_a_condition():
    source = QuantumCircuit(2, 1)
    with source.if_test((source.clbits[0], 1)):
        source.x(0)
    return source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (of_qiskit(("measure", 0, 0), ("x", 0)), "x follows a measurement of its qubit; only"),
        (of_qiskit(("reset", 0)), "reset is not a gate: classical control, resets"),
        (of_qiskit(("initialize", [0.6, 0.8], 0)), "reset is not a gate"),
        (with_a_condition(), "if_else is not a gate"),
        (of_qiskit(("rx", A * A, 0)), r"the angle of rx is a\*a, which is not affine"),
        (of_qiskit(("ry", A.sin(), 0)), r"the angle of ry is sin\(a\), which is not affine"),
        ("h q[0];", "not a Qiskit circuit: str"),
    ],
    ids=["mid-circuit", "reset", "initialize", "control", "square", "sine", "text"],
)
def test_what_qiskit_has_and_we_do_not_is_one_line(source, message):
    with pytest.raises(KetformerError, match=f"^{message}[^\n]*$"):
        Circuit.from_qiskit(source)


# --- OpenQASM ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(circuits(max_qubits=4), st.text(max_size=3))
def test_our_own_programs_are_read_without_qiskit(circuit, prefix):
    circuit = circuit.renamed(prefix)
    assert read_own(to_qasm(circuit)) == (circuit.n_qubits, _as_written(circuit))


@pytest.mark.parametrize("names", [["x[0]", "x_0_", "x(0)"], ["θ[1]", "pi", "q", "angle_pi"]])
def test_names_that_openqasm_does_not_allow_are_kept(names):
    circuit = Circuit(1)
    for name in names:
        circuit = circuit.rx(0, name)
    assert Circuit.from_qasm(to_qasm(circuit)) == circuit


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('// "θ"', "// θ"), ('// "θ"', '// ["θ"]'), ('// "θ"', ""), ('// "θ"', '// "b"'),
        ("input", "output"), ("rx(", "rx(2 + "), ("q[0];", "q[7];"), ("h q", "hh q"),
    ],
)  # fmt: skip
def test_what_we_would_not_write_is_left_to_qiskit(old, new):
    """It may refuse, but never reads something else."""
    text = to_qasm(Circuit(1).rx(0, "θ").ry(0, "b").h(0)).replace("\\u03b8", "θ")
    changed = text.replace(old, new, 1)
    assert changed != text
    found = read_or_refuse(changed)
    assert found is None or [gate.name for gate in found.gates] == ["RX", "RY", "H"]
    assert found is None or len(found.parameters) == 2


def _as_written(circuit):
    """Fixed angles are one number in the text, and -0 has no sign of its own to keep."""
    gates = []
    for gate in circuit.gates:
        if gate.angle and not gate.angle.is_parameter:
            gate = Gate(
                gate.name, gate.target, gate.controls, Angle(gate.angle.bound({})), gate.second
            )
        gates.append(gate)
    return tuple(gates)


@settings(max_examples=20, deadline=None)
@given(circuits(max_qubits=3, max_gates=6), seeds)
def test_qiskit_reads_them_alike(circuit, seed):
    text = to_qasm(circuit)
    angles = random_angles(circuit, seed=seed)
    values = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    theirs = Circuit(*read_openqasm(text))
    assert theirs.n_qubits == circuit.n_qubits
    assert_equal_to(EXACT, matrix_of(theirs, values), matrix_of(Circuit.from_qasm(text), values))


def test_version_2():
    text = """OPENQASM 2.0; // a comment
    include "qelib1.inc";
    gate mine(t) a, b { cx a, b; rz(t/2) b; }
    qreg first[1]; qreg then[2]; creg c[2];
    u2(0.1, pi/2) first[0]; mine(0.3) then[1], first[0]; rzz(0.2) then[0], then[1];
    barrier first; measure then[0] -> c[0];"""
    expected = Circuit(3).u(0, math.pi / 2, 0.1, math.pi / 2).cnot(2, 0).rz(0, 0.15).rzz(1, 2, 0.2)
    found = Circuit.from_qasm(text)
    assert found.n_qubits == 3
    assert_equal_to(EXACT, matrix_of(found, VALUES), matrix_of(expected, VALUES))


def test_version_3_with_inputs():
    text = """OPENQASM 3;
    include "stdgates.inc";
    input float theta; input angle phi;
    qubit[2] q; bit[2] c;
    rx(2*theta + pi/2) q[0]; ctrl @ p(phi) q[0], q[1]; inv @ sx q[1];
    c = measure q;"""
    angle = Angle("theta", 2.0, math.pi / 2)
    expected = Circuit(2).rx(0, angle).then(Circuit(2).p(1, "phi").controlled(0)).sxdg(1)
    assert Circuit.from_qasm(text) == expected


BAD = [
    ("", "it cannot be read"),
    ("foo", ".*no viable alternative"),
    ("OPENQASM 3; qubit q; foo q;", ".*gate 'foo' is not defined"),
    ('OPENQASM 3; include "/etc/passwd"; qubit q;', ".*non-stdgates imports"),
    ('OPENQASM 2.0; include "/etc/passwd";', ".*unable to find '/etc/passwd'"),
    ('OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; x q[1];', ".*out-of-range"),
    ("OPENQASM 3; qubit[99999999] q;", "the number 99999999 is larger than 10000"),
    ("OPENQASM 2.0; qreg q[1000000000];", "the number 1000000000 is larger than 10000"),
    ('OPENQASM 3; include "stdgates.inc"; input float a; qubit q; rx(sin(a)) q;', ".*FunctionCall"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text[:30] for text, _ in BAD])
def test_a_bad_program_is_one_line(text, message, capfd):
    with pytest.raises(KetformerError, match=f"^OpenQASM: {message}[^\n]*$"):
        Circuit.from_qasm(text)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OPENQASM 7; qubit q;", "OpenQASM 7 is unknown; versions 2 and 3 can be read"),
        ("OPENQASM 3.0;", "the circuit has no qubits"),
        ('OPENQASM 3; include "stdgates.inc"; qubit q; bit c; c = measure q; x q;', "x follows"),
    ],
)
def test_a_program_that_is_no_circuit_is_one_line(text, message):
    with pytest.raises(KetformerError, match=f"^{message}[^\n]*$"):
        Circuit.from_qasm(text)


PIECES = [
    "OPENQASM 3.0;", "OPENQASM 2.0;", 'include "stdgates.inc";', 'include "qelib1.inc";',
    "qubit[2] q;", "qreg q[2];", "input float[64] a;", "h q[0];", "cx q[0], q[1];", "rx(a) q[0];",
    "rx(2 * a) q[1];", "ctrl @ x q[0], q[1];", "ctrl(9) @ x q[0];", "rx() q[0];", "rx(1e) q[0];",
    "swap q[0], q[0];", "x q[5];", "bit c; c = measure q[0];", "if (c) x q[0];", "reset q;",
    "gate g a { x a; }", "g q[0];", "\x00", "(", "}", "//", "/*", "pow(2) @ x q[0];", "cal { }",
    "for int i in [0:3] { x q[0]; }", "\n", "θ", "rz(-2.5 * a - 1.0) q[0];", "#pragma x", "@a",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=10))
def test_any_text_is_a_circuit_or_one_line(pieces):
    found = read_or_refuse("\n".join(pieces))
    assert found is None or found.n_qubits >= 1


def read_or_refuse(text):
    try:
        return Circuit.from_qasm(text)
    except KetformerError as error:
        if "\n" in str(error):
            raise
        return None


def test_our_own_programs_load_without_qiskit(monkeypatch):
    real = builtins.__import__

    def refusing(name, *rest, **more):
        assert not name.startswith("qiskit"), name
        return real(name, *rest, **more)

    text = to_qasm(Circuit(2).rx(0, "a").rzz(0, 1, Angle("a", 2, -0.5)))
    monkeypatch.setattr(builtins, "__import__", refusing)
    assert Circuit.from_qasm(text) == Circuit(2).rx(0, "a").rzz(0, 1, Angle("a", 2, -0.5))

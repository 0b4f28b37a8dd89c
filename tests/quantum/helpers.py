"""Shared helpers of the quantum tests: random circuits, and PennyLane as a second simulator."""

from functools import reduce

import numpy as np
import pennylane as qml
import torch
from hypothesis import strategies as st

from ketformer.quantum import Angle, Circuit, Gate, unitary
from ketformer.quantum.gates import GATES

ANGLED = tuple(name for name, kind in GATES.items() if kind.has_angle)
FIXED = tuple(name for name, kind in GATES.items() if not kind.has_angle)
ONE_TARGET = tuple(name for name, kind in GATES.items() if kind.targets == 1)
REAL_GATES = ("RY", "H", "X", "Z", "SWAP")
PENNYLANE_GATES = {
    "RX": qml.RX,
    "RY": qml.RY,
    "RZ": qml.RZ,
    "H": qml.Hadamard,
    "X": qml.X,
    "Y": qml.Y,
    "Z": qml.Z,
    "P": qml.PhaseShift,
    "S": qml.S,
    "SDG": lambda wires: qml.adjoint(qml.S(wires)),
    "T": qml.T,
    "TDG": lambda wires: qml.adjoint(qml.T(wires)),
    "SX": qml.SX,
    "SXDG": lambda wires: qml.adjoint(qml.SX(wires)),
    "SWAP": qml.SWAP,
    "RXX": qml.IsingXX,
    "RYY": qml.IsingYY,
    "RZZ": qml.IsingZZ,
}
PAULI_MATRICES = {
    "I": torch.tensor([[1, 0], [0, 1]], dtype=torch.complex128),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}

seeds = st.integers(0, 2**31)


@st.composite
def circuits(draw, max_qubits=6, max_gates=12, gates=tuple(GATES)):
    """Any circuit: up to two controls per gate, fixed angles, repeated names, affine angles."""
    n_qubits = draw(st.integers(1, max_qubits))
    value = st.one_of(st.sampled_from(["a", "b", "c"]), st.floats(-7, 7))
    offset = st.just(0.0) | st.floats(-4, 4)
    angle = st.builds(Angle, value, st.just(1.0) | st.floats(-2, 2), offset)
    fitting = [name for name in gates if GATES[name].targets <= n_qubits]

    @st.composite
    def one_gate(draw):
        name = draw(st.sampled_from(fitting))
        target, *others = draw(st.permutations(range(n_qubits)))
        second = others.pop() if GATES[name].targets == 2 else None
        controls = others[: draw(st.integers(0, 2))]
        given = draw(angle) if GATES[name].has_angle else None
        return Gate(name, target, tuple(controls), given, second)

    return Circuit(n_qubits, tuple(draw(st.lists(one_gate(), max_size=max_gates))))


def pauli_strings(n_qubits):
    """Up to eight strings on one register, possibly repeated."""
    string = st.text("IXYZ", min_size=n_qubits, max_size=n_qubits)
    return st.lists(string, min_size=1, max_size=8).map(tuple)


def random_angles(circuit, *batch, seed=0):
    """Angles for a circuit, ``[*batch, P]``, over two turns."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, len(circuit.parameters))
    return (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5) * 25


def matrix_of(circuit, values):
    """The circuit's matrix for these values of its parameters, by name."""
    angles = torch.tensor([values[name] for name in circuit.parameters], dtype=torch.float64)
    return unitary(circuit, angles).to(torch.complex128)


def random_state(n_qubits, *batch, seed=0, dtype=torch.complex128):
    """Unit vectors ``[*batch, 2^n]``."""
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(*batch, 2**n_qubits, generator=generator, dtype=dtype)
    return state / state.norm(dim=-1, keepdim=True)


def to_pennylane(circuit, angles=()):
    """The circuit as a list of PennyLane operations, for one set of angles."""
    values = dict(zip(circuit.parameters, map(float, angles), strict=True))
    operations = []
    for gate in circuit.gates:
        angle = [] if gate.angle is None else [gate.angle.bound(values)]
        operation = PENNYLANE_GATES[gate.name](*angle, wires=gate.targets)
        operations.append(
            qml.ctrl(operation, control=gate.controls) if gate.controls else operation
        )
    return operations


def pennylane_state(operations, n_qubits, start=None):
    """The state that default.qubit prepares from ``start``, or from |0…0>."""

    @qml.qnode(qml.device("default.qubit", wires=n_qubits))
    def state():
        if start is not None:
            qml.StatePrep(start.numpy(), wires=range(n_qubits))
        for operation in operations:
            qml.apply(operation)
        return qml.state()

    return torch.from_numpy(np.array(state(), dtype=np.complex128))


def pennylane_unitary(operations, n_qubits):
    """The operations' matrix, with wire 0 first."""
    tape = qml.tape.QuantumScript([qml.Identity(0), *operations])
    return torch.from_numpy(np.array(qml.matrix(tape, wire_order=range(n_qubits)), dtype=complex))


def pennylane_expectations(state, strings):
    """<state|P|state> for each string, computed by default.qubit."""
    n_qubits = len(strings[0])
    wires = {i: i for i in range(n_qubits)}

    @qml.qnode(qml.device("default.qubit", wires=n_qubits))
    def expectations():
        qml.StatePrep(state.numpy(), wires=range(n_qubits))
        return [qml.expval(qml.pauli.string_to_pauli_word(s, wires)) for s in strings]

    return torch.tensor([float(e) for e in expectations()], dtype=torch.float64)


def dense_pauli(string):
    """The string's 2^n x 2^n matrix: Kronecker products in register order."""
    return reduce(torch.kron, (PAULI_MATRICES[letter] for letter in string))


def assert_equal_to(tolerance, actual, expected):
    """Assert absolute agreement of the values, whatever their dtypes."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0, check_dtype=False)


def assert_equal_up_to_phase(tolerance, actual, expected):
    """Assert absolute agreement of two states or unitary matrices up to a global phase."""
    actual, expected = actual.to(torch.complex128), expected.to(torch.complex128)
    overlap = (actual.conj() * expected).sum()
    assert_equal_to(tolerance, actual * overlap / overlap.abs(), expected)

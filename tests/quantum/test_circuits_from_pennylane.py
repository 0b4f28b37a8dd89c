"""Circuits of PennyLane become ours, phase included."""

import math
import warnings

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings

from ketformer.errors import KetformerError
from ketformer.quantum import Angle, Circuit, Gate, run

from .helpers import assert_equal_to, circuits, matrix_of, random_angles, seeds, to_pennylane

EXACT = 1e-10


@settings(max_examples=15, deadline=None)
@given(circuits(max_qubits=3, max_gates=6), seeds)
def test_a_circuit_that_pennylane_holds_comes_back(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    tape = qml.tape.QuantumScript(to_pennylane(circuit, angles.tolist()))
    tape.trainable_params = []
    found = Circuit.from_pennylane(tape)
    assert found.parameters == ()
    values = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    wires = found.n_qubits  # wires above the last gate's are not in a tape
    whole = Circuit(circuit.n_qubits, found.gates)
    assert wires <= circuit.n_qubits
    assert_equal_to(EXACT, matrix_of(whole, values), matrix_of(circuit, values))


def node(weights, x, layers=1):
    qml.AngleEmbedding(x, wires=range(3))
    for _ in range(layers):
        qml.StronglyEntanglingLayers(weights, wires=range(3))
    qml.Barrier()
    qml.CRot(weights[0, 0, 0], 0.3, x[1] * 2 + math.pi / 2, wires=[0, 1])
    qml.U3(x[0], x[1], 0.3, wires=2)
    qml.ctrl(qml.RX(x[2], 0), [1], control_values=[0])
    qml.ISWAP([0, 2])
    qml.GlobalPhase(x[0] - x[1])
    qml.QubitUnitary(np.array([[0, 1], [1j, 0]]), wires=1)
    return qml.state()


def test_a_qnode_with_named_entries():
    device = qml.device("default.qubit", wires=[0, 1, 2])
    weights, x = np.linspace(-1, 2, 9).reshape(1, 3, 3), np.array([0.4, -0.7, 2.0])
    found = Circuit.from_pennylane(qml.QNode(node, device), weights, x, layers=2)
    entries = [f"weights[0,{i},{j}]" for i in range(3) for j in range(3)]
    assert set(found.parameters) == {*entries, "x[0]", "x[1]", "x[2]"}
    values = dict(zip([*entries, "x[0]", "x[1]", "x[2]"], [*weights.flatten(), *x], strict=True))
    angles = torch.tensor([values[name] for name in found.parameters], dtype=torch.float64)
    expected = torch.from_numpy(np.array(qml.QNode(node, device)(weights, x, layers=2)))
    assert_equal_to(EXACT, run(found, angles), expected)


def test_affine_angles_and_scalars_by_name():
    def template(theta, phi):
        qml.RX(2 * theta + math.pi / 2, wires=1)
        qml.CRZ(phi - theta, wires=[1, 0])
        return qml.expval(qml.Z(0))

    assert Circuit.from_pennylane(template, 0.0, 0.0).gates == (
        Gate("RX", 1, angle=Angle("theta", 2.0, math.pi / 2)),
        Gate("RZ", 0, (1,), Angle("theta", -1.0)),
        Gate("RZ", 0, (1,), Angle("phi")),
    )


def test_wires_with_labels():
    def template():
        qml.CNOT(["b", "a"])

    assert Circuit.from_pennylane(template) == Circuit(2).cnot(0, 1)
    device = qml.device("default.qubit", wires=["a", "b", "c"])
    assert Circuit.from_pennylane(qml.QNode(template, device)) == Circuit(3).cnot(1, 0)


def test_a_tape_with_trainable_numbers():
    weights = np.zeros((1, 2))
    operations = [qml.RX(0.1, 0), qml.BasicEntanglerLayers(weights, wires=[0, 1]), qml.RZ(0.2, 3)]
    tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(0))])
    expected = Circuit(4).rx(0, "t0").rx(0, "t1").rx(1, "t2").cnot(0, 1)
    assert Circuit.from_pennylane(tape) == expected.rz(3, "t3")
    tape.trainable_params = [1]
    assert Circuit.from_pennylane(tape) == (
        Circuit(4).rx(0, 0.1).rx(0, "t0").rx(1, "t1").cnot(0, 1).rz(3, 0.2)
    )


def squared(x):
    qml.RX(x * x, wires=0)


def branching(x):
    if x > 0:
        qml.RX(x, wires=0)


def measuring(x):
    qml.RX(x, wires=0)
    qml.measure(0)
    qml.RX(x, wires=0)


def controlled(x):
    qml.cond(qml.measure(0), qml.X)(1)
    qml.RX(x, wires=0)


def noisy(x):
    qml.AmplitudeDamping(0.1, wires=0)


def broken(x):
    raise RuntimeError("first\nsecond")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (squared, "the angle of RX is not affine in the parameters"),
        (branching, "the gates depend on the values of the parameters"),
        (measuring, "MidMeasureMP is not a gate: measurements in the middle"),
        (controlled, "MidMeasureMP is not a gate"),
        (noisy, "AmplitudeDamping is not a gate"),
        (broken, "PennyLane: first"),
        (3, "not a QNode, quantum function or tape: int"),
    ],
)
def test_what_pennylane_has_and_we_do_not_is_one_line(source, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KetformerError, match=f"^{message}[^\n]*$"):
            Circuit.from_pennylane(source, 0.1)

"""Ten ansätze as Qiskit's and PennyLane's own libraries build them, on any number of qubits."""

import numpy as np
import pennylane as qml
import torch
from qiskit.circuit import library
from qiskit.quantum_info import Statevector

from ketformer.quantum import Circuit

QISKIT = {
    "real_amplitudes": lambda n: library.real_amplitudes(n, reps=1),
    "efficient_su2": lambda n: library.efficient_su2(n, reps=1),
    "two_local": lambda n: library.n_local(n, ["ry", "rz"], "cz", "full", reps=1),
    "n_local": lambda n: library.n_local(n, ["rx", "sx"], "crx", "circular", reps=1),
    "excitation_preserving": lambda n: library.excitation_preserving(n, mode="fsim", reps=1),
    "pauli_two_design": lambda n: library.pauli_two_design(n, reps=2, seed=3),
}
PENNYLANE = {
    "StronglyEntanglingLayers": lambda n: (qml.StronglyEntanglingLayers, [(1, n, 3)], {}),
    "BasicEntanglerLayers": lambda n: (qml.BasicEntanglerLayers, [(2, n)], {"rotation": qml.RY}),
    "SimplifiedTwoDesign": lambda n: (qml.SimplifiedTwoDesign, [(n,), (1, n - 1, 2)], {}),
    "RandomLayers": lambda n: (qml.RandomLayers, [(1, 2 * n)], {"seed": 5}),
}
NAMES = [*QISKIT, *PENNYLANE]


def public(name, n_qubits):
    """The circuit, and what its own library says of the state: ``values by name -> [2^n]``."""
    if name in QISKIT:
        source = QISKIT[name](n_qubits)

        def state(values):
            bound = source.assign_parameters({p: values[p.name] for p in source.parameters})
            return torch.from_numpy(Statevector(bound.reverse_bits()).data)

        return Circuit.from_qiskit(source), state
    template, shapes, options = PENNYLANE[name](n_qubits)

    @qml.qnode(qml.device("default.qubit", wires=n_qubits))
    def node(*weights):
        template(*weights, wires=range(n_qubits), **options)
        return qml.state()

    def state(values):
        rest = [values[key] for key in sorted(values, key=_place)]
        arrays = []
        for shape in shapes:
            size = int(np.prod(shape))
            arrays.append(np.array(rest[:size]).reshape(shape))
            rest = rest[size:]
        return torch.from_numpy(np.array(node(*arrays), dtype=complex))

    return Circuit.from_pennylane(node, *(np.zeros(shape) for shape in shapes)), state


def _place(name):
    """Where an entry of the arguments stands, from its name ``weights1[0,2]``."""
    label, _, inside = name.rstrip("]").partition("[")
    return label, [int(i) for i in inside.split(",")]

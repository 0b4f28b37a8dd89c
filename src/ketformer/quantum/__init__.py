"""Circuits as data, exact batched simulation, encodings and Pauli strings. Needs torch only."""

from ketformer.quantum.ansatz import (
    Entanglement,
    angle_encoding,
    angle_encoding_depth,
    cnot_ring,
    entangler,
    entangling_ansatz,
    rotation_ring_ansatz,
)
from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.circuit_states import CircuitStates
from ketformer.quantum.circuit_values import CircuitValues
from ketformer.quantum.decompose import decompose
from ketformer.quantum.encoding import amplitude_encode, qubits_for
from ketformer.quantum.experiment import Expect, Experiment
from ketformer.quantum.hadamard import hadamard_test
from ketformer.quantum.measurement import measurement_settings
from ketformer.quantum.noise import Noise
from ketformer.quantum.pauli import (
    PauliStrings,
    distinct_strings,
    pauli_expectations,
    random_strings,
)
from ketformer.quantum.pauli_plan import PauliPlan
from ketformer.quantum.preparation import amplitude_angles, amplitude_preparation
from ketformer.quantum.product import product_state
from ketformer.quantum.simulate import apply, overlap, run, unitary, zero_state
from ketformer.quantum.spsa import run_spsa

__all__ = [
    "Angle",
    "Circuit",
    "CircuitStates",
    "CircuitValues",
    "Entanglement",
    "Expect",
    "Experiment",
    "Gate",
    "Noise",
    "PauliPlan",
    "PauliStrings",
    "amplitude_angles",
    "amplitude_encode",
    "amplitude_preparation",
    "angle_encoding",
    "angle_encoding_depth",
    "apply",
    "cnot_ring",
    "decompose",
    "distinct_strings",
    "entangler",
    "entangling_ansatz",
    "hadamard_test",
    "measurement_settings",
    "overlap",
    "pauli_expectations",
    "product_state",
    "qubits_for",
    "random_strings",
    "rotation_ring_ansatz",
    "run",
    "run_spsa",
    "unitary",
    "zero_state",
]

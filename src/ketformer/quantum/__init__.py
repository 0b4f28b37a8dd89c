"""Circuits as data, exact batched simulation, encodings and Pauli strings. Needs only torch."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.quantum.ansatz import (
        Entanglement as Entanglement,
        angle_encoding as angle_encoding,
        angle_encoding_depth as angle_encoding_depth,
        beam_splitter as beam_splitter,
        cnot_ring as cnot_ring,
        entangler as entangler,
        entangling_ansatz as entangling_ansatz,
        rotation_ring_ansatz as rotation_ring_ansatz,
        rx_encoding as rx_encoding,
        rx_ring_ansatz as rx_ring_ansatz,
        strongly_entangling_ansatz as strongly_entangling_ansatz,
    )
    from ketformer.quantum.bond_dimension import truncated as truncated
    from ketformer.quantum.circuit import Angle as Angle, Circuit as Circuit, Gate as Gate
    from ketformer.quantum.circuit_matrices import CircuitMatrices as CircuitMatrices
    from ketformer.quantum.circuit_outcomes import CircuitOutcomes as CircuitOutcomes
    from ketformer.quantum.circuit_states import CircuitStates as CircuitStates
    from ketformer.quantum.circuit_values import CircuitValues as CircuitValues
    from ketformer.quantum.compression import compressed as compressed
    from ketformer.quantum.decomposition import decompose as decompose
    from ketformer.quantum.encoding import (
        amplitude_encode as amplitude_encode,
        qubits_for as qubits_for,
    )
    from ketformer.quantum.experiment import Expect as Expect, Experiment as Experiment
    from ketformer.quantum.hadamard import hadamard_test as hadamard_test
    from ketformer.quantum.measurement import measurement_settings as measurement_settings
    from ketformer.quantum.noise import Noise as Noise
    from ketformer.quantum.overlap_tests import (
        compute_uncompute as compute_uncompute,
        reference_test as reference_test,
        swap_test as swap_test,
    )
    from ketformer.quantum.pauli import (
        PauliStrings as PauliStrings,
        distinct_strings as distinct_strings,
        pauli_expectations as pauli_expectations,
        random_strings as random_strings,
    )
    from ketformer.quantum.pauli_plan import PauliPlan as PauliPlan
    from ketformer.quantum.preparation import (
        amplitude_angles as amplitude_angles,
        amplitude_preparation as amplitude_preparation,
    )
    from ketformer.quantum.product import product_state as product_state
    from ketformer.quantum.simulate import (
        apply as apply,
        overlap as overlap,
        run as run,
        unitary as unitary,
        zero_state as zero_state,
    )
    from ketformer.quantum.spsa import run_spsa as run_spsa

__getattr__, __dir__, __all__ = lazily(__name__)

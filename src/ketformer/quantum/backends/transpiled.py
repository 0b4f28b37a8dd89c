"""What a circuit becomes on a device: its gates, duration and expected fidelity by Qiskit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends.qiskit import to_qiskit
from ketformer.quantum.circuit import Circuit

_LEVELS = range(4)
#: The level at which the backend ``qiskit`` transpiles for a device, too.
LEVEL = 2


@dataclass(frozen=True)
class DeviceCounts:
    """Counts of one measured circuit in a device's native gates.

    Attributes:
        n_qubits: qubits of the device that a gate or measurement uses.
        depth: layers of gates, without the measurement.
        one_qubit_gates: all of them, also RZ where the device only shifts a phase.
        two_qubit_gates: those that the SWAPs of the routing became, too.
        duration_us: microseconds from the first gate to the end of the measurement, along the
            critical path; None if the device has no calibrated durations.
        fidelity: the product of 1 - error over all gates and measured qubits; None if the device
            has no calibrated errors.
    """

    n_qubits: int
    depth: int
    one_qubit_gates: int
    two_qubit_gates: int
    duration_us: float | None
    fidelity: float | None

    @property
    def gates(self) -> int:
        """Number of all gates."""
        return self.one_qubit_gates + self.two_qubit_gates


class Transpiler:
    """Qiskit's preset passes for one device; each circuit is transpiled once.

    The angles stay parameters, as when the backend ``qiskit`` runs a circuit, so that the counts
    hold for all of them.

    Args:
        device: a ``BackendV2``.
        optimization_level: of the preset passes, 0 to 3.
        seed: seed of layout and routing.

    Raises:
        KetformerError: Qiskit is missing, or there is no such level.
    """

    def __init__(self, device: Any, *, optimization_level: int = LEVEL, seed: int = 0) -> None:
        require_package("qiskit", "qiskit")
        from qiskit.transpiler import generate_preset_pass_manager

        if optimization_level not in _LEVELS:
            raise KetformerError(f"optimization_level must be 0 to 3, got {optimization_level}")
        self.device = device
        self.optimization_level = optimization_level
        self.seed = seed
        self._passes = generate_preset_pass_manager(
            optimization_level, backend=device, seed_transpiler=seed
        )
        self._counted: dict[tuple[Circuit, tuple[int, ...]], DeviceCounts] = {}

    @property
    def repetition_delay_us(self) -> float | None:
        """The device's own pause between two shots, in microseconds; None if it does not say."""
        delay = getattr(self.device, "default_rep_delay", None)
        return None if delay is None else 1e6 * float(delay)

    def count(self, circuit: Circuit, measured: Sequence[int]) -> DeviceCounts:
        """Transpile a circuit with these qubits measured at its end, and count.

        Raises:
            KetformerError: the device has too few qubits.
        """
        key = circuit, tuple(measured)
        if key not in self._counted:
            self._counted[key] = self._count(*key)
        return self._counted[key]

    def _count(self, circuit: Circuit, measured: tuple[int, ...]) -> DeviceCounts:
        from qiskit import ClassicalRegister

        if circuit.n_qubits > self.device.num_qubits:
            raise KetformerError(
                f"{self.device.name} has {self.device.num_qubits} qubits, "
                f"the circuit needs {circuit.n_qubits}"
            )
        last = circuit.n_qubits - 1
        whole = to_qiskit(circuit).reverse_bits()  # the order in which the backend runs it
        bits = ClassicalRegister(len(measured))
        whole.add_register(bits)
        whole.measure([last - qubit for qubit in measured], bits)
        native = self._passes.run(whole)
        steps = [step for step in native.data if not step.operation._directive]
        gates = [step for step in steps if step.operation.name not in ("measure", "delay")]
        two = sum(len(step.qubits) > 1 for step in gates)
        return DeviceCounts(
            n_qubits=len({qubit for step in steps for qubit in step.qubits}),
            depth=native.depth(
                lambda s: s.operation.name != "measure" and not s.operation._directive
            ),
            one_qubit_gates=len(gates) - two,
            two_qubit_gates=two,
            duration_us=self._duration(native),
            fidelity=self._fidelity(native, steps),
        )

    def _duration(self, native: Any) -> float | None:
        from qiskit.exceptions import QiskitError

        try:
            return float(native.estimate_duration(self.device.target, "u"))
        except QiskitError:  # an instruction without a duration
            return None

    def _fidelity(self, native: Any, steps: Sequence[Any]) -> float | None:
        place = {qubit: index for index, qubit in enumerate(native.qubits)}
        fidelity, known = 1.0, False
        for step in steps:
            properties = self.device.target[step.operation.name]
            found = properties.get(tuple(place[qubit] for qubit in step.qubits))
            if found is not None and found.error is not None:
                fidelity, known = fidelity * (1 - found.error), True
        return fidelity if known else None

"""PennyLane: its simulators, its adjoint derivative, and the devices of its plugins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends.base import Backend, BackendOptions, with_options
from ketformer.quantum.backends.devices import first_line
from ketformer.quantum.circuit import Circuit
from ketformer.quantum.decomposition import decompose
from ketformer.quantum.pauli import PauliStrings

# PennyLane's classes where their names differ from ours, and gates that are inverses.
_CLASSES = {
    "H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ", "P": "PhaseShift",
    "RXX": "IsingXX", "RYY": "IsingYY", "RZZ": "IsingZZ",
}  # fmt: skip
_INVERSES = {"SDG": "S", "TDG": "T", "SXDG": "SX"}
# Numbers in memory at once; larger batches are split.
_CHUNK = 1 << 22


class PennyLaneBackend(Backend):
    """Circuits on a PennyLane device, in whole batches where the device supports them.

    Args:
        shots: see :class:`~ketformer.quantum.backends.Backend`.
        noise: likewise.
        seed: likewise.
        device: name of a PennyLane device, e.g. ``lightning.qubit``; None for
            ``default.qubit``, or ``default.mixed`` under noise on gates.
        device_options: further arguments of the device's constructor, such as
            ``{"c_dtype": numpy.complex64}`` for ``lightning.qubit``.

    Raises:
        KetformerError: PennyLane or the device is missing, or does not support the request.
    """

    name = "pennylane"
    packages = ("pennylane",)
    tolerance = 1e-10

    def __init__(
        self,
        *,
        device: str | None = None,
        device_options: Mapping[str, Any] | None = None,
        **common: Unpack[BackendOptions],
    ) -> None:
        super().__init__(**common)
        self._device_options = self._mapping("device_options", device_options)
        self._qml = require_package("pennylane", "pennylane")
        self.device = device or ("default.mixed" if self.noise.on_gates else "default.qubit")
        self._open(1)

    def provenance(self) -> dict[str, Any]:
        """See :meth:`Backend.provenance <ketformer.quantum.backends.Backend.provenance>`."""
        return {**super().provenance(), "device": with_options(self.device, self._device_options)}

    def memory_for(self, n_qubits: int) -> int:
        """Memory that PennyLane's own simulators need; 0 for the devices of plugins."""
        own = self.device in ("default.qubit", "default.mixed", "lightning.qubit")
        return super().memory_for(n_qubits) if own else 0

    def adjoint(self, circuit: Circuit, angles: Tensor, strings: PauliStrings) -> Tensor:
        """Derivative of each expectation by each named angle, by adjoint differentiation.

        It takes one forward and one backward pass, however many angles there are.

        Args:
            circuit: ``P`` named parameters on ``n`` qubits.
            angles: ``[..., P]`` in radians.
            strings: ``S`` strings on ``n`` qubits.

        Returns:
            ``[..., S, P]``, exact.

        Raises:
            KetformerError: there is noise on gates, or the device lacks this derivative.
        """
        if self.noise.on_gates:
            self._cannot("differentiate a noisy circuit by the adjoint method")
        rows, inverse = self._rows(circuit, angles)
        self.circuits_run += len(rows)
        native = decompose(circuit)
        gates = [g.angle for g in native.gates if g.angle is not None]
        named = [i for i, angle in enumerate(gates) if angle.is_parameter]
        # The derivative by a name is the sum over all gates that use it.
        chain = torch.zeros(len(named), len(circuit.parameters), dtype=torch.float64)
        for place, i in enumerate(named):
            chain[place, circuit.parameters.index(str(gates[i].value))] = gates[i].factor
        jacobians = torch.zeros(len(rows), len(strings), len(named), dtype=torch.float64)
        if named:
            for out, part in zip(jacobians.split(256), rows.split(256), strict=True):
                out[:] = self._jacobians(native, part, strings, named)
        jacobian = (jacobians @ chain)[inverse]
        return jacobian.reshape(*angles.shape[:-1], *jacobian.shape[1:]).to(angles)

    def _states(self, circuit: Circuit, rows: Tensor) -> Tensor:
        states = self._batches(circuit, rows, [self._qml.state()])
        if states.shape[1] != 2**circuit.n_qubits:
            self._cannot(f"show a state on {self.device}")
        return states.to(torch.complex128)

    def _distributions(self, circuit: Circuit, rows: Tensor) -> Tensor:
        wires = range(circuit.n_qubits)
        return self._batches(circuit, rows, [self._qml.probs(wires=wires)]).clamp_min(0)

    def _expectations(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        return self._batches(circuit, rows, self._observables(strings))

    def _outcomes(self, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Tensor:
        n = circuit.n_qubits
        device = self._open(n, seed=seed)
        measured = [self._qml.sample(wires=range(n))]
        places = 2 ** torch.arange(n - 1, -1, -1)
        outcomes = torch.empty(len(rows), shots, dtype=torch.long)
        if rows.shape[1]:
            size = max(1, _CHUNK // (shots * n + 2**n))
            parts = zip(outcomes.split(size), rows.split(size), strict=True)
        else:  # one circuit, measured for all rows together
            parts = zip([outcomes.view(1, -1)], [rows[:1]], strict=True)
        for out, part in parts:
            if out.numel():
                (bits,) = self._execute(device, circuit, part, measured, shots=out.shape[1])
                out[:] = torch.from_numpy(bits).long().reshape(*out.shape, n) @ places
        return outcomes

    # -----------------------------------------------------------------------------------------

    def _batches(self, circuit: Circuit, rows: Tensor, measured: Sequence[Any]) -> Tensor:
        """Exact results ``[N, …]``, with several scalar measurements side by side."""
        n = circuit.n_qubits
        device = self._open(n)
        # Sixteen Kraus operators act on each density matrix.
        size = max(1, _CHUNK >> (2 * n + 4 if self.noise.on_gates else n))
        parts = []
        for part in rows.split(size):
            results = self._execute(device, circuit, part, measured)
            flat = [np.asarray(r).reshape(len(part), -1) for r in results]
            parts.append(torch.from_numpy(np.concatenate(flat, axis=1)))
        return torch.cat(parts)

    def _execute(
        self,
        device: Any,
        circuit: Circuit,
        rows: Tensor,
        measured: Sequence[Any],
        shots: int | None = None,
    ) -> Sequence[Any]:
        """One result per measurement; with angles, its first axis is the rows."""
        columns = [column.numpy() for column in rows.T]
        tape = self._qml.tape.QuantumScript(
            self._operations(circuit, columns), measured, shots=shots
        )
        try:
            (result,) = self._qml.execute([tape], device, diff_method=None)
        except MemoryError:
            raise
        except Exception as error:  # plugins may raise anything
            raise self._refused(error) from error
        return result if isinstance(result, tuple) else (result,)

    def _jacobians(
        self, circuit: Circuit, rows: Tensor, strings: PauliStrings, named: list[int]
    ) -> Tensor:
        """``[N, S, A]``: derivatives by the angle of each gate with a named angle."""
        device = self._open(circuit.n_qubits)
        tapes = []
        for row in rows.tolist():
            operations = self._operations(circuit, row)
            tape = self._qml.tape.QuantumScript(operations, self._observables(strings))
            tape.trainable_params = named
            tapes.append(tape)
        config = self._qml.devices.ExecutionConfig(
            gradient_method="adjoint", use_device_gradient=True
        )
        if not device.supports_derivatives(config, tapes[0]):
            self._cannot(f"differentiate by the adjoint method on {self.device}")
        config = device.setup_execution_config(config, tapes[0])
        tapes, _ = device.preprocess_transforms(config)(tapes)
        found = np.array(device.compute_derivatives(tapes, config), dtype=np.float64)
        return torch.from_numpy(found).reshape(len(rows), len(strings), len(named))

    def _operations(self, circuit: Circuit, columns: Sequence[Any]) -> list[Any]:
        """The circuit's gates and errors; each column holds one angle, for one row or many."""
        qml, noise = self._qml, self.noise
        values = dict(zip(circuit.parameters, columns, strict=True))
        operations = []
        for gate in circuit.gates:
            angle = [] if gate.angle is None else [gate.angle.bound(values)]
            name = _INVERSES.get(gate.name, gate.name)
            operation = getattr(qml, _CLASSES.get(name, name))(*angle, wires=gate.targets)
            if gate.name in _INVERSES:
                operation = qml.adjoint(operation)
            if gate.controls:
                operation = qml.ctrl(operation, control=gate.controls)
            operations.append(operation)
            if noise.two_qubit and gate.controls:
                operations.append(qml.QubitChannel(_kraus(noise.two_qubit), wires=gate.qubits))
            elif noise.one_qubit and not gate.controls:
                operations.append(qml.DepolarizingChannel(noise.one_qubit, wires=gate.target))
        return operations

    def _observables(self, strings: PauliStrings) -> list[Any]:
        wires = {qubit: qubit for qubit in range(strings.n_qubits)}
        words = (self._qml.pauli.string_to_pauli_word(s, wires) for s in strings.strings)
        return [self._qml.expval(word) for word in words]

    def _open(self, n_qubits: int, **options: Any) -> Any:
        try:
            options = {**self._device_options, **options}
            return self._qml.device(self.device, wires=n_qubits, **options)
        except Exception as error:  # plugins may raise anything
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> KetformerError:
        return KetformerError(f"the PennyLane device {self.device}: {first_line(error)}")


def _kraus(error: float) -> list[Any]:
    """Kraus operators: no error, or one of fifteen equally likely errors on two qubits."""
    paulis = [
        np.array(matrix, dtype=complex)
        for matrix in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])
    ]
    same, *errors = (np.kron(a, b) for a, b in product(paulis, paulis))
    return [math.sqrt(1 - error) * same, *(math.sqrt(error / 15) * e for e in errors)]

"""Qiskit: the Aer simulators, and any device that a V2 sampler runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends._samplers import DeviceSampler
from ketformer.quantum.backends.base import Backend, BackendOptions
from ketformer.quantum.backends.devices import (
    aer_method,
    calibration_date,
    find_device,
    first_line,
    is_ideal,
    native_gates,
    open_aer,
)
from ketformer.quantum.backends.mitigation import (
    CALIBRATION_SHOTS,
    Mitigation,
    calibration,
    corrected_parities,
    flips_of,
    measured_qubits,
)
from ketformer.quantum.circuit import FIXED_GATES, ROTATIONS, Angle, Circuit
from ketformer.quantum.measurement import measurement_settings, parities
from ketformer.quantum.noise import Noise
from ketformer.quantum.pauli import PauliStrings

# Qiskit's classes are named like our gates, except these.
_CLASSES = {
    "P": "Phase", "SDG": "Sdg", "TDG": "Tdg", "SXDG": "SXdg", "SWAP": "Swap",
}  # fmt: skip
_ONE_QUBIT = [name.lower() for name in ROTATIONS + FIXED_GATES]
# Transpiled circuits to cache.
_COMPILED = 256
# Numbers in memory at once; larger batches are split.
_CHUNK = 1 << 20


class QiskitBackend(Backend):
    """Circuits on Aer, or on a device through a V2 sampler.

    A device only gives shots, with its own noise.

    Args:
        shots: see :class:`~ketformer.quantum.backends.Backend`. A device needs them.
        noise: likewise; only for Aer. Also an Aer ``NoiseModel``, or a ``BackendV2`` whose
            calibration is the noise: circuits then run in the noise model's gates, with shots.
        seed: likewise; IBM's devices and samplers of your own ignore it.
        device: a name that :func:`~ketformer.quantum.backends.devices.find_device` knows, a
            ``BackendV2``, a V2 sampler, or a ``Session`` or ``Batch`` of qiskit-ibm-runtime;
            None for Aer by its method ``statevector``, or ``density_matrix`` under noise on gates.
        circuits_per_job: circuits that are sent to a device together; None for as many as it
            takes, at most 300 if it does not say.
        mitigation: ``readout``, ``zne`` and ``dd``, or several with commas between them; see
            :class:`~ketformer.quantum.backends.mitigation.Mitigation`. Only for a device.
        zne_scales: likewise.
        idle_times: likewise.

    Raises:
        KetformerError: Qiskit is missing, or the device is unknown or does not support the
            request.
    """

    name = "qiskit"
    packages = ("qiskit", "qiskit_aer")
    tolerance = 1e-10

    def __init__(
        self,
        *,
        device: Any = None,
        circuits_per_job: int | None = None,
        mitigation: str | Sequence[str] | None = None,
        zne_scales: Sequence[int] = (1, 3),
        idle_times: bool = False,
        **common: Unpack[BackendOptions],
    ) -> None:
        require_package("qiskit", "qiskit")
        method = aer_method(device) if isinstance(device, str) else None
        noisy = _with_noise_of(common.get("noise"), method or "automatic")
        super().__init__(**common if noisy is None else {**common, "noise": None})
        if circuits_per_job is not None and circuits_per_job < 1:
            raise KetformerError(f"circuits_per_job must be positive, got {circuits_per_job}")
        self._aer: Any = None
        self._sampler: DeviceSampler | None = None
        if noisy is not None:
            if device is not None and method is None:
                self._cannot(f"add noise to {_called(device)}, which has its own")
            device = noisy
        elif device is None or method is not None:
            default = "density_matrix" if self.noise.on_gates else "statevector"
            noisily = {"noise_model": _noise_model(self.noise)} if self.noise.on_gates else {}
            device = self._aer = open_aer(method=method or default, **noisily)
        elif isinstance(device, str):
            device = find_device(device)
        #: The ``BackendV2`` behind the circuits; None for a sampler that has none.
        self.device: Any = device
        if self._aer is None:
            self.only_samples = True
            self._sampler = DeviceSampler(device, circuits_per_job)
            self.device = self._sampler.backend
            if self.noise != Noise():
                self._cannot(f"add noise to {self._sampler.name}, which has its own")
        self._mitigation = Mitigation(mitigation, zne_scales, idle_times)
        self.mitigation = self._mitigation.kinds
        if self.mitigation or idle_times:
            if self._aer is not None:
                self._cannot("mitigate a simulator's errors; name a device, such as fake_manila")
            if self.device is None:
                self._cannot("mitigate on a sampler of your own; give it the device behind it")
        # Compiled circuits by what stands for them: folded circuits, and those of a calibration.
        self._made: dict[Circuit, Any] = {}
        self._flips: dict[tuple[int, ...], Tensor] = {}
        self._passes = self._pass_manager()
        self._layouts: dict[tuple[int, ...], None] = {}
        self._transpiled = lru_cache(maxsize=_COMPILED)(self._transpile)
        self._saving = lru_cache(maxsize=_COMPILED)(self._with_expectations)

    def provenance(self) -> dict[str, Any]:
        """See :meth:`Backend.provenance <ketformer.quantum.backends.Backend.provenance>`."""
        found = super().provenance()
        if self._sampler is None:
            return {**found, "device": f"Aer, {self._aer.options.method}"}
        return {
            **found,
            "device": self._sampler.name,
            "calibration_date": calibration_date(self.device),
            "native_gates": native_gates(self.device),
            "layouts": [list(layout) for layout in self._layouts],
            "job_ids": list(self._sampler.job_ids),
        }

    @property
    def settings(self) -> dict[str, Any]:
        """See :attr:`Backend.settings <ketformer.quantum.backends.Backend.settings>`."""
        found = super().settings
        if self._sampler is not None:
            found["device"] = self._sampler.settings
        return found

    def batches(self, strings: PauliStrings) -> int | None:
        """See :meth:`Backend.batches <ketformer.quantum.backends.Backend.batches>`."""
        if "readout" in self.mitigation:  # where circuits are laid out decides on calibrations
            return None
        return len(measurement_settings(strings)) * len(self._mitigation.scales)

    def close(self) -> None:
        """Forget the transpiled circuits."""
        self._transpiled.cache_clear()
        self._saving.cache_clear()
        self._made.clear()

    def memory_for(self, n_qubits: int) -> int:
        """Memory that Aer needs; 0 on a device or for matrix product states of unknown size."""
        exact = self._aer is not None and self._aer.options.method != "matrix_product_state"
        return super().memory_for(n_qubits) if exact else 0

    def _states(self, circuit: Circuit, rows: Tensor) -> Tensor:
        if self._exact_method() == "density_matrix":
            self._cannot("show a state by the method density_matrix")
        saving = self._transpiled(circuit).copy()
        saving.save_statevector()
        return self._saved(saving, circuit, rows, ["statevector"]).to(torch.complex128)[:, 0]

    def _distributions(self, circuit: Circuit, rows: Tensor) -> Tensor:
        self._exact_method()
        saving = self._transpiled(circuit).copy()
        saving.save_probabilities()
        return self._saved(saving, circuit, rows, ["probabilities"])[:, 0].clamp_min(0)

    def _expectations(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        self._exact_method()
        return self._saved(self._saving(circuit, strings), circuit, rows, list(strings.strings))

    def _outcomes(self, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Tensor:
        measured = self._made.get(circuit) or self._transpiled(circuit, measure=True)
        if self._sampler is not None:
            angles = _columns(measured, circuit, rows)
            found = self._sampler.sample(measured, angles, len(rows), shots, seed, self.jobs)
            return torch.from_numpy(found)
        outcomes = torch.empty(len(rows), shots, dtype=torch.long)
        size = max(1, _CHUNK // shots)
        for part, place in enumerate(range(0, len(rows), size)):
            some = rows[place : place + size]
            found = self._sampled_by_aer(measured, circuit, some, shots, (seed + part) % 2**31)
            outcomes[place : place + size] = torch.from_numpy(found)
        return outcomes

    def _measured(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        """Expectations from shots, mitigated."""
        ours = self._mitigation
        if self.shots is None or not (ours.kinds or ours.idle_times):
            return super()._measured(circuit, rows, strings)
        compiled = self._transpiled(circuit, measure=True)
        flips = self._calibrated(compiled, circuit.n_qubits) if "readout" in ours.kinds else None
        total = rows.new_zeros(len(rows), len(strings))
        for scale, weight in ours.scales.items():
            # What is run is not what the transpiler would make of it.
            whole = circuit
            for _ in range(scale // 2):
                whole = whole.then(circuit.inverse()).then(circuit)
            if whole not in self._made:
                self._made[whole] = ours.prepared(compiled, scale, self.device.target)
            outcomes = self._read_outcomes(whole, rows, self.shots, strings)
            seen = parities(outcomes, strings)
            if flips is not None:
                seen = corrected_parities(outcomes, strings, flips)
            total += weight * seen
        return total

    # -----------------------------------------------------------------------------------------

    def _calibrated(self, compiled: Any, n_qubits: int) -> Tensor:
        """Readout errors ``[n, 2]`` of the qubits that a compiled circuit measures, found once."""
        qubits = measured_qubits(compiled)
        if qubits not in self._flips:
            zeros, ones = Circuit(n_qubits), Circuit(n_qubits)
            for qubit in range(n_qubits):
                ones = ones.x(qubit)
            read, every = [], PauliStrings(("Z" * n_qubits,))
            for circuit, made in zip(
                (zeros, ones), calibration(qubits, self.device.num_qubits), strict=True
            ):
                self._made[circuit] = made
                row = torch.empty(1, 0, dtype=torch.float64)
                read.append(self._read_outcomes(circuit, row, CALIBRATION_SHOTS, every))
                del self._made[circuit]
            self._flips[qubits] = flips_of(read[0], read[1], n_qubits)
        return self._flips[qubits]

    def _exact_method(self) -> str:
        """Aer's method, if it can give exact results."""
        if self._sampler is not None:
            self._cannot(f"give exact results on {self._sampler.name}; set shots")
        method = str(self._aer.options.method)
        if self.noise.on_gates and method != "density_matrix":
            self._cannot(f"give exact results under noise by the method {method}; set shots")
        return method

    def _transpile(self, circuit: Circuit, measure: bool = False) -> Any:
        # Qiskit has qubit 0 at the least significant bit. With the qubits reversed, its states,
        # outcomes and Pauli labels match ours.
        from qiskit.transpiler import TranspilerError

        reverse = to_qiskit(circuit).reverse_bits()
        if measure:
            reverse.measure_all()
        try:
            compiled = self._passes.run(reverse)
        except TranspilerError as error:
            raise KetformerError(
                f"a circuit of {circuit.n_qubits} qubits cannot be rewritten for "
                f"{_called(self.device)}: {first_line(error)}"
            ) from error
        if compiled.layout is not None:
            layout = compiled.layout.initial_index_layout(filter_ancillas=True)
            self._layouts[tuple(reversed(layout))] = None
        return compiled

    def _pass_manager(self) -> Any:
        from qiskit.transpiler import generate_preset_pass_manager

        if self.device is None or is_ideal(self.device) or self._aer is not None:
            # Aer binds angles of controlled rotations wrongly (qiskit-aer issues 2391, 2403), and
            # a global phase that contains one, as P has in rotations.
            return generate_preset_pass_manager(0, basis_gates=[*_ONE_QUBIT, "p", "cx"])
        return generate_preset_pass_manager(2, backend=self.device, seed_transpiler=0)

    def _with_expectations(self, circuit: Circuit, strings: PauliStrings) -> Any:
        from qiskit.quantum_info import Pauli

        saving = self._transpiled(circuit).copy()
        for string in dict.fromkeys(strings.strings):
            saving.save_expectation_value(Pauli(string), range(circuit.n_qubits), label=string)
        return saving

    def _saved(self, saving: Any, circuit: Circuit, rows: Tensor, labels: list[str]) -> Tensor:
        """``[N, labels, …]``: the data that the circuit saves under each label."""
        size = max(1, _CHUNK >> circuit.n_qubits)
        parts = [
            np.array([[getattr(data, label) for label in labels] for data in found])
            for found in (self._run(saving, circuit, part) for part in rows.split(size))
        ]
        return torch.from_numpy(np.concatenate(parts))

    def _sampled_by_aer(
        self, measured: Any, circuit: Circuit, rows: Tensor, shots: int, seed: int
    ) -> Any:
        found = self._run(measured, circuit, rows, shots=shots, memory=True, seed_simulator=seed)
        return np.array([[int(outcome, 16) for outcome in data.memory] for data in found])

    def _run(self, compiled: Any, circuit: Circuit, rows: Tensor, **options: Any) -> list[Any]:
        """Aer's result data for each row."""
        columns = _columns(compiled, circuit, rows)
        if columns:
            binds = {p: columns[p.name].tolist() for p in compiled.parameters}
            job = self._aer.run([compiled], parameter_binds=[binds], **options)
        else:
            job = self._aer.run([compiled] * len(rows), **options)
        result = job.result()
        if not result.success:
            raise KetformerError(f"Aer: {result.status}")
        return [experiment.data for experiment in result.results]


def to_qiskit(circuit: Circuit) -> Any:
    """The circuit as a ``qiskit.QuantumCircuit``, with the same qubit indices.

    A named angle becomes a ``Parameter`` of that name, times its factor. Note that Qiskit
    sorts a circuit's ``parameters`` by name.

    Raises:
        KetformerError: Qiskit is missing.
    """
    qiskit = require_package("qiskit", "qiskit")
    from qiskit.circuit import Parameter, library

    parameters = {name: Parameter(name) for name in circuit.parameters}
    out = qiskit.QuantumCircuit(circuit.n_qubits)
    for gate in circuit.gates:
        angle = [] if gate.angle is None else [_angle(gate.angle, parameters)]
        made = getattr(library, f"{_CLASSES.get(gate.name, gate.name)}Gate")(*angle)
        if gate.controls:
            made = made.control(len(gate.controls), annotated=False)
        out.append(made, gate.qubits)
    return out


def _angle(angle: Angle, parameters: dict[str, Any]) -> Any:
    # Qiskit treats a parameter times one as an expression, drawn as such and slower to bind.
    return parameters[str(angle.value)] if angle.is_plain else angle.bound(parameters)


def _called(device: Any) -> str:
    return str(getattr(device, "name", device))


def _with_noise_of(given: Any, method: str) -> Any:
    """Aer with an Aer ``NoiseModel`` or a device's calibration; None for our own channels."""
    if given is None or isinstance(given, Noise):
        return None
    from qiskit.providers import BackendV2
    from qiskit_aer.noise import NoiseModel

    if isinstance(given, NoiseModel):
        simulator = open_aer(method=method, noise_model=given)
        simulator.name = "Aer with a noise model"
    elif isinstance(given, BackendV2) and not is_ideal(given):
        simulator = open_aer(method=method, noise_model=NoiseModel.from_backend(given))
        simulator.name = f"Aer with the noise of {given.name}"
        simulator.calibrated_from = given
    else:
        raise KetformerError(
            "noise is a ketformer.quantum.Noise, an Aer NoiseModel, or a BackendV2 with a "
            f"calibration; got {given!r}"
        )
    return simulator


def _noise_model(noise: Noise) -> Any:
    from qiskit_aer.noise import NoiseModel, depolarizing_error

    model = NoiseModel(basis_gates=[*_ONE_QUBIT, "cx"])
    # Aer mixes in the maximally mixed state, of which 1 part in 4 or 16 is the state itself.
    for gates, error, n in ((_ONE_QUBIT, noise.one_qubit, 1), (["cx"], noise.two_qubit, 2)):
        if error:
            mixed = error * 4**n / (4**n - 1)
            model.add_all_qubit_quantum_error(depolarizing_error(mixed, n), gates)
    return model


def _columns(compiled: Any, circuit: Circuit, rows: Tensor) -> dict[str, Any]:
    """The angles ``[N]`` of each parameter that transpilation has not removed."""
    left = {parameter.name for parameter in compiled.parameters}
    pairs = zip(circuit.parameters, rows.T.numpy(), strict=True)
    return {name: column for name, column in pairs if name in left}

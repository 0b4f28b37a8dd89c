"""Qiskit: the Aer simulators, and any ``BackendV2`` device."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends.base import Backend, BackendOptions
from ketformer.quantum.circuit import FIXED_GATES, ROTATIONS, Angle, Circuit
from ketformer.quantum.noise import Noise
from ketformer.quantum.pauli import PauliStrings

# The Aer methods that can run any of our circuits.
_METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state")
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
    """Circuits on Aer, or on a device through Qiskit's primitives.

    A device only gives shots, with its own noise.

    Args:
        shots: see :class:`~ketformer.quantum.backends.Backend`. A device needs them.
        noise: likewise; only for Aer.
        seed: likewise.
        device: a ``BackendV2``, or the name of an Aer method such as
            ``matrix_product_state``, with or without the prefix ``aer_simulator_``; None for
            ``statevector``, or ``density_matrix`` under noise on gates.

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
        **common: Unpack[BackendOptions],
    ) -> None:
        super().__init__(**common)
        require_package("qiskit", "qiskit")
        from qiskit.providers import BackendV2
        from qiskit.transpiler import generate_preset_pass_manager

        self._aer: Any = None
        if device is None or isinstance(device, str):
            device = self._aer = _open_aer(_method(device, self.noise), self.noise)
        elif not isinstance(device, BackendV2):
            raise KetformerError(f"a device is a BackendV2 or an Aer method, got {device!r}")
        elif self.noise != Noise():
            self._cannot(f"add noise to {device.name}, which has its own")
        self.device: Any = device
        if self._aer is None:
            self._passes = generate_preset_pass_manager(2, backend=device, seed_transpiler=0)
        else:
            # Aer binds angles of controlled rotations wrongly (qiskit-aer issues 2391, 2403), and
            # a global phase that contains one, as P has in rotations.
            self._passes = generate_preset_pass_manager(0, basis_gates=[*_ONE_QUBIT, "p", "cx"])
        self._transpiled = lru_cache(maxsize=_COMPILED)(self._transpile)
        self._saving = lru_cache(maxsize=_COMPILED)(self._with_expectations)

    def close(self) -> None:
        """Forget the transpiled circuits."""
        self._transpiled.cache_clear()
        self._saving.cache_clear()

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
        measured = self._transpiled(circuit, measure=True)
        outcomes = torch.empty(len(rows), shots, dtype=torch.long)
        size = max(1, _CHUNK // shots)
        for part, place in enumerate(range(0, len(rows), size)):
            some = rows[place : place + size]
            sample = self._sampled if self._aer is None else self._sampled_by_aer
            found = sample(measured, circuit, some, shots, (seed + part) % 2**31)
            outcomes[place : place + size] = torch.from_numpy(found)
        return outcomes

    # -----------------------------------------------------------------------------------------

    def _exact_method(self) -> str:
        """Aer's method, if it can give exact results."""
        if self._aer is None:
            self._cannot(f"give exact results on {self.device.name}; set shots")
        method = str(self._aer.options.method)
        if self.noise.on_gates and method != "density_matrix":
            self._cannot(f"give exact results under noise by the method {method}; set shots")
        return method

    def _transpile(self, circuit: Circuit, measure: bool = False) -> Any:
        # Qiskit has qubit 0 at the least significant bit. With the qubits reversed, its states,
        # outcomes and Pauli labels match ours.
        reverse = to_qiskit(circuit).reverse_bits()
        if measure:
            reverse.measure_all()
        return self._passes.run(reverse)

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

    def _sampled(self, measured: Any, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Any:
        """Outcomes ``[N, shots]`` from the device's sampler primitive."""
        from qiskit.primitives import BackendSamplerV2

        columns = _columns(measured, circuit, rows)
        angles = {tuple(columns): np.stack([*columns.values()], axis=-1)} if columns else None
        pubs = [(measured, angles)] * (1 if columns else len(rows))
        sampler = BackendSamplerV2(backend=self.device, options={"seed_simulator": seed})
        read = [result.data.meas.array for result in sampler.run(pubs, shots=shots).result()]
        # Bytes, most significant first.
        places = 256 ** np.arange(read[0].shape[-1])[::-1]
        return np.concatenate([(r @ places).reshape(-1, shots) for r in read])


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


def _method(name: str | None, noise: Noise) -> str:
    if name is None:
        return "density_matrix" if noise.on_gates else "statevector"
    method = name.removeprefix("aer_simulator").removeprefix("_") or "automatic"
    if method not in _METHODS:
        raise KetformerError(f"unknown Aer method {name!r}; known: {', '.join(_METHODS)}")
    return method


def _open_aer(method: str, noise: Noise) -> Any:
    aer = require_package("qiskit_aer", "qiskit")
    options = {"noise_model": _noise_model(noise)} if noise.on_gates else {}
    return aer.AerSimulator(method=method, **options)


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

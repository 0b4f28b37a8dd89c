"""Amazon Braket: its local simulators, and the devices that AWS offers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends.base import Backend, BackendOptions
from ketformer.quantum.backends.devices import first_line
from ketformer.quantum.circuit import Circuit
from ketformer.quantum.decomposition import decompose
from ketformer.quantum.noise import Noise
from ketformer.quantum.pauli import PauliStrings
from ketformer.quantum.qasm import to_qasm

_STATE_VECTOR, _DENSITY_MATRIX = "braket_sv", "braket_dm"
_INTERPRETER = "braket.default_simulator.openqasm.interpreter"
# Tasks that are sent to AWS together; all of their outcomes are in memory at once.
_TASKS = 100


class BraketBackend(Backend):
    """Circuits on Amazon Braket, as OpenQASM programs.

    A device of AWS only gives shots, with its own noise, of circuits rewritten in one-qubit gates
    and CNOTs. Each circuit is a task, which AWS charges for.

    Args:
        shots: see :class:`~ketformer.quantum.backends.Backend`. A device of AWS needs them.
        noise: likewise; only for the local simulators.
        seed: likewise; devices of AWS ignore it.
        device: ``braket_sv`` or ``braket_dm``, the local simulators of state vectors and density
            matrices; the ARN of a device, with AWS credentials and a region set up; or a
            ``braket.devices.Device``. None for ``braket_sv``, or ``braket_dm`` under noise on
            gates.

    Raises:
        KetformerError: the SDK is missing, there is no such device, AWS refuses it, or it does
            not support the request.
    """

    name = "braket"
    packages = ("braket",)
    tolerance = 1e-10

    def __init__(self, *, device: Any = None, **common: Unpack[BackendOptions]) -> None:
        super().__init__(**common)
        require_package("braket", "braket")
        from braket.devices import LocalSimulator
        from braket.ir.openqasm import Program

        if device is None:
            device = _DENSITY_MATRIX if self.noise.on_gates else _STATE_VECTOR
        #: The ``braket.devices.Device``.
        self.device: Any = _opened(device) if isinstance(device, str) else device
        if not hasattr(self.device, "run_batch"):
            raise KetformerError(
                "a Braket device is a local simulator's name, an ARN, or a braket.devices.Device; "
                f"got {device!r}"
            )
        self._program = Program
        self._is_local = isinstance(self.device, LocalSimulator)
        self._title = device if isinstance(device, str) else self.device.name
        # The simulators' own names differ from those that open them.
        self._has_states = self._is_local and self.device.name != "DensityMatrixSimulator"
        if self._is_local:
            # It warns of each of our controlled gates, which other devices do not get.
            logging.getLogger(_INTERPRETER).addFilter(_is_not_about_other_devices)
        else:
            self.only_samples = True
        if not self._is_local and self.noise != Noise():
            self._cannot(f"add noise to {self._title}, which has its own")
        if self._has_states and self.noise.on_gates:
            self._cannot(f"add noise to gates on {_STATE_VECTOR}; {_DENSITY_MATRIX} can")
        self._tasks: list[str] = []

    def provenance(self) -> dict[str, Any]:
        """See :meth:`Backend.provenance <ketformer.quantum.backends.Backend.provenance>`.

        Layouts are chosen by AWS and not known here.
        """
        found = {**super().provenance(), "device": self._title, "job_ids": list(self._tasks)}
        if self._is_local:
            return found
        said = self.device.properties
        date = getattr(said.service, "updatedAt", None)
        return {
            **found,
            "calibration_date": None if date is None else date.isoformat(),
            "native_gates": list(getattr(said.paradigm, "nativeGateSet", None) or []),
        }

    def memory_for(self, n_qubits: int) -> int:
        """Memory that the local simulators need; 0 for a device of AWS."""
        if not self._is_local:
            return 0
        return 2 * 16 << (n_qubits if self._has_states else 2 * n_qubits)

    def _states(self, circuit: Circuit, rows: Tensor) -> Tensor:
        if not self._has_states:
            self._cannot(f"show a state on {self._title}")
        found = [values for (values,) in self._exact(circuit, rows, ["state_vector"])]
        return torch.from_numpy(np.stack(found)).to(torch.complex128)

    def _distributions(self, circuit: Circuit, rows: Tensor) -> Tensor:
        found = [values for (values,) in self._exact(circuit, rows, ["probability all"])]
        return torch.from_numpy(np.stack(found)).clamp_min(0)

    def _expectations(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        distinct = [s for s in dict.fromkeys(strings.strings) if s.strip("I")]
        asked = [f"expectation {_observable(string)}" for string in distinct]
        out = torch.ones(len(rows), len(strings), dtype=torch.float64)
        for row, values in zip(out, self._exact(circuit, rows, asked), strict=True):
            seen = dict(zip(distinct, values, strict=True))
            row[:] = row.new_tensor([float(seen.get(s, 1.0)) for s in strings.strings])
        return out

    def _outcomes(self, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Tensor:
        if self._is_local:
            # The simulators draw from what they compute without a seed.
            generator = torch.Generator().manual_seed(seed)
            probabilities = self._distributions(circuit, rows)
            return torch.multinomial(probabilities, shots, replacement=True, generator=generator)
        measured = [f"bit[{circuit.n_qubits}] b;", "b = measure q;"]
        programs = list(self._sources(circuit, rows, measured))
        return torch.from_numpy(np.stack([*self._run_on_aws(programs, shots)]))

    # -----------------------------------------------------------------------------------------

    def _exact(self, circuit: Circuit, rows: Tensor, asked: list[str]) -> Iterator[list[Any]]:
        """For each row, the values of what is asked for, exact."""
        if not self._is_local:
            self._cannot(f"give exact results on {self._title}; set shots")
        lines = [f"#pragma braket result {what}" for what in asked]
        for source in self._sources(circuit, rows, lines) if asked else [None] * len(rows):
            with warnings.catch_warnings():
                # That density matrices are slower than states: whoever asks for them knows.
                warnings.filterwarnings("ignore", "You are running a noise-free", UserWarning)
                yield [] if source is None else self.device.run(source, shots=0).result().values

    def _run_on_aws(self, programs: list[Any], shots: int) -> Iterator[Any]:
        """Outcomes ``[shots]`` of each program, in tasks of as many shots as the device takes."""
        most = self.device.properties.service.shotsRange[1]
        sizes = [min(most, shots - start) for start in range(0, shots, most)]
        for start in range(0, len(programs), _TASKS):
            some = programs[start : start + _TASKS]
            parts = [self._batch(some, size) for size in sizes]
            for results in zip(*parts, strict=True):
                bits = np.concatenate([result.measurements for result in results])
                yield bits @ (1 << np.arange(bits.shape[1])[::-1])

    def _batch(self, programs: list[Any], shots: int) -> list[Any]:
        """The results of one task for each program; AWS's SDK runs one that failed again."""
        try:
            batch = self.device.run_batch(programs, shots=shots)
            self._tasks += [str(task.id) for task in batch.tasks]
            results: list[Any] = batch.results(fail_unsuccessful=True)
        except Exception as error:  # from the network, in many layers
            raise KetformerError(f"{self._title}: {first_line(error)}") from error
        return results

    def _sources(self, circuit: Circuit, rows: Tensor, last: list[str]) -> Iterator[Any]:
        """For each row the program of a circuit, with its noise and what comes last."""
        # Devices have no `ctrl @`, and braket_dm applies it wrongly to a target that comes before
        # its control (amazon-braket-default-simulator 1.41).
        if not self._has_states:
            circuit = decompose(circuit)
        return (self._source(circuit, row, last) for row in rows.tolist())

    def _source(self, circuit: Circuit, row: list[float], last: list[str]) -> Any:
        lines = to_qasm(circuit, row, dialect="braket").splitlines()
        head, body = lines[: -len(circuit.gates) or None], lines[len(lines) - len(circuit.gates) :]
        # Braket leaves out qubits without gates.
        used = {qubit for gate in circuit.gates for qubit in gate.qubits}
        head += [f"i q[{qubit}];" for qubit in range(circuit.n_qubits) if qubit not in used]
        for gate, line in zip(circuit.gates, body, strict=True):
            head.append(line)
            error = self.noise.two_qubit if gate.controls else self.noise.one_qubit
            if error:
                channel = "two_qubit_depolarizing" if gate.controls else "depolarizing"
                acting = ", ".join(f"q[{qubit}]" for qubit in gate.qubits)
                head.append(f"#pragma braket noise {channel}({error}) {acting}")
        return self._program(source="\n".join([*head, *last]) + "\n")


def _opened(name: str) -> Any:
    if name in (_STATE_VECTOR, _DENSITY_MATRIX):
        from braket.devices import LocalSimulator

        return LocalSimulator(name)
    if not name.startswith("arn:"):
        raise KetformerError(
            f"no Braket device {name!r}; known: {_STATE_VECTOR}, {_DENSITY_MATRIX}, or the ARN of "
            "a device of AWS"
        )
    from braket.aws import AwsDevice

    try:
        return AwsDevice(name)
    except Exception as error:  # credentials, the region, the network, the name
        raise KetformerError(
            f"the Braket device {name}: {first_line(error).rstrip('.')}; "
            "`aws configure` sets up credentials and a region"
        ) from error


def _is_not_about_other_devices(record: logging.LogRecord) -> bool:
    return "may not be supported on QPUs" not in record.getMessage()


def _observable(string: str) -> str:
    return " @ ".join(f"{c.lower()}(q[{q}])" for q, c in enumerate(string) if c != "I")

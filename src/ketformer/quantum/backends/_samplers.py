"""Qiskit's V2 samplers: one for any device, in jobs that the device accepts, tried again."""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any

import numpy as np

from ketformer.errors import KetformerError
from ketformer.quantum.backends.batch import Jobs, hash_of
from ketformer.quantum.backends.devices import first_line

# Circuits in a job if the device does not say how many it takes: IBM's old limit.
_CIRCUITS = 300
# Outcomes of a job, all in memory at once.
_OUTCOMES = 1 << 20
# Jobs that wait in a remote device's queue at once: what IBM's open plan allows.
_QUEUED = 3
# Times that a job is tried in all, with a pause before each new try, which grows.
_TRIES = 3
_PAUSE = 5.0  # seconds


class DeviceSampler:
    """Runs one circuit for many angles on a device, whatever its sampler.

    Args:
        device: a ``BackendV2``, a V2 sampler, or a ``Session`` or ``Batch`` of
            qiskit-ibm-runtime.
        circuits_per_job: circuits in a job at most; None for what the device takes.

    Raises:
        KetformerError: the device is none of these.
    """

    def __init__(self, device: Any, circuits_per_job: int | None = None) -> None:
        self._given = device
        self._sampler, self.backend = _sampler_of(device)
        #: How the device is called.
        self.name: str = getattr(self.backend, "name", None) or type(device).__name__
        self._is_remote = _is_runtime(self.backend, "IBMBackend")
        circuits, shots = _limits(self.backend)
        self._circuits = circuits if circuits_per_job is None else circuits_per_job
        self._shots = shots
        #: Ids of the jobs so far, in the order of their submission.
        self.job_ids: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        """What outcomes depend on, as JSON: the device, a sampler's options, Aer's noise."""
        kind = type(self._given)
        found = {"class": f"{kind.__module__}.{kind.__qualname__}", "name": self.name}
        if self._given is self._sampler:
            found["options"] = repr(getattr(self._sampler, "options", None))
        # Recorded devices set such an option by themselves when they first run.
        is_aer = type(self.backend).__module__.startswith("qiskit_aer")
        if is_aer and (noise := self.backend.options.noise_model) is not None:
            found["noise"] = hash_of(noise.to_dict(serializable=True))
        return found

    def sample(
        self, measured: Any, angles: Any, n: int, shots: int, seed: int, kept: Jobs | None = None
    ) -> Any:
        """Outcomes ``[N, shots]`` of a transpiled and measured circuit.

        Args:
            measured: a ``QuantumCircuit``.
            angles: columns ``[N]`` by parameter name; empty for a circuit without parameters.
            n: the number of rows N.
            shots: measurements of each row.
            seed: seed of a simulator; a device ignores it.
            kept: IBM's service keeps results: jobs that were submitted before are asked for
                theirs instead of being submitted again.

        Raises:
            KetformerError: a job failed, also when tried again; the message has its id.
        """
        out = np.empty((n, shots), dtype=np.int64)
        places: list[tuple[slice, slice]] = []
        jobs: list[_Job] = []
        for drawn in _parts(shots, self._shots):
            width = drawn.stop - drawn.start
            for rows in _parts(n, max(1, min(self._circuits, _OUTCOMES // width))):
                places.append((rows, drawn))
                pubs = _pubs(measured, angles, rows)
                number = len(jobs)
                job = _Job(self, pubs, width, (seed + number) % 2**31)
                if kept is not None and self._is_remote:
                    job.keep(kept.earlier.get(number), partial(kept.note, number))
                jobs.append(job)
        for place, found in zip(places, self._results(jobs), strict=True):
            out[place] = found
        return out

    def submit(self, pubs: Any, shots: int, seed: int) -> Any:
        """Submit one job and note its id."""
        sampler = self._sampler
        if sampler is None:
            from qiskit.primitives import BackendSamplerV2

            options = {"seed_simulator": seed, "run_options": _only_noise_of(self.backend, pubs)}
            sampler = BackendSamplerV2(backend=self.backend, options=options)
        job = sampler.run(pubs, shots=shots)
        self.job_ids.append(str(job.job_id()))
        return job

    def retrieve(self, job_id: str) -> Any:
        """A job that IBM's service has; None, with a warning, if it has it no more."""
        from qiskit_ibm_runtime.exceptions import RuntimeJobNotFound

        try:
            job = self.backend.service.job(job_id)
        except RuntimeJobNotFound:
            warnings.warn(
                f"{self.name} does not know the job {job_id} any more; its circuits run again",
                stacklevel=2,
            )
            return None
        self.job_ids.append(job_id)
        return job

    def _results(self, jobs: list[_Job]) -> Iterator[Any]:
        """The jobs' outcomes in order, with a few jobs of a remote device under way at once."""
        queued: deque[_Job] = deque()
        for job in jobs:
            if len(queued) == (_QUEUED if self._is_remote else 1):
                yield queued.popleft().outcomes()
            job.start()
            queued.append(job)
        while queued:
            yield queued.popleft().outcomes()


class _Job:
    """A job that is submitted again if it fails for a reason that may pass."""

    def __init__(self, owner: DeviceSampler, pubs: Any, shots: int, seed: int) -> None:
        self._owner = owner
        self._given = (pubs, shots, seed)
        self._job: Any = None
        self._tries = 0
        self._earlier: str | None = None
        self._note: Callable[[str], None] | None = None

    def keep(self, earlier: str | None, note: Callable[[str], None]) -> None:
        """Ask for the results of an earlier job first, and note the id of a new one."""
        self._earlier, self._note = earlier, note

    def start(self) -> None:
        """Submit it; a failure is met when the outcomes are asked for, unless it cannot pass."""
        try:
            if self._earlier is not None:
                self._job = self._owner.retrieve(self._earlier)
                self._earlier = None
            if self._job is None:
                self._job = self._owner.submit(*self._given)
                if self._note is not None:
                    self._note(str(self._job.job_id()))
        except Exception as error:  # devices may raise anything
            self._failed(error)

    def outcomes(self) -> Any:
        """``[N, shots]``."""
        while True:
            if self._job is None:
                self.start()
                continue
            try:
                read = [result.data.meas.array for result in self._job.result()]
            except Exception as error:
                self._failed(error)
                continue
            # Bytes, most significant first.
            bits = 256 ** np.arange(read[0].shape[-1])[::-1]
            return np.concatenate([(r @ bits).reshape(-1, self._given[1]) for r in read])

    def _failed(self, error: Exception) -> None:
        """Pause before the next try, or give up."""
        self._tries += 1
        ids = f" {self._job.job_id()}" if self._job is not None else ""
        what = f"{self._owner.name}: the job{ids} failed: {first_line(error)}"
        ended = _is_of_the_job(error)
        if not (ended or _is_of_the_line(error)) or self._tries == _TRIES:
            tried = f" (tried {self._tries} times)" if self._tries > 1 else ""
            raise KetformerError(what + tried) from error
        pause = _PAUSE * self._tries
        warnings.warn(f"{what}; trying again in {pause:g} s", stacklevel=2)
        if ended:
            self._job = None
        time.sleep(pause)


def _sampler_of(device: Any) -> tuple[Any, Any]:
    """The sampler, None for one to be made for each job, and the ``BackendV2`` behind it, if any.

    IBM's own backends run through IBM's sampler alone.
    """
    from qiskit.primitives import BaseSamplerV2
    from qiskit.providers import BackendV2

    if isinstance(device, BaseSamplerV2):
        backend = getattr(device, "backend", None) or getattr(device, "_backend", None)
        return device, backend() if callable(backend) else backend
    if _is_runtime(device, "IBMBackend", "Session", "Batch"):
        sampler = _runtime_sampler(device)
        return sampler, sampler.backend()
    if isinstance(device, BackendV2):
        return None, device
    raise KetformerError(
        "a device is a name, a BackendV2, a V2 sampler, or a Session or Batch of "
        f"qiskit-ibm-runtime; got {device!r}"
    )


def _runtime_sampler(mode: Any) -> Any:
    import qiskit_ibm_runtime

    with warnings.catch_warnings():
        # About a class that the name will stand for later; users cannot do anything about it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return qiskit_ibm_runtime.Sampler(mode=mode)


def _is_runtime(thing: Any, *names: str) -> bool:
    """Whether it is of one of these classes of qiskit-ibm-runtime, without importing that."""
    runtime = sys.modules.get("qiskit_ibm_runtime")
    return runtime is not None and isinstance(thing, tuple(getattr(runtime, n) for n in names))


def _limits(backend: Any) -> tuple[int, int]:
    """Circuits in a job, and shots of a circuit, that a device accepts."""
    configured = getattr(backend, "configuration", None)
    said = configured() if callable(configured) else None
    circuits = getattr(backend, "max_circuits", None) or getattr(said, "max_experiments", None)
    return circuits or _CIRCUITS, getattr(said, "max_shots", None) or sys.maxsize


def _parts(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _pubs(measured: Any, angles: Any, rows: slice) -> list[Any]:
    """One circuit with many angles; or a circuit without angles, many times."""
    if not angles:
        return [(measured,)] * (rows.stop - rows.start)
    values = np.stack([column[rows] for column in angles.values()], axis=-1)
    return [(measured, {tuple(angles): values})]


def _only_noise_of(backend: Any, pubs: list[Any]) -> dict[str, Any]:
    """The errors of the qubits that a job's circuit uses, as an option for simulated devices.

    Aer prepares the errors of all qubits for each job: on 133, that takes a hundred times as long
    as our small circuits. The outcomes are the same.
    """
    model: Any = getattr(getattr(backend, "options", None), "noise_model", None)
    gates, readout = (
        getattr(model, f"_local_{kind}_errors", None) for kind in ("quantum", "readout")
    )
    if gates is None or readout is None:
        return {}
    circuit = pubs[0][0]
    used = {
        circuit.find_bit(qubit).index
        for instruction in circuit.data
        if instruction.operation.name != "barrier"
        for qubit in instruction.qubits
    }
    part = copy(model)
    part._local_quantum_errors = {
        name: {qubits: error for qubits, error in errors.items() if used.issuperset(qubits)}
        for name, errors in gates.items()
    }
    part._local_readout_errors = {q: error for q, error in readout.items() if used.issuperset(q)}
    return {"noise_model": part}


def _is_of_the_job(error: Exception) -> bool:
    """Whether a job has failed on the device, where it may pass when submitted again."""
    from qiskit.providers import JobError, JobTimeoutError

    return isinstance(error, JobError) and not isinstance(error, JobTimeoutError)


def _is_of_the_line(error: Exception) -> bool:
    """Whether the service could not be reached: a job that it has already goes on there."""
    if isinstance(error, OSError) or "qiskit_ibm_runtime" not in sys.modules:
        return isinstance(error, OSError)
    from qiskit_ibm_runtime.api.exceptions import ApiError
    from qiskit_ibm_runtime.exceptions import IBMApiError, IBMRuntimeError

    # Classes below the last stand for jobs that were cancelled or took too long.
    return isinstance(error, ApiError | IBMApiError) or type(error) is IBMRuntimeError

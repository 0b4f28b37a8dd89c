"""CUDA-Q: NVIDIA's simulators on CPUs and GPUs, and the hardware that it supports."""

from __future__ import annotations

import operator
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial, reduce
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends.base import Backend, BackendOptions, with_options
from ketformer.quantum.backends.devices import first_line
from ketformer.quantum.circuit import FIXED_GATES, ROTATIONS, Circuit
from ketformer.quantum.noise import Noise
from ketformer.quantum.pauli import PauliStrings
from ketformer.quantum.pauli_plan import PauliPlan

_DENSITY_MATRIX = "density-matrix-cpu"
# Targets that hold whole states in this machine's memory.
_ON_CPU = ("qpp-cpu", _DENSITY_MATRIX)
# Kernels to cache; each holds its compiled code.
_KERNELS = 128
# Rows in one call; all their results are in memory at once.
_BATCH = 1024
# With more strings, a CPU is faster computing them from the state than with observe, one by one.
_FEW_STRINGS = 4
# Amplitudes in memory at once.
_AMPLITUDES = 1 << 22
# Circuits queued at each of several QPUs.
_IN_FLIGHT = 8
# CUDA-Q's target, noise and seed are global to the process, so only one backend runs at a time.
_ONE_AT_A_TIME = threading.RLock()


class CudaQBackend(Backend):
    """Circuits on a CUDA-Q target.

    The target is set while circuits run, and the previous one is restored afterwards, without
    its noise model, which CUDA-Q drops when the target changes. Sampling seeds the generator
    of the whole process. ``nvidia`` without the option ``fp64`` computes in single
    precision.

    Args:
        shots: see :class:`~ketformer.quantum.backends.Backend`.
        noise: likewise. Without shots, noise on gates needs the target ``density-matrix-cpu``.
        seed: likewise.
        target: name of a CUDA-Q target; None for ``qpp-cpu``, or ``density-matrix-cpu`` under
            noise on gates.
        target_option: option of the target, e.g. ``mqpu`` to use all GPUs at once, or ``fp64``.
        target_options: further arguments of ``cudaq.set_target``, such as the ``machine`` of a
            provider of hardware, or ``{"emulate": True}`` to try one without it.

    Raises:
        KetformerError: CUDA-Q is missing, or the target is unknown, lacks its GPU or its
            key, or does not support the request.
    """

    name = "cudaq"
    packages = ("cudaq",)
    tolerance = 1e-10

    def __init__(
        self,
        *,
        target: str | None = None,
        target_option: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **common: Unpack[BackendOptions],
    ) -> None:
        super().__init__(**common)
        self._cudaq = _import()
        self.target = target or (_DENSITY_MATRIX if self.noise.on_gates else "qpp-cpu")
        self.target_option = target_option
        self._target_options = self._mapping("target_options", target_options)
        self._check_target()
        if self.target.startswith("nvidia") and "fp64" not in (target_option or ""):
            self.tolerance = 1e-5
        self._noisily: dict[str, Any] = {}
        if self.noise.on_gates:
            self._noisily["noise_model"] = _noise_model(self._cudaq, self.noise)
        self._kernel = lru_cache(maxsize=_KERNELS)(self._build)
        with self._running():
            found = self._cudaq.get_target()
            self.n_qpus: int = found.num_qpus()
            self.only_samples = found.is_remote() or found.is_emulated()

    def provenance(self) -> dict[str, Any]:
        """See :meth:`Backend.provenance <ketformer.quantum.backends.Backend.provenance>`."""
        option = {"option": self.target_option} if self.target_option else {}
        device = with_options(self.target, {**option, **self._target_options})
        return {**super().provenance(), "device": device}

    def _check_target(self) -> None:
        if not self._cudaq.has_target(self.target):
            raise KetformerError(
                f"unknown CUDA-Q target {self.target!r}; cudaq.get_targets() lists them"
            )
        # Without a GPU, CUDA-Q prints a long message or terminates the process.
        needs_gpu = self.target.startswith(("nvidia", "tensornet"))
        if needs_gpu and not self._cudaq.num_available_gpus():
            raise KetformerError(f"the CUDA-Q target {self.target} needs an NVIDIA GPU: none found")
        if self.noise.on_gates and self.target == "qpp-cpu":
            raise KetformerError(f"qpp-cpu cannot simulate noise on gates; {_DENSITY_MATRIX} can")

    def memory_for(self, n_qubits: int) -> int:
        """Memory that simulators on this machine's CPU need; 0 for other targets."""
        return super().memory_for(n_qubits) if self.target in _ON_CPU else 0

    def close(self) -> None:
        """Forget the compiled kernels."""
        self._kernel.cache_clear()

    def _states(self, circuit: Circuit, rows: Tensor) -> Tensor:
        if self.target == _DENSITY_MATRIX:
            self._cannot(f"show a state on {self.target}")
        states = torch.empty(len(rows), 2**circuit.n_qubits, dtype=torch.complex128)
        with self._exactly():
            found = self._run("get_state", rows, self._kernel(circuit))
            for row, state in zip(states, found, strict=True):
                row[:] = torch.from_numpy(np.array(state))
        return _in_our_order(states, circuit.n_qubits)

    def _distributions(self, circuit: Circuit, rows: Tensor) -> Tensor:
        if self.target != _DENSITY_MATRIX:
            return self._states(circuit, rows).abs().square()
        diagonals = torch.empty(len(rows), 2**circuit.n_qubits, dtype=torch.float64)
        with self._exactly():
            for model in self._noisily.values():
                with warnings.catch_warnings():
                    # Deprecated in favour of an argument that get_state does not accept.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._cudaq.set_noise(model)
            found = self._run("get_state", rows, self._kernel(circuit))
            for row, state in zip(diagonals, found, strict=True):
                row[:] = torch.from_numpy(np.array(state).diagonal().real.copy())
        return _in_our_order(diagonals, circuit.n_qubits).clamp_min(0)

    def _expectations(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        # Under noise the strings are of I and Z: for others, observe would add noisy gates.
        terms = {s: self._spin(s) for s in set(strings.strings) if s.strip("I")}
        if self.target == "qpp-cpu" and len(terms) > _FEW_STRINGS:
            plan = PauliPlan(strings, rows.device)
            parts = rows.split(max(1, _AMPLITUDES >> circuit.n_qubits))
            states = (self._states(circuit, part).mT for part in parts)
            return torch.cat([plan(state.real, state.imag).mT for state in states])
        values = torch.ones(len(rows), len(strings), dtype=torch.float64)
        if not terms:
            return values
        total = self._cudaq.SpinOperator.empty()
        for term in terms.values():
            total += term
        with self._exactly():
            found = self._run("observe", rows, self._kernel(circuit), total, **self._noisily)
            for row, result in zip(values, found, strict=True):
                seen = {s: result.expectation(term) for s, term in terms.items()}
                row[:] = torch.tensor([seen.get(s, 1.0) for s in strings.strings], dtype=row.dtype)
        return values

    def _outcomes(self, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        outcomes = torch.empty(len(rows), shots, dtype=torch.long)
        options = {"shots_count": shots, **self._noisily}
        with self._running():
            self._cudaq.set_random_seed(seed)
            found = self._run("sample", rows, self._kernel(circuit), **options)
            for row, result in zip(outcomes, found, strict=True):
                counts = dict(result.items())
                values = torch.tensor([int(bits, 2) for bits in counts])
                drawn = values.repeat_interleave(torch.tensor(list(counts.values())))
                # Counts have no order, but any part of the shots must be a fair sample.
                row[:] = drawn[torch.randperm(shots, generator=generator)]
        return outcomes

    # -----------------------------------------------------------------------------------------

    def _run(
        self, function: str, rows: Tensor, kernel: Any, *more: Any, **options: Any
    ) -> Iterator[Any]:
        """The results of a CUDA-Q function for each row, passed as its last argument."""
        call = partial(getattr(self._cudaq, function), kernel, *more, **options)
        if self.n_qpus > 1:
            launch = getattr(self._cudaq, f"{function}_async")
            yield from self._spread(partial(launch, _adapted(kernel), *more, **options), rows)
        elif function == "get_state":
            kernel = _adapted(kernel)
            yield from (self._cudaq.get_state(kernel, *_arguments(row)) for row in rows)
        elif rows.shape[1]:
            # CUDA-Q takes an array as a batch, several times faster than a call per row.
            for part in rows.split(_BATCH):
                yield from call(part.numpy())
        else:
            yield from (call() for _ in rows)

    def _spread(self, launch: Callable[..., Any], rows: Tensor) -> Iterator[Any]:
        """Results in row order, computed on all QPUs in turn, with a few queued at each."""
        waiting: deque[Any] = deque()
        for index, row in enumerate(rows):
            if len(waiting) == _IN_FLIGHT * self.n_qpus:
                yield waiting.popleft().get()
            waiting.append(launch(*_arguments(row), qpu_id=index % self.n_qpus))
        while waiting:
            yield waiting.popleft().get()

    @contextmanager
    def _exactly(self) -> Iterator[None]:
        """:meth:`_running` for exact results, if the target can give them."""
        if self.only_samples:
            self._cannot(f"give exact results on {self.target}; set shots")
        if self.noise.on_gates and self.target != _DENSITY_MATRIX:
            self._cannot(f"give exact results under noise on {self.target}; set shots")
        with self._running():
            yield

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Set our target inside this context and restore the previous one afterwards."""
        api = self._cudaq
        with _ONE_AT_A_TIME:
            previous = api.get_target()
            self._set_target()
            try:
                yield
            except RuntimeError as error:
                if "allocate" in str(error):
                    raise
                raise self._refused(error) from error
            finally:
                api.set_target(previous)  # this also drops the noise

    def _set_target(self) -> None:
        option = {} if self.target_option is None else {"option": self.target_option}
        try:
            self._cudaq.set_target(self.target, **option, **self._target_options)
        except RuntimeError as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> KetformerError:
        return KetformerError(f"the CUDA-Q target {self.target}: {first_line(error)}")

    def _build(self, circuit: Circuit) -> Any:
        parameters = list(circuit.parameters)
        if parameters:
            kernel, angles = self._cudaq.make_kernel(list)
        else:
            kernel, angles = self._cudaq.make_kernel(), None
        if self.noise.on_gates:
            # The optimiser would drop gates that cancel, and their errors with them.
            kernel.disable_quantum_optimization()
        qubits = kernel.qalloc(circuit.n_qubits)
        for gate in circuit.elementary:
            arguments: list[Any] = []
            if gate.angle is not None and gate.angle.is_parameter:
                angle = angles[parameters.index(str(gate.angle.value))]
                arguments.append(angle * gate.angle.factor + gate.angle.offset)
            elif gate.angle is not None:
                arguments.append(gate.angle.bound({}))
            if gate.controls:
                arguments.append([qubits[c] for c in gate.controls])
            name = "r1" if gate.name == "P" else gate.name.lower()
            method = ("c" if gate.controls else "") + name
            getattr(kernel, method)(*arguments, qubits[gate.target])
        return kernel

    def _spin(self, string: str) -> Any:
        spin = self._cudaq.spin
        letters = {"X": spin.x, "Y": spin.y, "Z": spin.z}
        acting = (letters[c](qubit) for qubit, c in enumerate(string) if c != "I")
        return reduce(operator.mul, acting)


def _import() -> Any:
    with warnings.catch_warnings():
        # About future changes of functions; users cannot do anything about it.
        about = r"The CUDA-Q `sample` and `observe` algorithmic primitives will change"
        warnings.filterwarnings("ignore", about, FutureWarning)
        return require_package("cudaq", "cudaq")


def _noise_model(api: Any, noise: Noise) -> Any:
    """CUDA-Q's depolarising channels use our convention: p is the probability of an error."""
    model = api.NoiseModel()
    for name in ROTATIONS + FIXED_GATES:
        model.add_all_qubit_channel(name.lower(), api.DepolarizationChannel(noise.one_qubit))
    model.add_all_qubit_channel("x", api.Depolarization2(noise.two_qubit), num_controls=1)
    return model


def _adapted(kernel: Any) -> Any:
    """The kernel converted once, which CUDA-Q would otherwise do in milliseconds at each call."""
    from cudaq.kernel.kernel_decorator import mk_decorator

    return mk_decorator(kernel)


def _arguments(row: Tensor) -> tuple[list[float], ...]:
    """A kernel's arguments: its angles, if it has any."""
    return (row.tolist(),) if len(row) else ()


def _in_our_order(rows: Tensor, n_qubits: int) -> Tensor:
    """Reorder the amplitudes: CUDA-Q has qubit 0 at the least significant bit."""
    grid = rows.reshape(len(rows), *(2,) * n_qubits)
    return grid.permute(0, *range(n_qubits, 0, -1)).reshape(len(rows), -1)

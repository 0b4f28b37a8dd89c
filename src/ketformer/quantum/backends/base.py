"""The base class of all backends, with everything that they share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar, NoReturn, Self, TypedDict

import torch
from torch import Tensor

from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum.backends.batch import Batch, Jobs, plain
from ketformer.quantum.circuit import Circuit
from ketformer.quantum.decomposition import decompose
from ketformer.quantum.measurement import measurement_settings, parities, support
from ketformer.quantum.noise import Noise, read_out
from ketformer.quantum.pauli import PauliStrings
from ketformer.utils.machine import require_memory


class BackendOptions(TypedDict, total=False):
    """Options that every backend accepts and passes on to :class:`Backend`."""

    shots: int | None
    noise: Noise | None
    seed: int | None


class Backend:
    """Runs circuits for batches of angles.

    A backend implements four methods for rows of angles, in float64 and on the CPU:
    :meth:`_states`, :meth:`_distributions`, :meth:`_expectations` and :meth:`_outcomes`.
    This class handles the rest: batches, equal rows (run once), the axes of Pauli
    strings, shots, and readout errors.

    Args:
        shots: measurements of each circuit; None for exact expectations.
        noise: gate and readout errors; None for a noiseless device.
        seed: seed of the shots. The outcomes of a circuit depend on it, on the angles and on how
            often the same was measured before; not on other circuits.

    Raises:
        KetformerError: ``shots`` is not positive, or ``noise`` is something else.
    """

    #: The name in the registry.
    name: ClassVar[str]
    #: Import names of the packages that it needs.
    packages: ClassVar[tuple[str, ...]] = ()
    #: Largest difference from exact arithmetic that the conformance suite allows.
    tolerance: float = 1e-6
    #: Whether it runs on a device, which measures and gives nothing exact.
    only_samples: bool = False
    #: Gives the outcomes of a batch from earlier, or measures it by calling its second argument
    #: and keeps them; see :meth:`~ketformer.quantum.backends.Journal.keeping`.
    keep: Callable[[Batch, Callable[[], Tensor]], Tensor] | None = None
    #: The jobs of the batch that is being measured, if they are kept.
    jobs: Jobs | None = None
    #: The options that the backend was opened with.
    options: dict[str, Any]

    def __new__(cls, **options: Any) -> Self:
        """Remember the options."""
        made = super().__new__(cls)
        made.options = options
        return made

    def __init__(
        self, *, shots: int | None = None, noise: Noise | None = None, seed: int | None = None
    ) -> None:
        if shots is not None and shots < 1:
            raise KetformerError(f"shots must be positive, got {shots}")
        if not isinstance(noise, Noise | None):
            raise KetformerError(
                f"the backend {self.name} takes noise as a ketformer.quantum.Noise, got {noise!r}"
            )
        self.shots = shots
        self.noise = noise or Noise()
        self._seed = torch.Generator().seed() if seed is None else seed
        #: Circuits run so far; each row of angles counts once per setting of axes.
        self.circuits_run = 0
        #: How often each batch was measured, by its content.
        self.measured: Counter[str] = Counter()
        #: What is done against the device's errors, by name.
        self.mitigation: tuple[str, ...] = ()

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the packages that it needs are installed."""
        return all(find_spec(package) is not None for package in cls.packages)

    @property
    def is_exact(self) -> bool:
        """Whether expectations are exact: no shots, no noise, and no device."""
        return self.shots is None and self.noise == Noise() and not self.only_samples

    def require_outcomes(self) -> None:
        """Refuse a device without shots before any work.

        Raises:
            KetformerError: it is one.
        """
        if self.only_samples and self.shots is None:
            self._cannot(f"give exact results on {self.provenance()['device']}; set shots")

    @property
    def settings(self) -> dict[str, Any]:
        """What outcomes depend on besides circuit and angles: the options, as JSON."""
        given = {name: plain(value) for name, value in self.options.items()}
        own = {"backend": self.name, "shots": self.shots, "noise": plain(self.noise)}
        return {**given, **own}

    # --- Public interface --------------------------------------------------------------------

    def provenance(self) -> dict[str, Any]:
        """Where results come from, for the files that hold them.

        Returns:
            ``device``, its name; ``calibration_date``, when it was calibrated, ISO 8601;
            ``native_gates``, which its circuits were rewritten in; ``layouts``, the physical
            qubits of our qubits 0, 1, … in each of the ways that circuits were laid out so far;
            ``shots``; ``mitigation``; and ``job_ids`` so far. What does not apply is None or
            empty.
        """
        return {
            "device": None,
            "calibration_date": None,
            "native_gates": [],
            "layouts": [],
            "shots": self.shots,
            "mitigation": list(self.mitigation),
            "job_ids": [],
        }

    def batches(self, strings: PauliStrings) -> int | None:
        """Batches of circuits whose shots give these expectations; None if that is not known."""
        return len(measurement_settings(strings))

    def expectations(self, circuit: Circuit, angles: Tensor, strings: PauliStrings) -> Tensor:
        """<P_s> in the state that the circuit prepares from |0…0>.

        Args:
            circuit: ``P`` named parameters on ``n`` qubits.
            angles: ``[..., P]`` in radians.
            strings: ``S`` strings on ``n`` qubits.

        Returns:
            ``[..., S]``, estimated from ``shots`` measurements if ``shots`` is set.
        """
        if strings.n_qubits != circuit.n_qubits:
            raise ValueError(
                f"strings on {strings.n_qubits} qubits, a circuit on {circuit.n_qubits}"
            )
        rows, inverse = self._rows(circuit, angles)
        if self.shots is None and self.noise == Noise():
            self.circuits_run += len(rows) * len(measurement_settings(strings))
            out = self._expectations(circuit, rows, strings)
        else:
            out = rows.new_empty(len(rows), len(strings))
            for setting in measurement_settings(strings):
                members = list(setting.members)
                turned = circuit.then(setting.rotation)
                seen = support(PauliStrings(tuple(strings.strings[m] for m in members)))
                out[:, members] = self._measured(turned, rows, seen)
        return self._like(out[inverse], angles)

    def probabilities(self, circuit: Circuit, angles: Tensor) -> Tensor:
        """Exact probability ``[..., 2^n]`` of each outcome, including readout errors."""
        rows, inverse = self._rows(circuit, angles)
        self.circuits_run += len(rows)
        distribution = self._distributions(self._prepared(circuit), rows)
        return self._like(read_out(distribution, self.noise.readout)[inverse], angles)

    def state(self, circuit: Circuit, angles: Tensor) -> Tensor:
        """Amplitudes ``[..., 2^n]``, complex, with qubit 0 as the most significant bit.

        Raises:
            KetformerError: there is noise on gates, or the backend has no statevector.
        """
        if self.noise.on_gates:
            raise KetformerError("a noisy circuit has no state vector; ask for probabilities")
        rows, inverse = self._rows(circuit, angles)
        self.circuits_run += len(rows)
        states = self._states(circuit, rows)[inverse].reshape(*angles.shape[:-1], -1)
        wanted = torch.complex128 if angles.dtype == torch.float64 else torch.complex64
        return states.to(angles.device, wanted)

    def sample(self, circuit: Circuit, angles: Tensor, shots: int | None = None) -> Tensor:
        """Measured basis indices ``[..., shots]``, int64, with qubit 0 as the most significant bit.

        Equal rows are measured independently here.
        """
        shots = self.shots if shots is None else shots
        if shots is None or shots < 1:
            raise KetformerError("sampling needs a positive number of shots")
        rows = self._flat(circuit, angles)
        everything = PauliStrings(("Z" * circuit.n_qubits,))
        outcomes = self._read_outcomes(self._prepared(circuit), rows, shots, everything)
        return outcomes.reshape(*angles.shape[:-1], shots).to(angles.device)

    # --- What a backend implements -----------------------------------------------------------

    def _states(self, circuit: Circuit, rows: Tensor) -> Tensor:
        """Amplitudes ``[N, 2^n]``, complex128."""
        self._cannot("show a state")

    def _distributions(self, circuit: Circuit, rows: Tensor) -> Tensor:
        """Exact probabilities ``[N, 2^n]``, including noise on gates."""
        self._cannot("give exact probabilities")

    def _expectations(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        """Exact expectations ``[N, S]``, including noise on gates."""
        self._cannot("give exact expectations; set shots")

    def _outcomes(self, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Tensor:
        """Basis indices ``[N, shots]``, int64, including noise on gates."""
        self._cannot("sample")

    # -----------------------------------------------------------------------------------------

    def _measured(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        """<P_s> of strings of I and Z under noise, from shots or exact."""
        circuit = self._prepared(circuit)
        if self.shots is not None:
            return parities(self._read_outcomes(circuit, rows, self.shots, strings), strings)
        self.circuits_run += len(rows)
        # Flipping a bit with probability p shrinks each Z by 1 - 2p.
        weight = torch.tensor([s.count("Z") for s in strings.strings], dtype=rows.dtype)
        return self._expectations(circuit, rows, strings) * (1 - 2 * self.noise.readout) ** weight

    def _read_outcomes(
        self, circuit: Circuit, rows: Tensor, shots: int, strings: PauliStrings
    ) -> Tensor:
        """Basis indices ``[N, shots]`` with readout errors."""
        self.circuits_run += len(rows)
        batch = Batch(circuit, rows, shots, strings)
        batch = replace(batch, repeats=self.measured[batch.content])
        self.measured[batch.content] += 1
        measure = partial(self._misread, batch)
        return measure() if self.keep is None else self.keep(batch, measure)

    def _misread(self, batch: Batch) -> Tensor:
        """Outcomes ``[N, shots]`` with readout errors."""
        seed, seed_of_readout = batch.seeds(self._seed)
        outcomes = self._outcomes(batch.circuit, batch.rows, batch.shots, seed)
        generator = torch.Generator().manual_seed(seed_of_readout)
        for qubit in range(batch.circuit.n_qubits if self.noise.readout else 0):
            wrong = torch.rand(outcomes.shape, generator=generator) < self.noise.readout
            outcomes = outcomes ^ (wrong.long() << qubit)
        return outcomes

    def _prepared(self, circuit: Circuit) -> Circuit:
        return decompose(circuit) if self.noise.on_gates else circuit

    def memory_for(self, n_qubits: int) -> int:
        """A lower bound for the bytes that one circuit takes; 0 if it is not simulated exactly.

        Two complex statevectors (input and output of a gate), or two density matrices.
        """
        return 2 * 16 << (n_qubits * (2 if self.noise.on_gates else 1))

    def _flat(self, circuit: Circuit, angles: Tensor) -> Tensor:
        require_memory(
            f"{circuit.n_qubits} qubits are too many to simulate exactly",
            self.memory_for(circuit.n_qubits),
        )
        if angles.shape[-1] != len(circuit.parameters):
            raise ValueError(
                f"the circuit has {len(circuit.parameters)} parameters, "
                f"{angles.shape[-1]} angles were given"
            )
        if not angles.numel() and angles.shape[-1]:
            raise ValueError("an empty batch of angles: there is no circuit to run")
        rows = angles.detach().to("cpu", torch.float64)
        return rows.reshape(math.prod(angles.shape[:-1]), angles.shape[-1])

    def _rows(self, circuit: Circuit, angles: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct rows of angles, and the index among them of each row in the batch."""
        flat = self._flat(circuit, angles)
        if not flat.shape[-1]:  # no angle: one circuit, whatever the batch
            return flat[:1], torch.zeros(len(flat), dtype=torch.long)
        rows, inverse = torch.unique(flat, dim=0, return_inverse=True)
        return rows, inverse

    def _like(self, out: Tensor, angles: Tensor) -> Tensor:
        return out.reshape(*angles.shape[:-1], out.shape[-1]).to(angles.device, angles.dtype)

    def _mapping(self, name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """An option of names and values; none if it is None."""
        if given is not None and not isinstance(given, Mapping):
            raise KetformerError(
                f"{name} of the backend {self.name} is a mapping of names to values, got {given!r}"
            )
        return dict(given or {})

    def _cannot(self, what: str) -> NoReturn:
        raise NotOfferedError(f"the backend {self.name} cannot {what}")

    def close(self) -> None:
        """Release the backend's resources; does nothing by default."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def with_options(device: str, options: Mapping[str, Any]) -> str:
    """A device's name and how it was set up, in one line: ``ionq, emulate=True``."""
    return ", ".join([device, *(f"{name}={value}" for name, value in options.items())])

"""What attention takes on one device: native gates, seconds and money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ketformer.attention.base import SCORE
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, Experiment, measurement_settings
from ketformer.quantum.backends.transpiled import DeviceCounts, Transpiler
from ketformer.quantum.gradients import shifted_circuits


@dataclass(frozen=True)
class Prices:
    """What a device's time and shots cost, in any currency; those that are given add up.

    Attributes:
        per_second: price of a second of device time.
        per_shot: price of a shot.

    Raises:
        KetformerError: a negative price.
    """

    per_second: float | None = None
    per_shot: float | None = None

    def __post_init__(self) -> None:
        if any(price is not None and not price >= 0 for price in (self.per_second, self.per_shot)):
            raise KetformerError("a price cannot be negative")

    def cost(self, seconds: float | None, shots: int) -> float | None:
        """The price of so many seconds and shots; None if there is no price.

        Raises:
            KetformerError: a second has a price, but the seconds are unknown.
        """
        if self.per_second is None and self.per_shot is None:
            return None
        if self.per_second is not None and seconds is None:
            raise KetformerError(
                "the device has no calibrated durations, so a price per second says nothing; "
                "give a price per shot"
            )
        return (self.per_second or 0) * (seconds or 0) + (self.per_shot or 0) * shots


@dataclass(frozen=True)
class Shape:
    """A circuit as a device runs it, whatever its angles.

    Attributes:
        name: what it gives, such as ``value``.
        circuit: the circuit, with the gates that turn the measured axes onto Z.
        measured: the qubits that are measured.
        of_pairs: whether it runs for each pair of positions i >= j instead of each token.
        shifted: further runs for each run's gradient by parameter shift.
    """

    name: str
    circuit: Circuit
    measured: tuple[int, ...]
    of_pairs: bool
    shifted: int

    def in_sequence(self, length: int) -> int:
        """Runs for a sequence of that many tokens, of one head."""
        return length * (length + 1) // 2 if self.of_pairs else length


def shapes_of(experiments: dict[str, list[Experiment]]) -> Counter[Shape]:
    """The distinct circuits of one layer, each with the number of heads that run it.

    Args:
        experiments: by name, those of each head, see
            :func:`~ketformer.circuits.mechanisms.experiments`.
    """
    found: Counter[Shape] = Counter()
    for name, heads in experiments.items():
        # Heads share one circuit, which can be long: it is compared by identity first.
        alike: dict[tuple[int, tuple[str, ...]], list[Experiment]] = {}
        for head in heads:
            alike.setdefault((id(head.circuit), head.strings.strings), []).append(head)
        for head, *others in alike.values():
            shifted = shifted_circuits(head)
            for setting in measurement_settings(head.strings):
                measured = tuple(q for q, axis in enumerate(setting.axes) if axis != "I")
                turned = head.circuit.then(setting.rotation)
                found[Shape(name, turned, measured, name == SCORE, shifted)] += 1 + len(others)
    return found


class DeviceCosts:
    """Counts circuits on one device, and what running them takes.

    Args:
        transpiler: for the device.
        prices: of its time and shots.
        delay_us: microseconds between two shots; the device's own by default, or none if it
            does not say.

    Raises:
        KetformerError: a negative delay.
    """

    def __init__(
        self, transpiler: Transpiler, prices: Prices | None = None, delay_us: float | None = None
    ) -> None:
        own = transpiler.repetition_delay_us
        self.transpiler = transpiler
        self.prices = prices or Prices()
        self.delay_us = delay_us if delay_us is not None else own or 0.0
        if not self.delay_us >= 0:
            raise KetformerError(f"delay_us cannot be negative, got {delay_us}")

    @property
    def device(self) -> str:
        """The device's name."""
        return str(self.transpiler.device.name)

    @property
    def qubits(self) -> int:
        """The device's number of qubits."""
        return int(self.transpiler.device.num_qubits)

    def described(self) -> dict[str, Any]:
        """What the counts rest on."""
        return {
            "device": self.device,
            "device_qubits": self.qubits,
            "repetition_delay_us": self.delay_us,
            "optimization_level": self.transpiler.optimization_level,
            "seed": self.transpiler.seed,
            "price_per_second": self.prices.per_second,
            "price_per_shot": self.prices.per_shot,
        }

    def count(self, shape: Shape) -> DeviceCounts:
        """The shape's counts on the device."""
        return self.transpiler.count(shape.circuit, shape.measured)

    def of_shots(self, shots: Mapping[tuple[Circuit, tuple[int, ...]], int]) -> dict[str, Any]:
        """``shots``, ``device_seconds`` and ``cost`` of so many shots of each circuit.

        A shot takes the circuit's duration and the delay before the next. Queues, compilation
        and the transfer of jobs are not counted.

        Args:
            shots: by circuit and the qubits that are measured.
        """
        total, microseconds, known = 0, 0.0, True
        for (circuit, measured), number in shots.items():
            duration = self.transpiler.count(circuit, measured).duration_us
            total += number
            known &= duration is not None
            microseconds += number * ((duration or 0.0) + self.delay_us)
        seconds = microseconds / 1e6 if known else None
        return {
            "shots": total,
            "device_seconds": seconds,
            "cost": self.prices.cost(seconds, total),
        }

"""A batch of circuits that are measured together, and what its outcomes depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from ketformer.quantum.circuit import Circuit
from ketformer.quantum.pauli import PauliStrings
from ketformer.quantum.qasm import to_qasm


@dataclass(frozen=True)
class Batch:
    """One circuit, measured for each of some rows of angles.

    Attributes:
        circuit: ``P`` named parameters on ``n`` qubits.
        rows: its angles ``[N, P]`` in radians, float64.
        shots: measurements for each row.
        strings: the strings of I and Z that are estimated.
        repeats: how often the same was measured before.
    """

    circuit: Circuit
    rows: Tensor
    shots: int
    strings: PauliStrings
    repeats: int = 0

    @property
    def content(self) -> str:
        """A hash of circuit, angles and shots."""
        shape = list(self.rows.shape)
        made = hashlib.sha256(json.dumps([_program(self.circuit), shape, self.shots]).encode())
        made.update(self.rows.contiguous().numpy().tobytes())
        return made.hexdigest()

    def seeds(self, seed: int) -> tuple[int, int]:
        """Two seeds below 2**31 for its random numbers, whatever else was measured before it."""
        found = hashlib.sha256(f"{seed} {self.content} {self.repeats}".encode()).digest()
        first, second = (int.from_bytes(found[place : place + 4]) % 2**31 for place in (0, 4))
        return first, second


@dataclass(frozen=True)
class Jobs:
    """The jobs of one batch on a device that keeps their results, by their number in the batch.

    Attributes:
        earlier: ids that a process submitted which ended before it had the results.
        note: called with the number and the id of each job that is submitted.
    """

    earlier: Mapping[int, str]
    note: Callable[[int, str], None]


def hash_of(content: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def plain(value: Any) -> Any:
    """An option as JSON, the same in every process for an equal option."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    name = getattr(value, "name", None)
    return f"{kind} {name if isinstance(name, str) else repr(value)}"


@lru_cache(maxsize=256)
def _program(circuit: Circuit) -> str:
    return to_qasm(circuit)

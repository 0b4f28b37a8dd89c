"""Reading PennyLane's QNodes, templates and tapes."""

from __future__ import annotations

import inspect
import math
import random
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends._terms import Term, gates_of_terms, phases
from ketformer.quantum.gates import Gate

# PennyLane's gates that are ours: our name, and how many of the first wires are controls.
_GATES = {
    "RX": ("RX", 0), "RY": ("RY", 0), "RZ": ("RZ", 0), "PhaseShift": ("P", 0),
    "Hadamard": ("H", 0), "PauliX": ("X", 0), "PauliY": ("Y", 0), "PauliZ": ("Z", 0),
    "S": ("S", 0), "T": ("T", 0), "SX": ("SX", 0),
    "Adjoint(S)": ("SDG", 0), "Adjoint(T)": ("TDG", 0), "Adjoint(SX)": ("SXDG", 0),
    "SWAP": ("SWAP", 0), "IsingXX": ("RXX", 0), "IsingYY": ("RYY", 0), "IsingZZ": ("RZZ", 0),
    "CNOT": ("X", 1), "CY": ("Y", 1), "CZ": ("Z", 1), "CH": ("H", 1), "CSWAP": ("SWAP", 1),
    "CRX": ("RX", 1), "CRY": ("RY", 1), "CRZ": ("RZ", 1), "ControlledPhaseShift": ("P", 1),
    "Toffoli": ("X", 2), "CCZ": ("Z", 2),
}  # fmt: skip
_NOTHING = {"Barrier", "Identity", "Snapshot", "WireCut"}
_PHASE = "GlobalPhase"
#: Makes the operations for the values of the parameters.
Make = Callable[[Sequence[float]], list[Any]]


def read_pennylane(source: Any, *args: Any, **kwargs: Any) -> tuple[int, tuple[Gate, ...]]:
    """The number of qubits and the gates of a QNode, quantum function or tape.

    See :meth:`ketformer.quantum.Circuit.from_pennylane`.
    """
    qml = require_package("pennylane", "pennylane", "reading a PennyLane circuit")
    try:
        names, tape_of = _parameters(qml, source, args, kwargs)
        wires = _wires(source, tape_of([0.1] * len(names)))

        def operations(values: Sequence[float]) -> list[Any]:
            return _plain(qml, tape_of(values))

        found = _affine(operations, len(names))
    except KetformerError:
        raise
    except Exception as error:  # the user's own function may raise anything
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise KetformerError(f"PennyLane: {reason[0]}") from None
    gates: list[Gate] = []
    for operation, angle in found:
        terms = None if angle is None else _terms(names, angle)
        if operation.name == _PHASE:
            gates += phases([(name, -factor) for name, factor in terms or ()])
            continue
        name, controls = _GATES[operation.name]
        gates += gates_of_terms(name, [wires[w] for w in operation.wires], controls, terms)
    return max(len(wires), 1), tuple(gates)


def _parameters(
    qml: Any, source: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[str], Callable[[Sequence[float]], Any]]:
    """Names of the parameters, and what makes a tape of their values."""
    if isinstance(source, qml.tape.QuantumScript):
        if args or kwargs:
            raise KetformerError("a tape takes no arguments: its parameters are its own")
        trainable = source.trainable_params
        if any(np.ndim(value) for value in source.get_parameters()):
            return _from_arrays(source, trainable)
        names = [f"t{i}" for i in range(len(trainable))]
        return names, lambda values: source.bind_new_parameters(list(values), trainable)
    if not callable(source):
        raise KetformerError(f"not a QNode, quantum function or tape: {type(source).__name__}")
    return _from_arguments(qml, source, args, kwargs)


def _from_arrays(source: Any, trainable: list[int]) -> tuple[list[str], Any]:
    """A tape with templates, whose parameters are arrays: one name for each entry."""
    arrays = [np.asarray(source.get_parameters(trainable_only=False)[i]) for i in trainable]
    sizes = [array.size for array in arrays]
    names = [f"t{i}" for i in range(sum(sizes))]

    def tape_of(values: Sequence[float]) -> Any:
        parts = np.split(np.asarray(values, dtype=float), np.cumsum(sizes)[:-1])
        shaped = [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]
        return source.bind_new_parameters(shaped, trainable)

    return names, tape_of


def _from_arguments(
    qml: Any, source: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[str], Any]:
    """A function of arrays: a name for each entry of each float argument."""
    is_qnode = isinstance(source, qml.QNode)
    make = (
        qml.workflow.construct_tape(source, "user") if is_qnode else qml.tape.make_qscript(source)
    )
    signature = inspect.signature(source.func if is_qnode else source)
    declared = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    names: list[str] = []
    shapes: list[tuple[int, ...] | None] = []
    for i, value in enumerate(args):
        array = np.asarray(value)
        if array.dtype.kind != "f":
            shapes.append(None)
            continue
        shapes.append(array.shape)
        label = declared[i] if i < len(declared) else f"x{i}"
        if array.ndim == 0:
            names.append(label)
        else:
            entries = product(*map(range, array.shape))
            names += [f"{label}[{','.join(map(str, entry))}]" for entry in entries]

    def tape_of(values: Sequence[float]) -> Any:
        rest, filled = list(values), []
        for value, shape in zip(args, shapes, strict=True):
            if shape is None:
                filled.append(value)
                continue
            size = math.prod(shape)
            numbers, rest = rest[:size], rest[size:]
            filled.append(np.array(numbers).reshape(shape) if shape else numbers[0])
        return make(*filled, **kwargs)

    return names, tape_of


def _wires(source: Any, tape: Any) -> dict[Any, int]:
    """The qubit of each wire: the device's order, or the numbers themselves, or first use."""
    device = getattr(source, "device", None)
    if device is not None and device.wires:
        return {label: i for i, label in enumerate(device.wires)}
    labels = list(tape.wires)
    if labels and all(isinstance(label, int) and label >= 0 for label in labels):
        labels = list(range(max(labels) + 1))
    return {label: i for i, label in enumerate(labels)}


def _plain(qml: Any, tape: Any) -> list[Any]:
    """The operations in our gates, decomposed by PennyLane."""
    known = {*_GATES, *_NOTHING, _PHASE}
    ours = tape.copy(measurements=[])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about operations that are refused below
        (plain,), _ = qml.transforms.decompose(
            ours, gate_set=known, stopping_condition=lambda operation: operation.name in known
        )
    operations = [op for op in plain.operations if op.name not in _NOTHING]
    for operation in operations:
        if operation.name not in known:
            raise KetformerError(
                f"{operation.name} is not a gate: measurements in the middle, resets and channels "
                "cannot be read"
            )
        if any(np.ndim(value) for value in operation.data):
            raise KetformerError(f"{operation.name} has a batch of angles; give one")
    return operations


def _affine(make: Make, count: int) -> list[tuple[Any, list[float] | None]]:
    """Each operation, and its angle as factors of the ``count`` parameters and a number last.

    The operations are made at a few points, one for each parameter, and the result is checked at
    two more. The points are fractions of 64, so that differences are exact.

    Raises:
        KetformerError: the operations depend on the values, or an angle is not affine.
    """
    draw = random.Random(0)

    def point() -> list[float]:
        return [draw.randrange(-255, 256, 2) / 64 for _ in range(count)]

    base = point()
    operations = make(base)
    form = [(op.name, op.wires, len(op.data)) for op in operations]

    def angles(values: list[float]) -> Any:
        made = operations if values is base else make(values)
        if [(op.name, op.wires, len(op.data)) for op in made] != form:
            raise KetformerError("the gates depend on the values of the parameters")
        return np.array([float(op.data[0]) for op in made if op.data])

    start = angles(base)
    slopes = np.zeros((count, len(start)))
    for i in range(count):
        slopes[i] = angles([value + (j == i) for j, value in enumerate(base)]) - start
    slopes = _tidy(slopes, 1 / 64)
    numbers = _tidy(start - base @ slopes, math.pi / 16)
    turned = [op for op in operations if op.data]
    for values in (point(), point()):
        off = np.abs(angles(values) - values @ slopes - numbers) > 1e-9
        if off.any():
            name = turned[int(off.argmax())].name
            raise KetformerError(f"the angle of {name} is not affine in the parameters")
    rows = iter(np.concatenate([slopes, numbers[None]]).T.tolist())
    return [(op, next(rows) if op.data else None) for op in operations]


def _tidy(numbers: Any, unit: float) -> Any:
    """The numbers, where rounding alone keeps them from a multiple of the unit set to it."""
    near = np.round(numbers / unit) * unit
    return np.where(np.abs(numbers - near) < 1e-12, near, numbers)


def _terms(names: list[str], angle: list[float]) -> list[Term]:
    *factors, number = angle
    return [*zip(names, factors, strict=True), (None, number)]

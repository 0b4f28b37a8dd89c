"""Affine angles of other libraries as gates: a sum over parameters is a product of rotations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ketformer.errors import KetformerError
from ketformer.quantum.gates import Angle, Gate

#: A parameter's name and its factor; or None and a number.
Term = tuple[str | None, float]


def gates_of_terms(
    name: str, qubits: Sequence[int], controls: int, terms: list[Term] | None
) -> list[Gate]:
    """One gate for each parameter in the angle; none if the angle is 0.

    Args:
        name: one of our gates.
        qubits: its qubits, controls first.
        controls: how many of them are controls.
        terms: the angle; None for a fixed gate.
    """
    first, *more = qubits[controls:]
    place = Gate(
        name, first, tuple(qubits[:controls]), None if terms is None else Angle(0.0),
        more[0] if more else None,
    )  # fmt: skip
    if terms is None:
        return [place]
    return [
        Gate(name, place.target, place.controls, angle, place.second) for angle in _angles(terms)
    ]


def phases(terms: list[Term]) -> list[Gate]:
    """Gates on qubit 0 that multiply by exp(i angle), which a control can see."""
    return [
        gate
        for angle in _angles(terms)
        if angle.is_parameter or math.remainder(angle.bound({}), 2 * math.pi)
        for gate in (
            Gate("RZ", 0, angle=angle.times(-2)),
            Gate("P", 0, angle=angle.times(2)),
        )
    ]


def _angles(terms: list[Term]) -> list[Angle]:
    """The angles that add up to the terms, the number with the first."""
    number = math.fsum(factor for name, factor in terms if name is None)
    named = [(name, factor) for name, factor in terms if name is not None and factor]
    if not all(math.isfinite(n) for n in (number, *(factor for _, factor in named))):
        raise KetformerError("an angle is not a finite number")
    if not named:
        return [Angle(number)]
    (first, factor), *others = named
    return [Angle(first, factor, number), *(Angle(name, factor) for name, factor in others)]

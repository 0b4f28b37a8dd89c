"""Circuits as OpenQASM 3 text, for use in other tools."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ketformer.quantum.circuit import Angle, Circuit, Gate

# Our controlled gates that stdgates.inc defines; the others use the modifier `ctrl`.
_NAMED = frozenset({"cx", "cy", "cz", "ch", "crx", "cry", "crz", "ccx"})

# The gates that Amazon Braket, which has no stdgates.inc, calls by other names, or knows at all.
_BRAKET = {"cx": "cnot", "cy": "cy", "cz": "cz", "ccx": "ccnot"}

_REGISTER = "q"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
# Keywords, then names that the language or stdgates.inc defines in the scope of our angles.
_WORDS = """
OPENQASM include defcalgrammar def cal defcal gate extern box let break continue if else end
return for while in switch case default nop pragma input output const readonly mutable qreg
qubit creg bool bit int uint float angle complex array void duration stretch gphase inv pow
ctrl negctrl dim durationof delay reset measure barrier true false im

pi tau euler arccos arcsin arctan ceiling cos exp floor log mod popcount real imag rotl rotr
sin sizeof sqrt tan U
p x y z h s sdg t tdg sx rx ry rz cx cy cz cp crx cry crz ch swap ccx cswap cu CX phase cphase
id u1 u2 u3
"""
_RESERVED = frozenset({_REGISTER, *_WORDS.split()})


def to_qasm(
    circuit: Circuit,
    angles: Mapping[str, float] | Sequence[float] | None = None,
    *,
    dialect: Literal["standard", "braket"] = "standard",
) -> str:
    """The circuit in OpenQASM 3, with ``q[i]`` for qubit ``i``.

    Args:
        circuit: any circuit, with any number of controls.
        angles: angles in radians, by name or in the order of ``circuit.parameters``. If None,
            each name becomes an input of the program, see :func:`identifiers`.
        dialect: ``standard``, with the gates of ``stdgates.inc``; ``braket``, with those that
            Amazon Braket has without that file.

    Returns:
        The program: one gate on each line, and no measurement.

    Raises:
        ValueError: an angle is missing or not finite, or the number of angles is wrong.
    """
    names = {} if angles is not None else identifiers(circuit)
    values = {} if angles is None else _by_name(circuit, angles)
    lines = [
        "OPENQASM 3.0;",
        *(['include "stdgates.inc";'] if dialect == "standard" else []),
        f"// {_REGISTER}[i] is qubit i; qubit 0 is the most significant bit of a basis index.",
        *(f"input float[64] {word};{_remark(word, name)}" for name, word in names.items()),
        f"qubit[{circuit.n_qubits}] {_REGISTER};",
    ]
    for gate in circuit.gates:
        argument = "" if gate.angle is None else f"({_expression(gate.angle, names, values)})"
        qubits = ", ".join(f"{_REGISTER}[{qubit}]" for qubit in gate.qubits)
        lines.append(f"{_call(gate, dialect)}{argument} {qubits};")
    return "\n".join(lines) + "\n"


def identifiers(circuit: Circuit) -> dict[str, str]:
    """The identifier of each free angle in the program, in the order of ``circuit.parameters``.

    A name that the language allows is kept. In other names, characters other than ASCII letters,
    digits and underscores become underscores, and ``angle_`` is put before a name that starts
    with a digit or is reserved. A number is appended until no two angles share an identifier.
    """
    legal = {name for name in circuit.parameters if _is_legal(name)}
    taken = set(_RESERVED | legal)
    found = {}
    for name in circuit.parameters:
        word = name
        if name not in legal:
            word = next(candidate for candidate in _candidates(name) if candidate not in taken)
            taken.add(word)
        found[name] = word
    return found


def _is_legal(name: str) -> bool:
    return _IDENTIFIER.fullmatch(name) is not None and name not in _RESERVED


def _candidates(name: str) -> Iterator[str]:
    stem = re.sub(r"[^A-Za-z_0-9]", "_", name)
    if not _is_legal(stem):
        stem = f"angle_{stem}"
    yield stem
    number = 2
    while True:
        yield f"{stem}_{number}"
        number += 1


def _remark(word: str, name: str) -> str:
    """A comment with the angle's original name if it had to change, with line breaks escaped."""
    return "" if word == name else f"  // {json.dumps(name)}"


def _by_name(circuit: Circuit, angles: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    if isinstance(angles, Mapping):
        missing = [name for name in circuit.parameters if name not in angles]
        if missing:
            raise ValueError(f"no value for the angle {missing[0]!r}")
        return {name: float(angles[name]) for name in circuit.parameters}
    if len(angles) != len(circuit.parameters):
        raise ValueError(
            f"the circuit has {len(circuit.parameters)} parameters, {len(angles)} angles were given"
        )
    return dict(zip(circuit.parameters, map(float, angles), strict=True))


def _expression(angle: Angle, names: Mapping[str, str], values: Mapping[str, float]) -> str:
    if isinstance(angle.value, str) and names:
        word = names[angle.value]
        return word if angle.factor == 1 else f"{_number(angle.factor)} * {word}"
    return _number(angle.bound(values))


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"an angle must be a finite number, got {value}")
    return repr(float(value))


def _call(gate: Gate, dialect: str) -> str:
    name = gate.label.lower()
    named = {word: word for word in _NAMED} if dialect == "standard" else _BRAKET
    if not gate.controls or name in named:
        return named.get(name, name)
    count = f"({len(gate.controls)})" if len(gate.controls) > 1 else ""
    return f"ctrl{count} @ {gate.name.lower()}"

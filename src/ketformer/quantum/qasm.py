"""Circuits as OpenQASM 3 text, for use in other tools."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.qasm_reader import DEFINED, HEADER, MODIFIED, NAMED, REGISTER

# What Amazon Braket, which has no stdgates.inc, calls gates that have another name there.
_BRAKET = {
    "P": "phaseshift", "SDG": "si", "TDG": "ti", "SX": "v", "SXDG": "vi", "RXX": "xx",
    "RYY": "yy", "RZZ": "zz",
}  # fmt: skip
# Its controlled gates; the others use the modifier ``ctrl``.
_BRAKET_NAMED = {"cx": "cnot", "cy": "cy", "cz": "cz", "ccx": "ccnot", "cswap": "cswap"}

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

rxx ryy rzz
"""
_RESERVED = frozenset({REGISTER, *_WORDS.split()})


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
    used = {gate.name for gate in circuit.gates}
    lines = [
        *(HEADER if dialect == "standard" else HEADER[:1]),
        *(text for name, text in DEFINED.items() if name in used and dialect == "standard"),
        f"// {REGISTER}[i] is qubit i; qubit 0 is the most significant bit of a basis index.",
        *(f"input float[64] {word};{_remark(word, name)}" for name, word in names.items()),
        f"qubit[{circuit.n_qubits}] {REGISTER};",
    ]
    for gate in circuit.gates:
        argument = "" if gate.angle is None else f"({_expression(gate.angle, names, values)})"
        qubits = ", ".join(f"{REGISTER}[{qubit}]" for qubit in gate.qubits)
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
    if not (isinstance(angle.value, str) and names):
        return _number(angle.bound(values))
    word = names[angle.value]
    scaled = word if angle.factor == 1 else f"{_number(angle.factor)} * {word}"
    if not angle.offset:
        return scaled
    return f"{scaled} {'-' if angle.offset < 0 else '+'} {_number(abs(angle.offset))}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"an angle must be a finite number, got {value}")
    return repr(float(value))


def _call(gate: Gate, dialect: str) -> str:
    if dialect == "standard":
        named, renamed = {label: label for label in NAMED}, MODIFIED
    else:
        named, renamed = _BRAKET_NAMED, _BRAKET
    label = gate.label.lower()
    if gate.controls and label in named:
        return named[label]
    count = f"({len(gate.controls)})" if len(gate.controls) > 1 else ""
    modifier = f"ctrl{count} @ " if gate.controls else ""
    return modifier + renamed.get(gate.name, gate.name.lower())

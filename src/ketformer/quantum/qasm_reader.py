"""Reading the OpenQASM 3 that :func:`~ketformer.quantum.qasm.to_qasm` writes.

A saved model holds its circuit in that form, and must load where Qiskit is not installed.
"""

from __future__ import annotations

import json
import re

from ketformer.quantum.gates import GATES, Angle, Gate

REGISTER = "q"
HEADER = ("OPENQASM 3.0;", 'include "stdgates.inc";')
#: Our gates that stdgates.inc does not define: a definition in the program, or a modifier.
DEFINED = {
    "RXX": "gate rxx(t) a, b { h a; h b; cx a, b; rz(t) b; cx a, b; h b; h a; }",
    "RYY": "gate ryy(t) a, b { sx a; sx b; cx a, b; rz(t) b; cx a, b; inv @ sx b; inv @ sx a; }",
    "RZZ": "gate rzz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
}
MODIFIED = {"SXDG": "inv @ sx"}
#: Our controlled gates that it does define; the others use the modifier ``ctrl``.
NAMED = frozenset({"cx", "cy", "cz", "ch", "cp", "crx", "cry", "crz", "ccx", "cswap"})

# What a call without the modifier `ctrl` stands for: our gate and its number of controls.
_CALLS = {MODIFIED.get(name, name.lower()): (name, 0) for name in GATES} | {
    "c" * n + name.lower(): (name, n)
    for name in GATES
    for n in (1, 2)
    if "c" * n + name.lower() in NAMED
}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_WORD = r"[A-Za-z_][A-Za-z_0-9]*"
_INPUT = re.compile(rf"input float\[64\] ({_WORD});(?:\s*// (\".*\"))?")
_QUBITS = re.compile(rf"qubit\[([0-9]{{1,4}})\] {REGISTER};")
_CALL = re.compile(
    rf"(?:(ctrl)(?:\(([0-9]{{1,4}})\))? @ )?([a-z @]+?)(?:\(([^()]*)\))? ({REGISTER}\[.*\]);"
)
_QUBIT = re.compile(rf"{REGISTER}\[([0-9]{{1,4}})\]")
_FIXED = re.compile(rf"-?{_NUMBER}")
_AFFINE = re.compile(rf"(?:(-?{_NUMBER}) \* )?({_WORD})(?: ([+-]) ({_NUMBER}))?")


def read_own(text: str) -> tuple[int, tuple[Gate, ...]] | None:
    """The number of qubits and the gates of such a program; None for any other text.

    Angles get the names that they had, which comments hold where OpenQASM does not allow them.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("//")]
    if tuple(lines[:2]) != HEADER:
        return None
    rest = [line for line in lines[2:] if line not in DEFINED.values()]
    names: dict[str, str] = {}
    while rest and (found := _INPUT.fullmatch(rest[0])):
        names[found[1]] = _original(found[2]) or found[1]
        rest = rest[1:]
    if len(set(names.values())) < len(names):
        return None
    size = _QUBITS.fullmatch(rest[0]) if rest else None
    if size is None or not int(size[1]):
        return None
    try:
        gates = tuple(_gate(line, names) for line in rest[1:])
    except ValueError:
        return None
    if any(qubit >= int(size[1]) for gate in gates for qubit in gate.qubits):
        return None
    return int(size[1]), gates


def _original(remark: str | None) -> str | None:
    """The angle's name before it became an identifier, from the comment beside its input."""
    try:
        name = json.loads(remark or "")
    except ValueError:
        return None
    return name if isinstance(name, str) else None


def _gate(line: str, names: dict[str, str]) -> Gate:
    """One call of a gate.

    Raises:
        ValueError: the line is something else.
    """
    found = _CALL.fullmatch(line)
    if found is None:
        raise ValueError(line)
    ctrl, count, call, angle, places = found.groups()
    if call not in _CALLS:
        raise ValueError(line)
    name, controls = _CALLS[call]
    if ctrl:
        controls += int(count or 1)
    qubits = [_QUBIT.fullmatch(place) for place in places.split(", ")]
    if len(qubits) != controls + GATES[name].targets:
        raise ValueError(line)
    on = [int(qubit[1]) for qubit in qubits if qubit]
    if len(on) != len(qubits):
        raise ValueError(line)
    target, *second = on[controls:]
    turned = None if angle is None else _angle(angle, names)
    return Gate(name, target, tuple(on[:controls]), turned, second[0] if second else None)


def _angle(text: str, names: dict[str, str]) -> Angle:
    if _FIXED.fullmatch(text):
        return Angle(float(text))
    found = _AFFINE.fullmatch(text)
    if found is None or found[2] not in names:
        raise ValueError(text)
    factor, word, sign, offset = found.groups()
    plus = float(f"{sign}{offset}") if offset else 0.0
    return Angle(names[word], float(factor) if factor else 1.0, plus)

"""Reading Qiskit's circuits, and OpenQASM through Qiskit's importers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from typing import Any

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends._terms import Term, gates_of_terms, phases
from ketformer.quantum.gates import Gate

# Qiskit's gates that are ours: our name, and how many of the first qubits are controls.
_GATES = {
    **{name: (name.upper(), 0) for name in (
        "rx", "ry", "rz", "h", "x", "y", "z", "p", "s", "sdg", "t", "tdg", "sx", "sxdg",
        "swap", "rxx", "ryy", "rzz",
    )},
    **{f"c{name}": (name.upper(), 1) for name in (
        "rx", "ry", "rz", "h", "x", "y", "z", "p", "s", "sdg", "sx", "swap",
    )},
    "ccx": ("X", 2), "ccz": ("Z", 2),
}  # fmt: skip
_BASIS = [*_GATES, "u", "id"]
_NOTHING = {"barrier", "delay", "id"}
# A number of qubits above this ends Qiskit's process before Python can refuse it.
_MOST = 10_000
_VERSION = re.compile(r"\s*OPENQASM\s+([0-9]+)")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_COUNT = re.compile(r"(?<![\w.])[0-9][0-9_]*(?![\w.])")


def read_qiskit(circuit: Any) -> tuple[int, tuple[Gate, ...]]:
    """The number of qubits and the gates of a ``qiskit.QuantumCircuit``.

    See :meth:`ketformer.quantum.Circuit.from_qiskit`.
    """
    qiskit = require_package("qiskit", "qiskit", "reading a Qiskit circuit")
    if not isinstance(circuit, qiskit.QuantumCircuit):
        raise KetformerError(f"not a Qiskit circuit: {type(circuit).__name__}")
    if not circuit.num_qubits:
        raise KetformerError("the circuit has no qubits")
    # The transpiler without optimisation: it neither moves qubits nor merges gates.
    plain = _quietly(
        lambda: qiskit.transpile(circuit, basis_gates=_BASIS, optimization_level=0),
        "Qiskit cannot write this circuit in gates",
    )
    gates: list[Gate] = phases(_terms(plain.global_phase, "the global phase"))
    measured: set[Any] = set()
    for instruction in plain.data:
        operation, qubits = instruction.operation, instruction.qubits
        if operation.name == "measure":
            measured |= set(qubits)
        elif operation.name not in _NOTHING:
            if measured & set(qubits):
                raise KetformerError(
                    f"{operation.name} follows a measurement of its qubit; only final "
                    "measurements can be dropped"
                )
            gates += _gates(operation, [plain.find_bit(qubit).index for qubit in qubits])
    return plain.num_qubits, tuple(gates)


def read_openqasm(text: str) -> tuple[int, tuple[Gate, ...]]:
    """The number of qubits and the gates of a program, read by Qiskit's importers.

    See :meth:`ketformer.quantum.Circuit.from_qasm`. No other file is opened: of includes, only
    ``qelib1.inc`` and ``stdgates.inc`` are known, which come with the importers.
    """
    code = _COMMENT.sub(" ", text)
    version = _VERSION.match(code)
    if large := [n for n in _COUNT.findall(code) if int(n.replace("_", "")) > _MOST]:
        raise KetformerError(f"OpenQASM: the number {large[0]} is larger than {_MOST}")
    if version and version[1] not in ("2", "3"):
        raise KetformerError(f"OpenQASM {version[1]} is unknown; versions 2 and 3 can be read")
    require_package("qiskit", "qiskit", "reading OpenQASM")
    if version and version[1] == "2":
        from qiskit import qasm2

        def load() -> Any:
            known = qasm2.LEGACY_CUSTOM_INSTRUCTIONS
            return qasm2.loads(text, include_path=(), custom_instructions=known)

    else:
        require_package("qiskit_qasm3_import", "qiskit", "reading OpenQASM 3")
        from qiskit import qasm3

        def load() -> Any:
            return qasm3.loads(text)

    return read_qiskit(_quietly(load, "OpenQASM"))


def _quietly(make: Callable[[], Any], what: str) -> Any:
    """Call Qiskit, and make one line of whatever it raises."""
    from qiskit.exceptions import QiskitError

    printed = io.StringIO()  # the parser of OpenQASM 3 prints what is wrong
    with warnings.catch_warnings(), redirect_stderr(printed):
        warnings.simplefilter("ignore")  # about Qiskit's own use of its functions
        try:
            return make()
        except QiskitError as error:
            said = error.message
        except Exception:  # the importers' errors have no common class
            said = printed.getvalue()
    reason = " ".join(said.split())[:200] or "it cannot be read"
    raise KetformerError(f"{what}: {reason}")


def _gates(operation: Any, qubits: list[int]) -> Iterator[Gate]:
    if operation.name == "u":  # P(phi) RY(theta) P(lambda)
        theta, phi, lam = operation.params
        for name, angle in (("P", lam), ("RY", theta), ("P", phi)):
            yield from gates_of_terms(name, qubits, 0, _terms(angle, "the angle of u"))
        return
    if operation.name not in _GATES:
        raise KetformerError(
            f"{operation.name} is not a gate: classical control, resets and other instructions "
            "that are not unitary cannot be read"
        )
    name, controls = _GATES[operation.name]
    terms = [_terms(angle, f"the angle of {operation.name}") for angle in operation.params]
    yield from gates_of_terms(name, qubits, controls, terms[0] if terms else None)


def _terms(angle: Any, what: str) -> list[Term]:
    """An angle as ``[(name, factor), …, (None, number)]``; it must be affine."""
    from qiskit.circuit import Parameter, ParameterExpression

    if isinstance(angle, Parameter):
        return [(angle.name, 1.0)]
    if not isinstance(angle, ParameterExpression):
        return [(None, float(angle))]
    # A set: its order changes from run to run.
    slopes = {p.name: angle.gradient(p) for p in sorted(angle.parameters, key=lambda p: p.name)}
    if any(isinstance(s, ParameterExpression) and s.parameters for s in slopes.values()):
        raise KetformerError(f"{what} is {angle}, which is not affine in its parameters")
    try:
        start = angle.bind(dict.fromkeys(angle.parameters, 0.0))
        return [*((name, float(s)) for name, s in slopes.items()), (None, float(start))]
    except TypeError:
        raise KetformerError(f"{what} is {angle}, which is not real") from None

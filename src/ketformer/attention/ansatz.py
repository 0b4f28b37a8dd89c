"""The ``ansatz`` option of a mechanism: a name, a circuit, or a circuit as OpenQASM text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ketformer.attention.checks import check_layers, check_qubits, require_choice
from ketformer.errors import KetformerError
from ketformer.quantum import (
    Circuit,
    Entanglement,
    entangling_ansatz,
    rotation_ring_ansatz,
    rx_ring_ansatz,
    strongly_entangling_ansatz,
)
from ketformer.quantum.qasm import to_qasm

OPTION = "ansatz"
_SUFFIX = ".qasm"
_PROGRAM = "OPENQASM"

#: The ansätze with a name: what makes them of qubits, layers and entanglement.
ANSATZE: dict[str, Callable[[int, int, Entanglement], Circuit]] = {
    "rotation_ring": lambda n, layers, links: rotation_ring_ansatz(n, layers, entanglement=links),
    "entangling": lambda n, layers, links: entangling_ansatz(n, layers, entanglement=links),
    "rx_ring": rx_ring_ansatz,
    "strongly_entangling": strongly_entangling_ansatz,
}


def own_circuit(ansatz: str | Circuit) -> Circuit | None:
    """The circuit that the option holds, or None for a name.

    Raises:
        KetformerError: a text that is no circuit, a circuit without angles, or an unknown name.
    """
    if isinstance(ansatz, str):
        if not ansatz.lstrip().startswith(_PROGRAM):
            if ansatz.endswith(_SUFFIX):
                raise KetformerError(
                    f"ansatz {ansatz!r} is a file, which only the command line and settings read; "
                    "pass Circuit.from_qasm(text)"
                )
            require_choice(OPTION, ansatz, tuple(ANSATZE))
            return None
        ansatz = Circuit.from_qasm(ansatz)
    check_qubits(ansatz.n_qubits)
    if not ansatz.parameters:
        raise KetformerError("the ansatz has no free angle, so there is nothing to train")
    return ansatz


def build_ansatz(
    ansatz: str | Circuit, n_qubits: int, layers: int, entanglement: Entanglement
) -> Circuit:
    """The circuit for a mechanism's qubits.

    Args:
        ansatz: a name of :data:`ANSATZE`, a circuit, or its OpenQASM text.
        n_qubits: qubits of the mechanism; a circuit must have as many.
        layers: repetitions in a named ansatz; 1 for a circuit.
        entanglement: gates between qubits in a named ansatz; ``ring`` for a circuit.

    Raises:
        KetformerError: the circuit does not fit, or as in :func:`own_circuit`.
    """
    circuit = own_circuit(ansatz)
    if circuit is None:
        assert isinstance(ansatz, str)
        return ANSATZE[ansatz](n_qubits, check_layers(layers, n_qubits), entanglement)
    if circuit.n_qubits != n_qubits:
        raise KetformerError(f"the ansatz has {circuit.n_qubits} qubits, {n_qubits} are needed")
    if layers != 1:
        raise KetformerError("layers repeats a named ansatz; a circuit brings its own")
    if entanglement != "ring":
        raise KetformerError("entanglement changes a named ansatz; a circuit brings its own")
    return circuit


def as_plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with a circuit written as text, as JSON needs; those of a hybrid's parts too."""
    return {
        name: as_plain_options(value)
        if isinstance(value, Mapping)
        else to_qasm(value)
        if isinstance(value, Circuit)
        else value
        for name, value in options.items()
    }


def with_files_read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with ``ansatz: my.qasm`` replaced by the program in that file, as our own text.

    Call it on what a user typed, not on what a downloaded configuration says.

    Raises:
        KetformerError: the file is missing or is no circuit.
    """
    read = dict(options)
    for name, value in options.items():
        if isinstance(value, Mapping):
            read[name] = with_files_read(value)
        elif name == OPTION and isinstance(value, str) and value.endswith(_SUFFIX):
            read[name] = _program_in(Path(value))
    return read


def _program_in(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise KetformerError(f"cannot read the ansatz {path}: {reason}") from None
    try:
        return to_qasm(Circuit.from_qasm(text))
    except KetformerError as error:
        raise KetformerError(f"the ansatz {path}: {error}") from None

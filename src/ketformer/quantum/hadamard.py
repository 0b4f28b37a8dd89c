"""The Hadamard test: the overlap of two prepared states, measured on one ancilla."""

from __future__ import annotations

from dataclasses import replace

from ketformer.quantum.circuit import Circuit, Gate

#: Prefixes of the two circuits' angle names in a test.
BRA, KET = "bra_", "ket_"


def hadamard_test(bra: Circuit, ket: Circuit) -> Circuit:
    """A circuit whose last qubit, the ancilla, has <Z> = Re<bra|ket>.

    It applies H on the ancilla, ``bra`` where it is 0, ``ket`` where it is 1, and H again
    (arXiv 2502.19214). Gates that both circuits share need no control. If the circuits differ
    only in their angles, each pair of rotations costs two CNOTs, no gate acts on more than two
    qubits (if none in the circuits does), and the gates after the last such pair, which cancel in
    the overlap, are left out.

    Circuits of different form are controlled gate by gate; their gates may then have at most
    one control if the test is to be decomposed.

    Args:
        bra: circuit that prepares |bra> from |0…0>; its angles become ``bra_…``.
        ket: circuit that prepares |ket> on as many qubits; its angles become ``ket_…``.

    Raises:
        ValueError: the circuits have different numbers of qubits.
    """
    if bra.n_qubits != ket.n_qubits:
        raise ValueError(f"an overlap of {bra.n_qubits} and {ket.n_qubits} qubits is not defined")
    ancilla = bra.n_qubits
    left, right = bra.renamed(BRA), ket.renamed(KET)
    circuit = Circuit(ancilla + 1).h(ancilla)
    if [_form(g) for g in left.gates] != [_form(g) for g in right.gates]:
        circuit = circuit.x(ancilla).then(left.controlled(ancilla))
        return circuit.x(ancilla).then(right.controlled(ancilla)).h(ancilla)

    pairs = list(zip(left.gates, right.gates, strict=True))
    while pairs and pairs[-1][0] == pairs[-1][1]:
        pairs.pop()
    gates = []
    for one, other in pairs:
        gates += [one] if one == other else _either(one, other, ancilla)
    return circuit.then(Circuit(ancilla + 1, tuple(gates))).h(ancilla)


def _either(zero: Gate, one: Gate, ancilla: int) -> list[Gate]:
    """One of two rotations that differ only in their angle, selected by the ancilla."""
    assert zero.angle is not None
    assert one.angle is not None
    if zero.name == "P":
        # A rotation about Z, and half the angle as a phase, which belongs to the controls; without
        # controls to the ancilla's two values, between which only the difference counts.
        turned = _either(replace(zero, name="RZ"), replace(one, name="RZ"), ancilla)
        if not zero.controls:
            phases = (one.angle.times(0.5), zero.angle.times(-0.5))
            return [*turned, *(Gate("RZ", ancilla, angle=angle) for angle in phases)]
        *others, last = zero.controls
        bra, ket = (
            Gate("P", last, tuple(others), angle.times(0.5)) for angle in (zero.angle, one.angle)
        )
        return [*turned, *_either(bra, ket, ancilla)]
    # Half of each, then half of the first and minus half of the second between two flips, which
    # reverse the sign of both if the ancilla is 1: X, or Z where X commutes with the rotation.
    flip = Gate("Z" if zero.name in ("RX", "RXX") else "X", zero.target, (ancilla,))
    halves = [replace(g, angle=g.angle and g.angle.times(0.5)) for g in (zero, one)]
    back = replace(halves[1], angle=one.angle.times(-0.5))
    return [*halves, flip, halves[0], back, flip]


def _form(gate: Gate) -> tuple[str, tuple[int, ...]]:
    return gate.name, gate.qubits

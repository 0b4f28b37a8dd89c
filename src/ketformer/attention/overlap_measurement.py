"""Ways to measure the overlaps of queries and keys: a circuit for each pair, or for each state."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ketformer.attention.base import SCORE
from ketformer.attention.pair_scores import as_queries, pairs_of
from ketformer.errors import NotOfferedError
from ketformer.quantum import (
    Circuit,
    Expect,
    Experiment,
    PauliStrings,
    compute_uncompute,
    hadamard_test,
    product_state,
    reference_test,
    swap_test,
)
from ketformer.quantum.hadamard import BRA, KET

QUERY, KEY = "query", "key"


@dataclass(frozen=True)
class Measured:
    """What a measurement's experiments gave, and of which states.

    Attributes:
        circuit: of a query or key, with P angles on n qubits.
        angles: of queries and keys, ``[2, B, H, T, P]``.
        outcomes: of the experiments, for each name ``[B, N, H, S]``.
        values: ``[B, H, T, Dv]``.
        expect: runs what depends on the outcomes.
    """

    circuit: Circuit
    angles: Tensor
    outcomes: dict[str, Tensor]
    values: Tensor
    expect: Expect


class Measurement:
    """A way to measure all overlaps of T queries and keys.

    Queries and keys are prepared by the same circuit with angles of their own.
    """

    #: Whether it gives the overlap rather than its square, which has lost the sign.
    keeps_sign: ClassVar[bool] = True
    #: Whether it runs circuits for each pair i >= j, T(T + 1)/2 of them, or for each of 2T states.
    of_pairs: ClassVar[bool] = True
    #: Whether states may be complex: of their overlaps, scores have the real part.
    takes_complex: ClassVar[bool] = False

    def check(self, circuit: Circuit) -> None:
        """Refuse a circuit that cannot be measured like this.

        Raises:
            NotOfferedError: saying why.
        """
        if not (self.takes_complex or circuit.is_real):
            raise NotOfferedError(
                "this measurement needs real states, which the ansatz does not make; hadamard "
                "measures the real part of overlaps"
            )

    def experiments(self, circuit: Circuit, angles: Tensor) -> dict[str, list[Experiment]]:
        """What hardware runs: for each name, one experiment per head.

        Args:
            circuit: of a query or key, with P angles on n qubits.
            angles: of queries and keys, ``[2, B, H, T, P]``.
        """
        raise NotImplementedError  # abstract

    def states(self, measured: Measured) -> tuple[Tensor, Tensor]:
        """Queries and keys ``[B, H, T, D]`` whose dot products are the overlaps.

        Without the sign they are its absolute values, also where shots make a square negative.
        """
        raise NotImplementedError  # abstract


class HadamardTests(Measurement):
    """A Hadamard test for each pair of positions, as published."""

    takes_complex = True

    def experiments(self, circuit: Circuit, angles: Tensor) -> dict[str, list[Experiment]]:
        """``score``: Z of the ancilla."""
        ancilla = PauliStrings(("I" * circuit.n_qubits + "Z",))
        return _of_pairs(hadamard_test(circuit, circuit), circuit, angles, ancilla, _waves(circuit))

    def states(self, measured: Measured) -> tuple[Tensor, Tensor]:
        """The measured overlaps as queries, and unit vectors as keys to read them off."""
        return as_queries(measured.outcomes[SCORE].squeeze(-1), measured.values)


class SwapTests(HadamardTests):
    """A swap test for each pair, on 2n + 1 qubits."""

    keeps_sign = False
    takes_complex = False

    def experiments(self, circuit: Circuit, angles: Tensor) -> dict[str, list[Experiment]]:
        """``score``: Z of the ancilla, the squared overlap."""
        ancilla = PauliStrings(("I" * (2 * circuit.n_qubits) + "Z",))
        return _of_pairs(swap_test(circuit, circuit), circuit, angles, ancilla)

    def states(self, measured: Measured) -> tuple[Tensor, Tensor]:
        """The roots of the measured squares as queries, and unit vectors as keys."""
        return as_queries(_root(measured.outcomes[SCORE].squeeze(-1)), measured.values)


class ComputeUncompute(HadamardTests):
    """For each pair the key's circuit and the inverse of the query's, without an ancilla."""

    keeps_sign = False
    takes_complex = False

    def experiments(self, circuit: Circuit, angles: Tensor) -> dict[str, list[Experiment]]:
        """``score``: all strings of I and Z, whose sum gives the probability of all zeros."""
        strings = _strings_of("IZ", circuit.n_qubits)[1:]
        test = compute_uncompute(circuit, circuit)
        return _of_pairs(test, circuit, angles, PauliStrings(strings))

    def states(self, measured: Measured) -> tuple[Tensor, Tensor]:
        """The roots of the measured probabilities as queries, and unit vectors as keys."""
        zeros = (1 + measured.outcomes[SCORE].sum(-1)) / 2**measured.circuit.n_qubits
        return as_queries(_root(zeros), measured.values)


class Tomography(Measurement):
    """One circuit for each state, which gives its amplitudes with their signs."""

    of_pairs = False

    def experiments(self, circuit: Circuit, angles: Tensor) -> dict[str, list[Experiment]]:
        """``query``, ``key``: a Hadamard test against |0…0>, all of whose qubits are measured."""
        test = reference_test(circuit)
        ordered = _ordered(test, {KET: circuit.parameters}, angles)
        strings = PauliStrings(tuple(s + "Z" for s in _strings_of("IX", circuit.n_qubits)))
        return of_states(test, ordered, strings, _waves(circuit))

    def states(self, measured: Measured) -> tuple[Tensor, Tensor]:
        """The measured amplitudes, whose dot products are unbiased."""
        query, key = (measured.outcomes[name].transpose(1, 2) for name in (QUERY, KEY))
        return query, key


class ProductStates(Measurement):
    """X and Z of each qubit of each state, and a Hadamard test for the state's sign.

    Where nothing is entangled, 2n expectations give each qubit's angle up to a full turn, and so
    the state up to its sign. The sign is that of a Hadamard test against the state with the
    angles found, whose overlap is 1 or -1 up to the shot noise of the angles: few shots tell.
    """

    of_pairs = False

    def check(self, circuit: Circuit) -> None:
        """Refuse gates between qubits, and complex states."""
        super().check(circuit)
        if any(len(gate.qubits) > 1 for gate in circuit.gates):
            raise NotOfferedError(
                "measurement product needs states without entanglement (entanglement=none); "
                "tomography measures the others"
            )

    def experiments(self, circuit: Circuit, angles: Tensor) -> dict[str, list[Experiment]]:
        """``query``, ``key``: Z of each qubit, then X of each: two circuits for each state."""
        return of_states(circuit, angles, product_strings("ZX", circuit.n_qubits))

    def states(self, measured: Measured) -> tuple[Tensor, Tensor]:
        """The product states of the angles found, times their signs."""
        circuit, expect = measured.circuit, measured.expect
        found_state = Circuit(circuit.n_qubits)
        for qubit in range(circuit.n_qubits):
            found_state = found_state.ry(qubit, f"found{qubit}")
        test = hadamard_test(found_state, circuit)
        ancilla = PauliStrings(("I" * circuit.n_qubits + "Z",))
        found = []
        for name, own in zip((QUERY, KEY), measured.angles.detach(), strict=True):
            turned = angles_found(measured.outcomes[name]).transpose(1, 2)  # [B, H, T, n]
            columns = torch.cat([turned.detach().to(own), own], dim=-1)
            columns = _ordered(
                test, {BRA: found_state.parameters, KET: circuit.parameters}, columns
            )
            heads = [expect(Experiment(test, each, ancilla)) for each in columns.unbind(1)]
            sign = torch.where(torch.stack(heads, dim=1) < 0, -1.0, 1.0)  # [B, H, T, 1]
            found.append(product_state(turned) * sign.to(turned))
        query, key = found
        return query, key


#: Every way by name; the first is the published one.
MEASUREMENTS: dict[str, Measurement] = {
    "hadamard": HadamardTests(),
    "tomography": Tomography(),
    "product": ProductStates(),
    "swap": SwapTests(),
    "uncompute": ComputeUncompute(),
}


def _of_pairs(
    test: Circuit,
    circuit: Circuit,
    angles: Tensor,
    strings: PauliStrings,
    frequencies: tuple[float, ...] | None = None,
) -> dict[str, list[Experiment]]:
    query, key = angles  # [B, H, T, P]
    row, column = pairs_of(query[:, 0])
    both = torch.cat([query[:, :, row], key[:, :, column]], dim=-1)
    both = _ordered(test, {BRA: circuit.parameters, KET: circuit.parameters}, both)
    return {SCORE: [Experiment(test, each, strings, frequencies) for each in both.unbind(1)]}


def _waves(circuit: Circuit) -> tuple[float, ...] | None:
    """The frequency of an overlap in each angle, where each is that of one rotation as it is.

    Amplitudes are then linear in the half angle's sine and cosine, and each angle occurs in one of
    the two states. Otherwise None, and the gates decide.
    """
    free = [gate for gate in circuit.gates if gate.angle and gate.angle.is_parameter]
    once = len(free) == len(circuit.parameters)
    simple = all(gate.is_rotation and gate.angle and gate.angle.is_plain for gate in free)
    return (0.5,) if once and simple else None


def product_strings(axes: str, n_qubits: int) -> PauliStrings:
    """The first of two axes on each qubit, then the second on each."""
    places = ((axis, qubit) for axis in axes for qubit in range(n_qubits))
    return PauliStrings(tuple("I" * q + axis + "I" * (n_qubits - 1 - q) for axis, q in places))


def angles_found(outcomes: Tensor) -> Tensor:
    """Angles ``[..., n]`` whose cosines and sines are outcomes ``[..., 2n]``, up to their norms."""
    cosines, sines = outcomes.chunk(2, dim=-1)
    return torch.atan2(sines, cosines)


def of_states(
    circuit: Circuit,
    angles: Tensor,
    strings: PauliStrings,
    frequencies: tuple[float, ...] | None = None,
) -> dict[str, list[Experiment]]:
    """``query`` and ``key`` for each token and head, of angles ``[2, B, H, T, P]``."""
    return {
        name: [Experiment(circuit, each, strings, frequencies) for each in own.unbind(1)]
        for name, own in zip((QUERY, KEY), angles, strict=True)
    }


def _ordered(test: Circuit, names: dict[str, tuple[str, ...]], angles: Tensor) -> Tensor:
    """Columns in the order of the test's parameters; given are each prefix's angles in turn."""
    given = [f"{prefix}{name}" for prefix, own in names.items() for name in own]
    return angles[..., [given.index(name) for name in test.parameters]]


def _strings_of(letters: str, n_qubits: int) -> tuple[str, ...]:
    return tuple(map("".join, itertools.product(letters, repeat=n_qubits)))


def _root(squares: Tensor) -> Tensor:
    """Roots of squares that shots may have made negative; the gradient at 0 is 0."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1).sqrt(), 0)

"""Which circuits measure a set of Pauli strings, and what their outcomes say of each string."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ketformer.quantum.circuit import Circuit
from ketformer.quantum.pauli import PauliStrings


@dataclass(frozen=True)
class Setting:
    """Strings that one circuit measures together, because they agree on every qubit's axis.

    Attributes:
        members: indices of the strings.
        axes: the axis of each qubit, a letter of X, Y, Z; I where none of them looks.
    """

    members: tuple[int, ...]
    axes: str

    @property
    def rotation(self) -> Circuit:
        """Gates that turn each axis onto Z; to append to the circuit that is measured."""
        circuit = Circuit(len(self.axes))
        for qubit, axis in enumerate(self.axes):
            if axis == "X":
                circuit = circuit.ry(qubit, -math.pi / 2)
            elif axis == "Y":
                circuit = circuit.rx(qubit, math.pi / 2)
        return circuit


def measurement_settings(strings: PauliStrings) -> tuple[Setting, ...]:
    """The strings in groups that agree qubit by qubit, each string in the first that fits it."""
    groups: list[tuple[list[int], str]] = []
    for index, string in enumerate(strings.strings):
        for place, (members, axes) in enumerate(groups):
            if all(a == b or "I" in (a, b) for a, b in zip(axes, string, strict=True)):
                joint = "".join(b if a == "I" else a for a, b in zip(axes, string, strict=True))
                groups[place] = ([*members, index], joint)
                break
        else:
            groups.append(([index], string))
    return tuple(Setting(tuple(members), axes) for members, axes in groups)


def support(strings: PauliStrings) -> PauliStrings:
    """Z on every qubit that a string acts on: the string itself, once its axes are turned."""
    return PauliStrings(
        tuple("".join("I" if c == "I" else "Z" for c in s) for s in strings.strings)
    )


def parities(outcomes: Tensor, strings: PauliStrings) -> Tensor:
    """Mean of (-1)^(number of ones that a string of I and Z sees).

    Args:
        outcomes: ``[..., shots]``, basis indices.
        strings: ``S`` strings of I and Z.

    Returns:
        ``[..., S]``, float64.
    """
    columns = []
    for string in strings.strings:
        seen = torch.zeros_like(outcomes)
        for qubit, letter in enumerate(string):
            if letter == "Z":
                seen ^= outcomes >> (strings.n_qubits - 1 - qubit)
        columns.append(1 - 2 * (seen & 1).double().mean(dim=-1))
    return torch.stack(columns, dim=-1)

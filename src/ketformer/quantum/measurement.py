"""Measurement of Pauli strings: grouping by circuit, and expectations from outcomes."""

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
        axes: the axis of each qubit, X, Y or Z; I where no string acts.
    """

    members: tuple[int, ...]
    axes: str

    @property
    def rotation(self) -> Circuit:
        """Gates that rotate each axis onto Z, to append to the measured circuit."""
        circuit = Circuit(len(self.axes))
        for qubit, axis in enumerate(self.axes):
            if axis == "X":
                circuit = circuit.ry(qubit, -math.pi / 2)
            elif axis == "Y":
                circuit = circuit.rx(qubit, math.pi / 2)
        return circuit


def measurement_settings(strings: PauliStrings) -> tuple[Setting, ...]:
    """Groups of strings that agree qubit by qubit; each string joins the first group that fits."""
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
    """Z on every qubit that a string acts on: the string after its axes are rotated onto Z."""
    return PauliStrings(
        tuple("".join("I" if c == "I" else "Z" for c in s) for s in strings.strings)
    )


def parities(outcomes: Tensor, strings: PauliStrings) -> Tensor:
    """Mean over the shots of (-1)^(number of ones on the qubits where the string has Z).

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

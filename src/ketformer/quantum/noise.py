"""The noise model of all backends, and exact simulation under noise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.circuit import FIXED_GATES, ROTATIONS, Circuit, Gate
from ketformer.quantum.pauli import LETTERS, PauliStrings

# For each rotation, the two letters whose expectations it mixes.
_TURNED = {"RX": ("Y", "Z"), "RY": ("Z", "X"), "RZ": ("X", "Y")}
_REVERSED = {"X": "YZ", "Y": "XZ", "Z": "XY"}


@dataclass(frozen=True)
class Noise:
    """Error probabilities of a device.

    Circuits are first decomposed into one-qubit gates and CNOTs, so that the numbers
    mean the same for every circuit and backend.

    Attributes:
        one_qubit: probability that a one-qubit gate is followed by a Pauli error; X, Y
            and Z are equally likely.
        two_qubit: the same for a CNOT, with fifteen equally likely errors on two qubits.
        readout: probability that a measured bit is read as its opposite.

    Raises:
        KetformerError: a number is not a probability.
    """

    one_qubit: float = 0.0
    two_qubit: float = 0.0
    readout: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= (value := getattr(self, field.name)) <= 1:
                raise KetformerError(f"{field.name} noise must be a probability, got {value}")

    @property
    def on_gates(self) -> bool:
        """Whether gates have errors."""
        return self.one_qubit > 0 or self.two_qubit > 0


def run_noisy(circuit: Circuit, angles: Tensor, noise: Noise) -> Tensor:
    """The mixed state that a noisy circuit prepares from |0…0>, as all its Pauli expectations.

    A density matrix in the basis of Pauli strings is a real vector. Rotations mix pairs
    of its entries, CNOT permutes them up to sign, and depolarising noise shrinks those
    whose strings act on the gate's qubits.

    Args:
        circuit: one-qubit gates and CNOTs, see :func:`~ketformer.quantum.decompose`.
        angles: ``[..., P]`` in radians.
        noise: noise on gates; readout errors are ignored, as they belong to the measurement.

    Returns:
        ``[..., 4^n]``: entry ``sum_i code_i 4^(n-1-i)`` belongs to the string with those
        letters, I, X, Y, Z being 0, 1, 2, 3.

    Raises:
        ValueError: another gate.
    """
    if wrong := {g.label for g in circuit.gates} - {*ROTATIONS, *FIXED_GATES, "CX"}:
        raise ValueError(f"{', '.join(sorted(wrong))}: decompose the circuit first")
    n = circuit.n_qubits
    column = {name: i for i, name in enumerate(circuit.parameters)}
    one = torch.tensor([1.0, 0, 0, 1], dtype=angles.dtype, device=angles.device)
    state = one
    for _ in range(n - 1):
        state = torch.kron(state, one)
    state = state.expand(*angles.shape[:-1], -1)
    for gate in circuit.gates:
        # A Pauli error with probability p on two qubits mixes in 16 p / 15 of the maximally
        # mixed state; on one qubit 4 p / 3.
        keep = 1 - (16 * noise.two_qubit / 15 if gate.controls else 4 * noise.one_qubit / 3)
        if gate.controls:
            state = _cnot(state, gate, n, keep)
        else:
            angle = None
            if gate.angle is not None:
                if isinstance(gate.angle.value, str):
                    angle = angles[..., column[gate.angle.value]] * gate.angle.factor
                    angle = angle + gate.angle.offset
                else:
                    angle = angles.new_tensor(gate.angle.bound({}))
            state = _one_qubit(state, gate, angle, keep)
    return state


def noisy_expectations(state: Tensor, strings: PauliStrings) -> Tensor:
    """Expectations ``[..., S]`` of the strings, read from the result of :func:`run_noisy`."""
    places = 4 ** torch.arange(strings.n_qubits - 1, -1, -1)
    return state[..., (strings.codes.long() * places).sum(-1).to(state.device)]


def noisy_probabilities(state: Tensor) -> Tensor:
    """Probability ``[..., 2^n]`` of each outcome in the computational basis."""
    n = (state.shape[-1].bit_length() - 1) // 2
    batch = state.shape[:-1]
    for qubit in range(n):
        # Keep I and Z of each qubit in turn: (I + Z)/2 is the outcome 0, (I - Z)/2 is 1.
        grid = state.reshape(*batch, 2**qubit, 4, -1)
        same, sign = grid[..., 0, :], grid[..., 3, :]
        state = torch.stack([same + sign, same - sign], dim=-2).reshape(*batch, -1) / 2
    return state.clamp_min(0)


def read_out(probabilities: Tensor, error: float) -> Tensor:
    """Probabilities ``[..., 2^n]`` after each bit is misread with probability ``error``."""
    n = probabilities.shape[-1].bit_length() - 1
    batch = probabilities.shape[:-1]
    for qubit in range(n):
        grid = probabilities.reshape(*batch, 2**qubit, 2, -1)
        probabilities = ((1 - error) * grid + error * grid.flip(-2)).reshape(*batch, -1)
    return probabilities


def _one_qubit(state: Tensor, gate: Gate, angle: Tensor | None, keep: float) -> Tensor:
    grid = state.reshape(*state.shape[:-1], 4**gate.target, 4, -1)
    entries = dict(zip(LETTERS, grid.unbind(-2), strict=True))
    if gate.name == "H":
        entries |= {"X": entries["Z"], "Z": entries["X"], "Y": -entries["Y"]}
    elif gate.name in _REVERSED:
        entries |= {letter: -entries[letter] for letter in _REVERSED[gate.name]}
    else:
        assert angle is not None
        cos, sin = (f(angle)[..., None, None] for f in (torch.cos, torch.sin))
        a, b = _TURNED[gate.name]
        entries |= {
            a: cos * entries[a] - sin * entries[b],
            b: sin * entries[a] + cos * entries[b],
        }
    turned = [entries["I"], *(keep * entries[letter] for letter in "XYZ")]
    return torch.stack(turned, dim=-2).reshape(*state.shape[:-1], -1)


def _cnot(state: Tensor, gate: Gate, n: int, keep: float) -> Tensor:
    (control,), target = gate.controls, gate.target
    batch = len(state.shape) - 1
    grid: Tensor = state.reshape(*state.shape[:-1], *(4,) * n).movedim(
        (batch + control, batch + target), (-2, -1)
    )
    source, sign = _CNOT
    # The first of the sixteen is II, which noise leaves alone.
    scale = torch.cat([sign[:1], sign[1:] * keep]).to(state)
    flat = grid.flatten(-2)[..., source.to(state.device)] * scale
    grid = flat.unflatten(-1, (4, 4)).movedim((-2, -1), (batch + control, batch + target))
    return grid.reshape(state.shape)


def _cnot_table() -> tuple[Tensor, Tensor]:
    """CNOT† P CNOT for the sixteen strings on control and target: index of the string, and sign.

    X on the control spreads to the target, Z on the target to the control.
    """
    bits = {"I": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
    letters = {pair: letter for letter, pair in bits.items()}
    source, sign = [], []
    for a in LETTERS:
        for b in LETTERS:
            (xa, za), (xb, zb) = bits[a], bits[b]
            source.append(
                4 * LETTERS.index(letters[xa, za ^ zb]) + LETTERS.index(letters[xb ^ xa, zb])
            )
            sign.append(-1.0 if xa and zb and (xb ^ za ^ 1) else 1.0)
    return (
        torch.tensor(source, device="cpu"),
        torch.tensor(sign, dtype=torch.float64, device="cpu"),
    )


_CNOT = _cnot_table()

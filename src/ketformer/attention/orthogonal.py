"""Scores and values from products of rotations: orthogonal layers on unary states."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.angles import add_angles
from ketformer.attention.base import SCORE, CommonOptions
from ketformer.attention.checks import require_choice
from ketformer.attention.givens import Layout, Rotations, loader, loader_angles
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.unit_heads import UnitHeads, Values
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, Experiment, PauliStrings, beam_splitter
from ketformer.quantum.circuit import Angle

Entanglement = Literal["rbs", "none"]
_MEASURED = ("square", "absolute", "dot")


class Orthogonal(UnitHeads):
    """Score (x̂ᵀ W x̂')², values V x̂; x̂ = x/|x| is a head's part of the token, W and V rotate.

    Orthogonal layers of arXiv 2209.08167: W and V are products of Givens rotations, which circuits
    of RBS gates perform on unary states, where x_i is the amplitude of qubit i alone being 1. That
    takes no states of 2^d amplitudes: O(d log d) for a ``butterfly``, O(d²) for a ``pyramid``.

    The paper has the square as score; its softmax sees numbers in [0, 1] and is flat, so scores are
    multiplied by d_head here (``temperature`` d_head undoes that). The code we know takes the root,
    ``score="absolute"``, and ``values="absolute"``, since measured probabilities have no signs.
    ``score="dot"`` keeps the sign too and is the one that a fused kernel runs. Signs can be
    measured: half of the amplitude waits on one more qubit r, and <X_i X_r> is then entry i.

    Parts of the token, one for each head, and the linear output map are ours. The compound layers
    of that paper mix positions by an orthogonal map, which cannot be causal
    (:func:`ketformer.attention.givens.compound`).

    Args:
        layout: ``butterfly``, for any width (the paper's needs a power of two), or ``pyramid``.
        values: ``signed``, or ``absolute`` as released.
        entanglement: ``rbs``, or ``none``: no gate is left, so W and V are the identity and only
            the output map is trained.
        train_circuit: False leaves the rotations at random angles: the ablation that shows what
            training them gains.

    Other options as in :class:`~ketformer.attention.Attention`; ``bias`` changes nothing.

    Raises:
        KetformerError: an invalid size or option.
    """

    paper = "2209.08167"
    twins = ("classical_bilinear",)
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        layout: Layout = "butterfly",
        values: Values = "signed",
        entanglement: Entanglement = "rbs",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, values=values, **common)
        require_choice("layout", layout, get_args(Layout))
        require_choice("entanglement", entanglement, get_args(Entanglement))
        if self.head_dim < 2:
            raise KetformerError("a rotation needs heads that are at least 2 wide")
        self.rotations: Rotations | None = None
        if entanglement == "rbs":
            self.rotations = Rotations(self.head_dim, layout)
            angles = torch.empty(2, num_heads, self.rotations.n_angles)
            add_angles(self, "angles", angles, train_circuit)
        self.reset_parameters()

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """A head as wide as there are qubits, at least 2, with probabilities and with signs."""
        size = {"hidden_size": max(n_qubits, 2), "num_heads": 1}
        return [{**size, "values": "absolute"}, {**size, "score": "dot", "layout": "pyramid"}]

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds of classical attention for all pairs i >= j, and of its maps to k and v."""
        return length * (length + 1) // 2 * hidden_size + 2 * length * hidden_size**2

    def reset_parameters(self) -> None:
        """Draw the angles uniformly over a full turn."""
        super().reset_parameters()
        if self.rotations is not None:
            nn.init.uniform_(self.angles, 0, 2 * math.pi)

    def turned(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """The rotated vectors."""
        if self.rotations is None:
            return units, units
        score, value = self.rotations(units, self.angles)
        return score, value

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of entries turned by the position; measured scores come from circuits that did."""
        if self.expect is not None:
            return queries, keys
        return super().rotate(queries, keys, position_ids)

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``score`` for each pair i >= j, row by row, and ``value``.

        ``score`` loads x̂_j, applies W, unloads x̂_i and measures qubit 0: the probability of 1 is
        the square. ``value`` loads x̂, applies V and measures every qubit. With ``rotary`` positions
        more rotations turn pairs of entries between W and x̂_i.

        Raises:
            NotOfferedError: scores that are not a square, its root, or the product itself.
        """
        if self.score not in _MEASURED:
            raise NotOfferedError(
                f"circuits measure the scores {', '.join(_MEASURED)}, not {self.score}"
            )
        loads = loader_angles(self.units(hidden_states))  # [B, H, T, d - 1]
        row, column = _pairs(hidden_states)
        width, pairs = self.head_dim, len(row)
        load, unload = loader(width, "ket"), loader(width, "bra").inverse()
        w, v = (self.rotations.circuit(n) if self.rotations else Circuit(width) for n in "wv")
        evolution, phases = self._evolution(hidden_states, tokens)
        turns = (phases[:, column] - phases[:, row]).expand(len(loads), -1, -1)
        scores, values = [], []
        for head, own in enumerate(loads.unbind(1)):
            w_angles, v_angles = self._angles(head)
            bra = own[:, row].flip(-1)  # unloading uses the last angle first
            angles = [own[:, column], w_angles.expand(len(own), pairs, -1), turns, bra]
            circuit = load.then(w).then(evolution).then(unload)
            scores.append(_measuring(circuit, angles, 1, signed=self.score == "dot"))
            angles = [own, v_angles.expand(*own.shape[:2], -1)]
            signed = self.values == "signed"
            values.append(_measuring(load.then(v), angles, width, signed=signed))
        return {SCORE: scores, "value": values}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured products as queries, unit vectors as keys to read them off, and values."""
        units = self.units(hidden_states)
        there = units.any(dim=-1).to(units.dtype)  # a zero vector has no state
        products, values = outcomes[SCORE], outcomes["value"]
        if self.score != "dot":
            products = _root_of_share(products)
        if self.values == "absolute":
            values = _root_of_share(values)
        row, column = _pairs(hidden_states)
        products = products.squeeze(-1).transpose(1, 2) * there[..., row] * there[..., column]
        queries = products.new_zeros(*units.shape[:3], units.shape[2])
        queries[..., row, column] = products
        keys = torch.eye(units.shape[2], dtype=queries.dtype, device=queries.device)
        return queries, keys.expand_as(queries), values.transpose(1, 2) * there[..., None]

    def _angles(self, head: int) -> tuple[Tensor, Tensor]:
        """The angles of a head's W and V, both empty where there are no rotations."""
        if self.rotations is None:
            empty = self.out_proj.weight.new_empty(0)
            return empty, empty
        w, v = self.angles[:, head]
        return w, v

    def _evolution(
        self, hidden_states: Tensor, tokens: TokenInputs | None
    ) -> tuple[Circuit, Tensor]:
        """What ``rotary`` positions do to a state, and how far: ``[B or 1, T, gates]``."""
        circuit, count = Circuit(self.head_dim), self.head_dim // 2
        if self.positions != "rotary":
            return circuit, hidden_states.new_empty(1, hidden_states.shape[1], 0)
        for m in range(count):
            gate = beam_splitter(self.head_dim, m, m + count, Angle(f"phase{m}"))
            circuit = circuit.then(gate)
        return circuit, self.phases(hidden_states, tokens, count)


def _measuring(circuit: Circuit, angles: list[Tensor], count: int, *, signed: bool) -> Experiment:
    """The circuit on e_0, with the first ``count`` entries measured.

    Their probabilities are (1 - <Z_i>)/2. For their signs, half of the probability waits on one
    more qubit r, so that <X_i X_r> is twice the product of two amplitudes, 1/sqrt(2) and entry
    i/sqrt(2).
    """
    width = circuit.n_qubits
    if signed:
        start = Circuit(width + 1).x(width)
        start = start.then(beam_splitter(width + 1, width, 0, Angle(math.pi / 4)))
        strings = ["I" * i + "X" + "I" * (width - 1 - i) + "X" for i in range(count)]
    else:
        start = Circuit(width).x(0)
        strings = ["I" * i + "Z" + "I" * (width - 1 - i) for i in range(count)]
    whole = start.then(circuit, range(width))
    named = (("q", width), ("r", 1)) if signed else (("q", width),)
    return Experiment(
        whole, torch.cat(angles, dim=-1), PauliStrings(tuple(strings)), registers=named
    )


def _root_of_share(outcomes: Tensor) -> Tensor:
    """The amplitude's size from <Z> = 1 - 2 |amplitude|²; shots may leave less than nothing."""
    least = torch.finfo(outcomes.dtype).tiny  # the root has no slope at 0
    return ((1 - outcomes) / 2).clamp_min(least).sqrt()


def _pairs(hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column indices of the lower triangle of scores."""
    length = hidden_states.shape[1]
    row, column = torch.tril_indices(length, length, device=hidden_states.device)
    return row, column

"""QSANN: queries, keys and values are all measured on circuits (arXiv 2205.05625)."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.angles import add_angles
from ketformer.attention.ansatz import build_ansatz
from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_qubits, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.measured import amplitude_experiments, is_state
from ketformer.attention.observables import Observables, PauliObservables, by_token
from ketformer.attention.slices import Register, encoded_parts, encoded_width
from ketformer.errors import KetformerError
from ketformer.quantum import (
    Circuit,
    Entanglement,
    Experiment,
    PauliStrings,
    amplitude_encode,
    angle_encoding,
    apply,
    qubits_for,
    run,
)

Encoding = Literal["amplitude", "angle"]
QueryObservables = Literal["z0", "pauli"]


class QSANN(Attention):
    """Three circuits per head, shared by all positions, act on the encoded token.

    Queries and keys are <Z_0>, values are d_head Pauli expectations, and the score is
    -(q - k)². With ``z0``, a final RY on a wire other than 0 does not affect the
    measured qubit, so those angles of the query and key circuits have no gradient.
    That is how the mechanism was published.

    Args:
        encoding: ``amplitude`` as in the comparison of arXiv 2603.03318, or
            ``angle``: the token's entries are the angles of the encoder of
            arXiv 2205.05625.
        query_observables: ``z0``, or ``pauli``: d_head strings, drawn like the values'.
        n_qubits: register of the angle encoding; ceil(log2 d) by default, of the numbers that a
            head encodes. The amplitude encoding always uses that number and does not accept this
            option.
        ansatz: each head's circuit: a name (``entangling`` as published; ``rotation_ring``,
            ``rx_ring``, ``strongly_entangling``), a :class:`~ketformer.quantum.Circuit`, or its
            OpenQASM.
        layers: repetitions of (CNOT ring, RY on each wire) in each head's circuit; 1 as
            published.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates in the
            heads' circuits.
        train_circuit: False leaves the circuits at random angles: the ablation that shows
            what training them gains.
        register: ``token`` as published: each head encodes the whole token; or ``head``, which is
            ours: each head encodes its own slice of d / H numbers, in H times fewer amplitudes.

    Other options as in :class:`~ketformer.attention.qisa.QISA`. It has no linear map
    before the circuits, so ``bias`` changes nothing.
    """

    paper = "2205.05625"
    twins = ("classical_quadratic", "classical_bottleneck")
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        observables: Observables = "distinct",
        query_observables: QueryObservables = "z0",
        encoding: Encoding = "amplitude",
        n_qubits: int | None = None,
        ansatz: str | Circuit = "entangling",
        layers: int = 1,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        register: Register = "token",
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("encoding", encoding, get_args(Encoding))
        require_choice("entanglement", entanglement, get_args(Entanglement))
        require_choice("query_observables", query_observables, get_args(QueryObservables))
        if n_qubits is not None and encoding == "amplitude":
            raise KetformerError(
                'n_qubits requires encoding="angle"; for amplitudes hidden_size sets it'
            )
        self.register = register
        width = encoded_width(register, hidden_size, num_heads)
        n_qubits = check_qubits(qubits_for(width) if n_qubits is None else n_qubits)
        self.n_qubits = n_qubits
        self.encoder = angle_encoding(width, n_qubits) if encoding == "angle" else None
        self.circuit = build_ansatz(ansatz, n_qubits, layers, entanglement)
        # The sum of w_m Z_m / 2, for as long as the token's position, if positions are rotary.
        self.evolution = Circuit(n_qubits)
        for qubit in range(n_qubits):
            self.evolution = self.evolution.rz(qubit, f"phase{qubit}")
        angles = torch.empty(3, num_heads, len(self.circuit.parameters))
        add_angles(self, "angles", angles, train_circuit)
        z0 = PauliStrings(("Z" + "I" * (n_qubits - 1),))

        def draw() -> PauliObservables:
            return PauliObservables.draw(
                observables, num_heads, self.head_dim, n_qubits, self.circuit
            )

        one_for_each_head = [z0] * num_heads
        self.query_observables = (
            PauliObservables(one_for_each_head, self.circuit)
            if query_observables == "z0"
            else draw()
        )
        self.observables = draw()
        self.reset_parameters()

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """Sizes for the amplitude encoding and for the angle encoding."""
        heads = max(2**n_qubits // 8, 1)
        amplitudes = {"hidden_size": 2**n_qubits, "num_heads": heads, "layers": layers}
        angles = {"encoding": "angle", "n_qubits": n_qubits, "query_observables": "pauli"}
        return [
            amplitudes,
            {"hidden_size": 3 * n_qubits, "num_heads": 3, "layers": layers, **angles},
        ]

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds of the maps to queries, keys and values: d × d each, for each token."""
        return 3 * length * hidden_size**2

    def reset_parameters(self) -> None:
        """Draw the angles uniformly over a full turn."""
        super().reset_parameters()
        nn.init.uniform_(self.angles, 0, 2 * math.pi)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The expectations of the three circuits on each encoded token."""
        if self.positions == "rotary" or not self.observables.can_join(hidden_states):
            return self._one_by_one(hidden_states, tokens)
        amplitudes = self.encoder is None
        state = self._parts(hidden_states) if amplitudes else self._encoded(hidden_states)
        angles, others = self.angles.flatten(0, 1), (self.query_observables, self.observables)
        measured = self.query_observables(*_planes(state), angles, others, normalise=amplitudes)
        every = by_token(measured.to(hidden_states.dtype), hidden_states)
        query, key, value = every.chunk(3, dim=1)
        width = self.query_observables.codes.shape[1]
        return query[..., :width], key[..., :width], value

    def _one_by_one(
        self, hidden_states: Tensor, tokens: TokenInputs | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """In three calls. With ``rotary`` positions the states of queries and keys evolve."""
        evolved = encoded = self._encoded(hidden_states)
        if self.positions == "rotary":
            phases = self.phases(hidden_states, tokens, self.n_qubits).unsqueeze(-2)
            evolved = apply(self.evolution, encoded, phases)
        measured = (
            (self.query_observables, evolved),
            (self.query_observables, evolved),
            (self.observables, encoded),
        )
        query, key, value = (
            by_token(observables(*_planes(state), angles).to(hidden_states.dtype), hidden_states)
            for (observables, state), angles in zip(measured, self.angles, strict=True)
        )
        return query, key, value

    def _encoded(self, hidden_states: Tensor) -> Tensor:
        """The states of the tokens, ``[B, T, H or 1, 2^n]``."""
        parts = self._parts(hidden_states)
        if self.encoder is None:
            return amplitude_encode(parts, self.n_qubits)
        return run(self.encoder, self._encoder_angles(self.encoder, parts))

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing: with ``rotary``, the encoded states of queries and keys have evolved."""
        return queries, keys

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``query``, ``key``, ``value``: encode the token, apply a head's circuit, measure.

        With ``rotary`` positions, RZ gates between the two turn the states of queries and keys.
        """
        still = Circuit(self.n_qubits), hidden_states.new_empty(*hidden_states.shape[:-1], 0)
        turned = still
        if self.positions == "rotary":
            phases = self.phases(hidden_states, tokens, self.n_qubits)
            turned = self.evolution, phases.expand(*hidden_states.shape[:-1], -1)
        named = {
            "query": (self.query_observables, turned),
            "key": (self.query_observables, turned),
            "value": (self.observables, still),
        }
        return {
            name: self._measuring(hidden_states, observables, evolution, phases, angles)
            for (name, (observables, (evolution, phases))), angles in zip(
                named.items(), self.angles, strict=True
            )
        }

    def _measuring(
        self,
        hidden_states: Tensor,
        observables: PauliObservables,
        evolution: Circuit,
        phases: Tensor,
        angles: Tensor,
    ) -> list[Experiment]:
        """An experiment for each head: encode, evolve by phases ``[B, T, P]``, turn by angles."""
        circuit, strings = evolution.then(self.circuit), observables.strings
        shape = (*phases.shape[:-1], self.num_heads, -1)
        columns = torch.cat([phases.unsqueeze(-2).expand(shape), angles.expand(shape)], dim=-1)
        parts = self._parts(hidden_states)
        if self.encoder is None:
            state = amplitude_encode(parts, self.n_qubits)
            return amplitude_experiments(state, strings, circuit, columns)
        encoded = self._encoder_angles(self.encoder, parts)
        columns = torch.cat([encoded.expand(shape), columns], dim=-1)
        whole = self.encoder.then(circuit)
        return [Experiment(whole, columns[..., h, :], own) for h, own in enumerate(strings)]

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured queries, keys and values."""
        there = is_state(self._parts(hidden_states)) if self.encoder is None else 1.0
        query, key, value = (
            (outcomes[name] * there).transpose(1, 2) for name in ("query", "key", "value")
        )
        return query, key, value

    def _parts(self, hidden_states: Tensor) -> Tensor:
        """What is encoded, ``[B, T, H or 1, d / H or d]``."""
        return encoded_parts(self.register, hidden_states, self.num_heads)

    def _encoder_angles(self, encoder: Circuit, parts: Tensor) -> Tensor:
        """The numbers to encode, and 0 for the surplus angles."""
        return F.pad(parts, (0, len(encoder.parameters) - parts.shape[-1]))


def _planes(state: Tensor) -> tuple[Tensor, Tensor | None]:
    """Real and imaginary parts of states ``[B, T, H or 1, 2^n]``, each ``[BT, H or 1, 2^n]``."""
    flat = state.flatten(0, 1)
    return (flat.real, flat.imag) if flat.is_complex() else (flat, None)

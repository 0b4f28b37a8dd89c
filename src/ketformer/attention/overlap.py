"""Overlap attention: the score is the overlap of two prepared states (arXiv 2502.19214)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.angles import add_angles
from ketformer.attention.ansatz import build_ansatz, own_circuit
from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_qubits, check_weights, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.overlap_long import LONG, mix_heads_apart
from ketformer.attention.overlap_measurement import MEASUREMENTS, Measured
from ketformer.attention.overlap_short import SHORT, mix_in_cache
from ketformer.attention.overlap_states import OverlapStates
from ketformer.attention.scores import is_half
from ketformer.attention.shared_unitary import MAX_DENSE_QUBITS
from ketformer.attention.shift import KeyValueCache
from ketformer.attention.token_registers import Registers
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import (
    Circuit,
    Entanglement,
    Experiment,
    run_spsa,
)
from ketformer.quantum.hadamard import BRA, KET

Angles = Literal["hidden", "embedding"]
Gradient = Literal["exact", "spsa"]
_PUBLISHED_QUBITS = 6
# Scores that are functions of the overlap alone.
_MEASURED = ("dot", "square", "absolute")


class Overlap(Attention):
    """Score sqrt(d_model) Re<q|k>, with |q> = U_Q|x>, |k> = U_K|x>; linear values.

    On hardware each score is one Hadamard test. Every gate is real (RY and CNOT), so
    the exact scores are a product of two real matrices with 2^n columns: 2T states
    are simulated instead of T² circuits, and autograd gives the exact gradient. What U_Q and U_K
    have in common cancels and is not computed; without entanglement, a score is a product of
    cosines, and no state of 2^n amplitudes is needed in short sequences. Another ansatz
    may make complex states; real and imaginary parts are then columns of their own.

    Args:
        n_qubits: working qubits n; by default those of a circuit given as ansatz, or else 6 as
            published.
        ansatz: the circuit of |x>, of U_Q and of U_K, each with its own angles: a name
            (``rotation_ring`` as published; ``entangling``, ``rx_ring``,
            ``strongly_entangling``), a :class:`~ketformer.quantum.Circuit`, or its OpenQASM.
        layers: repetitions of (RY on each qubit, CNOT ring) in every circuit.
        angles: ``hidden``: |x> is prepared with angles that are linear in the hidden
            state, separately for each head and for queries and keys, so that blocks and
            heads can be stacked. ``embedding``, as published: |x> = |token> ⊗ |position>
            (⊗ |conditions>), each register with its own table of angles and n/2 (n/3)
            qubits.
        published_scaling: scale the angles of the conditions by the smallest and largest
            in the whole batch, as the released code does: a sequence then depends on the
            rest of its batch. Otherwise an angle is π times the sigmoid of the linear map.
        gradient: ``exact``, by autograd, or ``spsa``, the estimate used by the released code
            in training.
        spsa_epsilon: size of SPSA's perturbation, in radians.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates.
        train_circuit: False leaves U_Q and U_K at random angles: the ablation that shows
            what training them gains.

    Other options as in :class:`~ketformer.attention.Attention`.
    """

    default_score = "dot"
    paper = "2502.19214"
    twins = (
        "classical_fourier",
        "classical_cosines",
        "classical_eq",
        "classical:local_start=2",
        "overlap:entanglement=none",
    )
    queries_are_states = True
    linear_values = True
    measurements = tuple(MEASUREMENTS)
    query_angles: Tensor
    key_angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int | None = None,
        ansatz: str | Circuit = "rotation_ring",
        layers: int = 1,
        angles: Angles = "hidden",
        published_scaling: bool = False,
        gradient: Gradient = "exact",
        spsa_epsilon: float = 0.01,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("angles", angles, get_args(Angles))
        require_choice("entanglement", entanglement, get_args(Entanglement))
        require_choice("gradient", gradient, get_args(Gradient))
        if not 0 < spsa_epsilon < math.inf:
            raise KetformerError(f"spsa_epsilon must be positive and finite, got {spsa_epsilon}")
        self.gradient = gradient
        self.spsa_epsilon = spsa_epsilon
        given = own_circuit(ansatz)
        if n_qubits is None:
            n_qubits = _PUBLISHED_QUBITS if given is None else given.n_qubits
        self.n_qubits = check_qubits(n_qubits)
        self.layers = layers
        self.ansatz = build_ansatz(given or ansatz, n_qubits, layers, entanglement)
        is_ring = ansatz == "rotation_ring"
        n_angles = len(self.ansatz.parameters)
        self.registers: Registers | None = None
        self.angle_proj: nn.Linear | None = None
        if angles == "embedding":
            self.require_learned_positions('angles="embedding" has a register of positions')
            if self.inputs is None:
                raise KetformerError('angles="embedding" needs the sizes of the decoder\'s inputs')
            if not is_ring:
                raise KetformerError('angles="embedding" has the ansatz rotation_ring')
            self.registers = Registers(
                self.inputs, n_qubits, layers, published_scaling, entanglement
            )
        else:
            if published_scaling:
                raise KetformerError('published_scaling requires angles="embedding"')
            if self.positions == "rotary" and not is_ring:
                raise KetformerError('positions="rotary" turns the last RY of rotation_ring')
            check_weights("the map to angles", hidden_size, 2 * num_heads * n_angles)
            self.angle_proj = nn.Linear(hidden_size, 2 * num_heads * n_angles)
        own = self.ansatz if self.registers is None else self.registers.joint
        prefix = "turn_"
        while {f"{prefix}{name}" for name in self.ansatz.parameters} & set(own.parameters):
            prefix += "_"
        self.circuit = own.then(self.ansatz.renamed(prefix))
        self.states = OverlapStates(own, self.ansatz)
        self.train_circuit = train_circuit
        for name in ("query_angles", "key_angles"):
            add_angles(self, name, torch.empty(num_heads, n_angles), train_circuit)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """Sizes for hidden states, and for the published two registers (three with conditions)."""
        hidden: dict[str, Any] = {"n_qubits": n_qubits, "layers": layers}
        published = {2: 0, 3: 9}  # number of registers: number of conditions
        return [
            hidden,
            *(
                {**hidden, "angles": "embedding", "n_conditions": n_conditions}
                for registers, n_conditions in published.items()
                if n_qubits % registers == 0
            ),
        ]

    @classmethod
    def options_at(cls, hidden_size: int) -> dict[str, Any]:
        """One head, with as many amplitudes as the model is wide."""
        return {"n_qubits": max((hidden_size - 1).bit_length(), 1)}

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds for the scores of all pairs i >= j."""
        return length * (length + 1) // 2 * hidden_size

    def dot_scale(self, width: int) -> float:
        """sqrt(d_model): overlaps lie within [-1, 1], whatever the number of qubits."""
        return math.sqrt(self.hidden_size)

    def reset_parameters(self) -> None:
        """Set trained query and key angles to 0; spread token angles over [0, π]."""
        super().reset_parameters()
        for angles in (self.query_angles, self.key_angles):
            if self.train_circuit:
                nn.init.zeros_(angles)
            else:
                nn.init.uniform_(angles, 0, 2 * math.pi)
        if self.registers is not None:
            self.registers.reset_parameters()
        if self.angle_proj is not None:
            # A standard deviation of half a radian for normalised hidden states: with the small
            # weights of a linear layer all states, and so all scores, would be alike.
            nn.init.normal_(self.angle_proj.weight, std=0.5 * self.hidden_size**-0.5)
            nn.init.zeros_(self.angle_proj.bias)

    def score_weights(self) -> list[Tensor]:
        """The map to the angles; tables of angles have a scale of their own."""
        return [] if self.angle_proj is None else [self.angle_proj.weight]

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        return_weights: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """As :meth:`~ketformer.attention.Attention.forward`; by other ways where these are better.

        Short sequences then take less time (:mod:`ketformer.attention.overlap_short`), long ones
        less memory (:mod:`ketformer.attention.overlap_long`).
        """
        length = hidden_states.shape[1]
        is_long = length >= LONG and mask is None and not self.states.is_product
        plain = cache is None and not return_weights and (1 < length <= SHORT or is_long)
        if not plain or not self._is_plain(hidden_states):
            return super().forward(
                hidden_states, mask=mask, cache=cache, return_weights=return_weights, tokens=tokens
            )
        hidden_states, _ = self.shift(hidden_states, mask)
        value = self.value_proj(hidden_states).unflatten(-1, (self.num_heads, -1))
        own, shared = self._angles(hidden_states, tokens)
        scale = self.dot_scale(value.shape[-1]) / self.initial_temperature
        if is_long:
            mixed = mix_heads_apart(self.states, own, shared, value.transpose(1, 2), scale)
            mixed = mixed.transpose(1, 2)
        else:
            mixed = mix_in_cache(self.states, own, shared, value, mask, scale)
        return self.output(mixed.flatten(2)), None

    def _is_plain(self, hidden_states: Tensor) -> bool:
        """Whether a softmax of overlaps is all there is, and their states have a kernel."""
        return (
            self.registers is None
            and self.states.has_kernel(hidden_states)
            and self.expect is None
            and (self.score, self.normalise, self.mixing) == ("dot", "softmax", "causal")
            and self.log_temperature is None
            and self.positions != "alibi"
            and not (self.training and (self.dropout or self.gradient == "spsa"))
        )

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """States ``[B, H, T, 2^n]`` whose dot products are the overlaps; linear values.

        They are those of queries and keys up to a rotation of both
        (:mod:`ketformer.attention.overlap_states`).
        """
        query, key, value, _ = self._projected(hidden_states, tokens)
        return query, key, value

    def factors(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None, *, cached: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
        """Two halves of keys that are products: in a cache, and if queries are products, too."""
        states = self.states
        if cached and states.keys_are_products and self.registers is None:
            return self._projected(hidden_states, tokens, states.with_halves_of_keys)
        if states.is_product and self.n_qubits > 1:
            return self._projected(hidden_states, tokens, states.halves)
        return self._projected(hidden_states, tokens)

    def _projected(
        self,
        hidden_states: Tensor,
        tokens: TokenInputs | None,
        halves: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
        value = self.split_heads(self.value_proj(hidden_states))
        parts: tuple[int, ...] = ()
        if self.gradient == "spsa" and self.training:
            query, key = run_spsa(*self.whole_circuit(hidden_states, tokens), self.spsa_epsilon)
        elif halves and not is_half(value):  # these would be rounded before they are multiplied
            parts = self.states.parts
            query, key = halves(*self._angles(hidden_states, tokens))
        else:
            query, key = self._states(hidden_states, tokens)
        return (
            _real_columns(query).to(value.dtype), _real_columns(key).to(value.dtype), value, parts
        )  # fmt: skip

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing: with ``rotary``, |x> has evolved under the sum of w_m Y_m / 2.

        Position times w_m is added to the angle of the last RY on qubit m of |x>. Where U_Q and
        U_K are alike, as at the start of training, or nothing is entangled, the score depends
        on the difference of the positions.
        """
        return queries, keys

    def _states(self, hidden_states: Tensor, tokens: TokenInputs | None) -> tuple[Tensor, Tensor]:
        """Queries and keys by the fastest of several equivalent ways."""
        registers, states = self.registers, self.states
        dense = self.n_qubits <= MAX_DENSE_QUBITS and not states.is_product
        by_kernel = states.has_kernel(hidden_states)
        if registers and dense and (not by_kernel or registers.has_fewer_pairs(tokens)):
            query, key = registers(tokens, states.matrices(self._shared_angles()))
            return query, key
        return states(*self._angles(hidden_states, tokens))

    def _shared_angles(self) -> Tensor:
        """Angles of U_Q and U_K, ``[2, H, P]``; they lose too many digits in half precision."""
        shared = torch.stack([self.query_angles, self.key_angles])
        return shared.to(torch.promote_types(shared.dtype, torch.float32))

    def _angles(self, hidden_states: Tensor, tokens: TokenInputs | None) -> tuple[Tensor, Tensor]:
        """Angles of the tokens, see :meth:`_own_angles`, and those that they share."""
        shared = self._shared_angles()
        return self._own_angles(hidden_states, tokens).to(shared.dtype), shared

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """By default ``score``: a Hadamard test for each pair of positions i >= j, row by row.

        :mod:`ketformer.attention.overlap_measurement` has the other ways to measure it.

        Raises:
            NotOfferedError: the score is not a function of the overlap alone, or of its sign,
                which the measurement loses.
        """
        if self.score not in _MEASURED:
            known = ", ".join(_MEASURED)
            raise NotOfferedError(f"circuits measure the scores {known}, not {self.score}")
        circuit, angles = self.whole_circuit(hidden_states, tokens)
        found = MEASUREMENTS[self.measurement].experiments(circuit, angles)
        return {name: [self._named(each) for each in heads] for name, heads in found.items()}

    def _named(self, experiment: Experiment) -> Experiment:
        """The experiment with the names of its registers: one state or two, and an ancilla."""
        own = (("q", self.n_qubits),) if self.registers is None else self.registers.names
        wires = experiment.circuit.n_qubits
        if wires > 2 * self.n_qubits:
            own = tuple((f"{side}{name}", size) for side in (BRA, KET) for name, size in own)
        ancilla = (("ancilla", 1),) if wires > sum(size for _, size in own) else ()
        return replace(experiment, registers=(*own, *ancilla))

    def measure_by(self, measurement: str) -> None:
        """Choose how scores are measured; see :class:`~ketformer.attention.Mixer`."""
        way = MEASUREMENTS.get(measurement)
        if way and self.score == "dot" and not way.keeps_sign:
            signed = ", ".join(name for name, way in MEASUREMENTS.items() if way.keeps_sign)
            raise NotOfferedError(
                f"measurement {measurement} loses the overlap's sign, which the score dot has; "
                f"{signed} keep it, and the scores square and absolute need none"
            )
        if way:
            way.check(self.circuit)
        super().measure_by(measurement)

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys whose dot products are the measured overlaps."""
        value = self.split_heads(self.value_proj(hidden_states))
        assert self.expect is not None
        whole = self.whole_circuit(hidden_states, tokens)
        measured = Measured(*whole, outcomes, value, self.expect)
        query, key = MEASUREMENTS[self.measurement].states(measured)
        return query.to(value.dtype), key.to(value.dtype), value

    def whole_circuit(
        self, hidden_states: Tensor, tokens: TokenInputs | None
    ) -> tuple[Circuit, Tensor]:
        """The circuit of a query or key, and the angles ``[2, B, H, T, P]`` for both."""
        shared = torch.stack([self.query_angles, self.key_angles])
        own = self._own_angles(hidden_states, tokens).permute(2, 0, 3, 1, 4)  # [2, B, H, T, P]
        turn = shared[:, None, :, None]  # [2, 1, H, 1, P]
        shape = torch.broadcast_shapes(own.shape[:-1], turn.shape[:-1])
        angles = torch.cat([part.expand(*shape, -1) for part in (own, turn)], dim=-1)
        return self.circuit, angles

    def _own_angles(self, hidden_states: Tensor, tokens: TokenInputs | None) -> Tensor:
        """Angles that differ between tokens, ``[B, T, 2 or 1, H or 1, P]``."""
        if self.registers is not None:
            return self.registers.angles(tokens)[:, :, None, None]
        assert self.angle_proj is not None
        angles: Tensor = self.angle_proj(hidden_states)
        angles = angles.reshape(*angles.shape[:-1], 2, self.num_heads, -1)
        if self.positions == "rotary":
            evolved = self.phases(hidden_states, tokens, self.n_qubits)[:, :, None, None]
            angles = angles + F.pad(evolved, (angles.shape[-1] - self.n_qubits, 0))
        return angles

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"{super().extra_repr()}, qubits={self.n_qubits}"


def _real_columns(states: Tensor) -> Tensor:
    """States ``[..., D]`` whose dot products are real parts of overlaps, ``[..., D or 2 D]``."""
    return torch.cat([states.real, states.imag], dim=-1) if states.is_complex() else states

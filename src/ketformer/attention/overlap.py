"""Overlap attention: the score is the overlap of two prepared states (arXiv 2502.19214)."""

from __future__ import annotations

import math
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.base import Attention, CommonOptions, check_qubits, require_choice
from ketformer.attention.inputs import ConditionEmbedding, InputSizes, TokenInputs
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, cnot_ring, rotation_ring_ansatz, run, run_spsa, unitary

Angles = Literal["hidden", "embedding"]
Gradient = Literal["exact", "spsa"]

_NO_TOKENS = "this mechanism looks up its tokens: pass `tokens`"


class Overlap(Attention):
    """Score sqrt(d_model) Re<q|k>, with |q> = U_Q|x>, |k> = U_K|x>; linear values.

    On hardware each score is one Hadamard test. Every gate is real (RY and CNOT), so
    the exact scores are one product of two real matrices with 2^n columns: 2T states
    are simulated instead of T² circuits, and autograd gives the exact gradient.

    Args:
        n_qubits: working qubits n (6 as published).
        layers: repetitions of (RY on each qubit, CNOT ring) in every circuit.
        angles: ``hidden``: |x> is prepared with angles that are linear in the hidden
            state, for each head, for queries and keys apart, so that blocks and heads
            can be stacked. ``embedding``, as published: |x> = |token> ⊗ |position>
            (⊗ |conditions>), each register with its own table of angles and n/2 (n/3)
            qubits.
        published_scaling: with conditions, scale their angles by the smallest and largest
            of the whole batch, as the released code does: a sequence then depends on its
            batch mates. Otherwise an angle is π times the sigmoid of the linear map.
        gradient: ``exact``, by autograd, or ``spsa``, the estimate of the released code,
            while training.
        spsa_epsilon: size of its perturbation, in radians.

    Other options as in :class:`~ketformer.attention.base.Attention`.
    """

    default_score = "dot"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int = 6,
        layers: int = 1,
        angles: Angles = "hidden",
        published_scaling: bool = False,
        gradient: Gradient = "exact",
        spsa_epsilon: float = 0.01,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("angles", angles, get_args(Angles))
        require_choice("gradient", gradient, get_args(Gradient))
        if not 0 < spsa_epsilon < math.inf:
            raise KetformerError(f"spsa_epsilon must be positive and finite, got {spsa_epsilon}")
        self.gradient = gradient
        self.spsa_epsilon = spsa_epsilon
        if layers < 1:
            raise KetformerError(f"layers must be positive, got {layers}")
        self.n_qubits = check_qubits(n_qubits)
        self.layers = layers
        self.ansatz = rotation_ring_ansatz(n_qubits, layers)
        # The last ring of |x> is the same for every token: it belongs to the shared matrices.
        ring = cnot_ring(n_qubits)
        self.preparation = Circuit(n_qubits, self.ansatz.gates[: -len(ring.gates) or None])
        self.turning = ring.then(self.ansatz)
        n_angles = len(self.ansatz.parameters)
        self.registers: Registers | None = None
        self.angle_proj: nn.Linear | None = None
        if angles == "embedding":
            if self.inputs is None:
                raise KetformerError('angles="embedding" needs the sizes of the decoder\'s inputs')
            self.registers = Registers(self.inputs, n_qubits, layers, published_scaling)
        else:
            if published_scaling:
                raise KetformerError('published_scaling belongs to angles="embedding"')
            self.angle_proj = nn.Linear(hidden_size, 2 * num_heads * n_angles)
        self.query_angles = nn.Parameter(torch.empty(num_heads, n_angles))
        self.key_angles = nn.Parameter(torch.empty(num_heads, n_angles))
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    def dot_scale(self, width: int) -> float:
        """sqrt(d_model): overlaps lie within [-1, 1], whatever the number of qubits."""
        return math.sqrt(self.hidden_size)

    def reset_parameters(self) -> None:
        """Query and key angles 0; token angles spread over [0, π]; position angles 0."""
        super().reset_parameters()
        nn.init.zeros_(self.query_angles)
        nn.init.zeros_(self.key_angles)
        if self.registers is not None:
            self.registers.reset_parameters()
        if self.angle_proj is not None:
            # A standard deviation of half a radian for normalised hidden states: the small
            # weights of a linear layer would leave all states, and so all scores, alike.
            nn.init.normal_(self.angle_proj.weight, std=0.5 * self.hidden_size**-0.5)
            nn.init.zeros_(self.angle_proj.bias)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query and key states ``[B, H, T, 2^n]``, linear values."""
        value = self.split_heads(self.value_proj(hidden_states))
        shared = torch.stack([self.query_angles, self.key_angles])
        if self.gradient == "spsa" and self.training:
            query, key = self._estimated(hidden_states, tokens, shared)
            return query.to(value.dtype), key.to(value.dtype), value
        if self.registers is not None:
            query, key = self.registers(tokens, unitary(self.ansatz, shared))
            return query, key, value
        assert self.angle_proj is not None
        batch, length, _ = hidden_states.shape
        angles = self.angle_proj(hidden_states).reshape(batch * length, 2 * self.num_heads, -1)
        # Angles lose too many digits in half precision.
        states = run(self.preparation, angles.transpose(0, 1).to(shared.dtype))  # [2H, BT, D]
        turned = (states @ unitary(self.turning, shared).flatten(0, 1).mT).to(value.dtype)
        turned = turned.reshape(2, self.num_heads, batch, length, -1).transpose(1, 2)
        return turned[0], turned[1], value

    def _estimated(
        self, hidden_states: Tensor, tokens: TokenInputs | None, shared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same states, each by one circuit with all its angles, and the SPSA gradient."""
        if self.registers is not None:
            own = self.registers.angles(tokens)[None, :, None]  # [1, B, 1, T, P]
            circuit = self.registers.joint
        else:
            assert self.angle_proj is not None
            own = self.angle_proj(hidden_states).unflatten(-1, (2, self.num_heads, -1))
            own = own.permute(2, 0, 3, 1, 4)  # [2, B, H, T, P]
            circuit = self.ansatz
        turning = rotation_ring_ansatz(self.n_qubits, self.layers, prefix="turn")
        turn = shared[:, None, :, None]  # [2, 1, H, 1, P]
        shape = torch.broadcast_shapes(own.shape[:-1], turn.shape[:-1])
        angles = torch.cat([part.expand(*shape, -1) for part in (own, turn)], dim=-1)
        query, key = run_spsa(circuit.then(turning), angles.to(shared.dtype), self.spsa_epsilon)
        return query, key

    def extra_repr(self) -> str:
        """What ``print(model)`` says of the mechanism."""
        return f"{super().extra_repr()}, qubits={self.n_qubits}"


class Registers(nn.Module):
    """|token> ⊗ |position> (⊗ |conditions>), each prepared from its own table of angles."""

    def __init__(self, sizes: InputSizes, n_qubits: int, layers: int, by_batch: bool) -> None:
        super().__init__()
        count = 3 if sizes.n_conditions else 2
        if n_qubits % count:
            raise KetformerError(f"{n_qubits} qubits do not divide into {count} registers")
        self.circuit: Circuit = rotation_ring_ansatz(n_qubits // count, layers)
        width = len(self.circuit.parameters)
        # All registers side by side, for what needs one circuit rather than a product of states.
        self.joint = Circuit(n_qubits)
        for i, name in enumerate(("token", "position", "condition")[:count]):
            register = rotation_ring_ansatz(n_qubits // count, layers, prefix=name)
            wires = range(i * n_qubits // count, (i + 1) * n_qubits // count)
            self.joint = self.joint.then(register, wires)
        self.tokens = nn.Parameter(torch.empty(sizes.vocab_size, width))
        self.positions = nn.Parameter(torch.empty(sizes.max_positions, width))
        self.conditions = ConditionEmbedding(sizes, width) if sizes.n_conditions else None
        if by_batch and self.conditions is None:
            raise KetformerError("published_scaling is of conditions, and there are none")
        self.by_batch = by_batch

    def reset_parameters(self) -> None:
        """Token angles spread over [0, π], position angles 0, as published."""
        nn.init.uniform_(self.tokens, 0, math.pi)
        nn.init.zeros_(self.positions)

    def forward(self, tokens: TokenInputs | None, unitaries: Tensor) -> tuple[Tensor, Tensor]:
        """Query and key states ``[B, H, T, 2^n]``.

        Args:
            tokens: what to look up.
            unitaries: U_Q and U_K, ``[2, H, 2^n, 2^n]``.
        """
        if tokens is None:
            raise KetformerError(_NO_TOKENS)
        ids, places = torch.broadcast_tensors(tokens.input_ids, tokens.position_ids)
        token_states = run(self.circuit, self.tokens)
        place_states = run(self.circuit, self.positions)
        if self.conditions is None and len(token_states) * len(place_states) <= ids.numel():
            # There are fewer (token, position) pairs than tokens: each pair once, then a lookup.
            pairs = _kron(token_states[:, None], place_states[None])  # [V, P, 2^n]
            table = torch.einsum("vpd,zhed->vpzhe", pairs, unitaries).flatten(0, 1).flatten(1)
            turned = F.embedding(ids * len(place_states) + places, table)
            turned = turned.unflatten(-1, unitaries.shape[:3])
        else:
            states = _kron(F.embedding(ids, token_states), F.embedding(places, place_states))
            if self.conditions is not None:
                states = _kron(states, run(self.circuit, self._condition_angles(tokens))[:, None])
            turned = torch.einsum("btd,zhed->btzhe", states, unitaries)
        query, key = turned.permute(2, 0, 3, 1, 4)
        return query, key

    def angles(self, tokens: TokenInputs | None) -> Tensor:
        """Angles ``[B, T, P]`` of the :attr:`joint` circuit."""
        if tokens is None:
            raise KetformerError(_NO_TOKENS)
        ids, places = torch.broadcast_tensors(tokens.input_ids, tokens.position_ids)
        parts = [F.embedding(ids, self.tokens), F.embedding(places, self.positions)]
        if self.conditions is not None:
            parts.append(self._condition_angles(tokens)[:, None].expand_as(parts[0]))
        return torch.cat(parts, dim=-1)

    def _condition_angles(self, tokens: TokenInputs) -> Tensor:
        assert self.conditions is not None
        if tokens.conditions is None:
            raise KetformerError("this mechanism was built for conditions: pass them in `tokens`")
        raw: Tensor = self.conditions(tokens.conditions, tokens.unknown)
        if not self.by_batch:
            return math.pi * torch.sigmoid(raw)
        low, high = raw.min(), raw.max()
        spread = torch.where(high > low, high - low, 1)  # equal angles all become 0
        return math.pi * (raw - low) / spread


def _kron(left: Tensor, right: Tensor) -> Tensor:
    """Product states along the last dimension, the left register in front."""
    return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)

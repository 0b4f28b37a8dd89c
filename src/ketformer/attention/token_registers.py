"""States of tokens, positions and conditions, each from a table of angles (arXiv 2502.19214)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import ConditionEmbedding, InputSizes, TokenInputs
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, Entanglement, rotation_ring_ansatz, run

_NO_TOKENS = "this mechanism looks up its tokens: pass `tokens`"


class Registers(nn.Module):
    """|token> ⊗ |position> (⊗ |conditions>), each prepared from its own table of angles."""

    def __init__(
        self,
        sizes: InputSizes,
        n_qubits: int,
        layers: int,
        by_batch: bool,
        entanglement: Entanglement = "ring",
    ) -> None:
        super().__init__()
        count = 3 if sizes.n_conditions else 2
        if n_qubits % count:
            raise KetformerError(f"{n_qubits} qubits do not divide into {count} registers")
        width = n_qubits // count
        self.circuit: Circuit = rotation_ring_ansatz(width, layers, entanglement=entanglement)
        # All registers side by side, for uses that need one circuit, not a product of states.
        self.joint = Circuit(n_qubits)
        names = ("token", "position", "condition")[:count]
        #: Names and sizes of the registers.
        self.names = tuple((name, width) for name in names)
        for i, name in enumerate(names):
            register = rotation_ring_ansatz(width, layers, name, entanglement)
            self.joint = self.joint.then(register, range(i * width, (i + 1) * width))
        angles = len(self.circuit.parameters)
        check_weights("the table of angles", sizes.vocab_size + sizes.max_positions, angles)
        self.tokens = nn.Parameter(torch.empty(sizes.vocab_size, angles))
        self.positions = nn.Parameter(torch.empty(sizes.max_positions, angles))
        self.conditions = ConditionEmbedding(sizes, angles) if sizes.n_conditions else None
        if by_batch and self.conditions is None:
            raise KetformerError("published_scaling applies to conditions, but there are none")
        self.by_batch = by_batch

    def reset_parameters(self) -> None:
        """Spread token angles over [0, π] and set position angles to 0, as published."""
        nn.init.uniform_(self.tokens, 0, math.pi)
        nn.init.zeros_(self.positions)

    def forward(self, tokens: TokenInputs | None, unitaries: Tensor) -> tuple[Tensor, Tensor]:
        """Queries, the states turned by a matrix, and keys, the states: ``[B, H, T, 2^n]``.

        Args:
            tokens: the tokens to look up.
            unitaries: the matrix of each head, ``[H, 2^n, 2^n]``.
        """
        if tokens is None or tokens.input_ids is None:
            raise KetformerError(_NO_TOKENS)
        ids, places = torch.broadcast_tensors(tokens.input_ids, tokens.position_ids)
        wide = unitaries.dtype  # angles lose too many digits in half precision
        token_states = run(self.circuit, self.tokens.to(wide))
        place_states = run(self.circuit, self.positions.to(wide))
        if self.has_fewer_pairs(tokens):  # compute each pair once, then look it up
            pairs = _kron(token_states[:, None], place_states[None]).flatten(0, 1)  # [V P, 2^n]
            table = torch.cat([torch.einsum("pd,hed->phe", pairs, unitaries), pairs[:, None]], 1)
            found = F.embedding(ids * len(place_states) + places, table.flatten(1))
            both = found.unflatten(-1, table.shape[1:]).transpose(1, 2)
            query, key = both[:, :-1], both[:, -1:]
        else:
            states = _kron(F.embedding(ids, token_states), F.embedding(places, place_states))
            if self.conditions is not None:
                conditions = run(self.circuit, self._condition_angles(tokens).to(wide))
                states = _kron(states, conditions[:, None])
            query, key = torch.einsum("btd,hed->bhte", states, unitaries), states[:, None]
        return query, key.expand(*query.shape)

    def has_fewer_pairs(self, tokens: TokenInputs | None) -> bool:
        """Whether all pairs of token and position are no more than the tokens in the batch."""
        if self.conditions is not None or tokens is None or tokens.input_ids is None:
            return False
        return len(self.tokens) * len(self.positions) <= tokens.input_ids.numel()

    def angles(self, tokens: TokenInputs | None) -> Tensor:
        """Angles ``[B, T, P]`` of the :attr:`joint` circuit."""
        if tokens is None or tokens.input_ids is None:
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
    """Product states along the last dimension, with the left register first."""
    return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)

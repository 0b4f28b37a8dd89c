"""States whose dot products are the overlaps of queries and keys, as few gates as give them.

A query is U_Q|x> and a key U_K|y>, so only U_Q† U_K counts, between the states of x and y:

    <q|k> = <x| U_Q† U_K |y> = <x'| F† U_Q† U_K F |y'>,   |x> = F|x'>,

where F are the fixed gates that end the preparation, such as a ring of CNOTs. U_Q and U_K end in
the same ring, which cancels, and the rotations before it merge into rotations by differences of
angles. All that is left acts on queries; keys are prepared and no more. With one layer of rotations
this halves the work. F stays unless the angles of U_Q and U_K are equal, as at the start of
training: only then is the overlap that of product states.

Without gates between qubits, states are products and overlaps are products of cosines. Each half of
the qubits then is a state of its own, and the overlap is the product of two dot products.

The keys of one layer are products in any case. A cache keeps their halves: of 6 qubits 16 numbers
in place of 64.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ketformer.attention.shared_unitary import MAX_DENSE_QUBITS, Kept, KeptUnitary
from ketformer.quantum import Circuit, CircuitStates, Gate, product_state, run
from ketformer.quantum.native.calls import wants_gradient

_OWN, _QUERY, _KEY, _BOTH = "own_", "query_", "key_", "both_"


class OverlapStates:
    """Queries and keys prepared by one circuit, then turned by another with shared angles.

    Args:
        own: prepares |x> with P angles that differ between tokens.
        ansatz: U_Q and U_K, each with its own R angles.
    """

    def __init__(self, own: Circuit, ansatz: Circuit) -> None:
        self.n_qubits = own.n_qubits
        #: Whether all states are products of RY rotations.
        self.is_product = all(_is_plain_turn(gate) for gate in (*own.gates, *ansatz.gates))
        #: Qubits in each half of a product.
        self._sizes = ((self.n_qubits + 1) // 2, self.n_qubits // 2)
        #: Widths of the halves.
        self.parts = (2 ** self._sizes[0], 2 ** self._sizes[1])
        self._rows = [_angles_by_qubit(each) for each in (own, ansatz)]
        tail = fixed_tail(own)
        kept = own.gates[: len(own.gates) - len(tail)]
        self.preparation = Circuit(self.n_qubits, kept).renamed(_OWN)
        #: Whether keys are products, of halves that are together narrower than a state.
        self.keys_are_products = all(map(_is_plain_turn, kept)) and self.n_qubits > 2
        between = remainder(tail, ansatz)
        self.of_queries = self.preparation.then(between)
        names = [f"{_QUERY}{name}" for name in ansatz.parameters]
        names += [f"{_KEY}{name}" for name in ansatz.parameters]
        names += [f"{_BOTH}{name}" for name in ansatz.parameters]
        self._between = _Between([names.index(name) for name in between.parameters])
        self._turn = KeptUnitary(between)
        self._turn_whole = KeptUnitary(remainder((), ansatz))
        self.native: CircuitStates | None = None
        if CircuitStates.can_run(self.of_queries):
            # Groups of queries, and of keys, which stop after the preparation.
            self.native = CircuitStates(self.of_queries, len(own.parameters), len(kept))

    def __call__(self, own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys ``[B, H, T, 2^n]``, by the fastest of several equivalent ways.

        Args:
            own: ``[B, T, 2 or 1, H or 1, P]``, of queries and keys, or the same for both.
            shared: of U_Q and U_K, ``[2, H, R]``.
        """
        if self.is_product:
            return self._products(own, shared, (self.n_qubits,))
        turn = self.between(shared)
        heads, own_heads = len(turn), own.shape[3]
        if self.native is not None and self.has_kernel(own):
            # Queries of each head, then keys.
            if own.shape[2:4] == (2, heads):
                own = own.flatten(2, 3)
            else:
                own_query, own_key = own.expand(-1, -1, 2, -1, -1).unbind(2)
                own = torch.cat([own_query.expand(-1, -1, heads, -1), own_key], dim=2)
            states = self.native(own.flatten(0, 1), turn).unflatten(0, own.shape[:2])
            query, key = states.transpose(1, 2).split([heads, own_heads], dim=1)
            return query, key.expand(*query.shape)
        own_query, own_key = own.expand(-1, -1, 2, -1, -1).unbind(2)  # [B, T, H or 1, P]
        wide = own_query.expand(-1, -1, heads, -1)
        # All tokens of a head in a row, which is long.
        own_query, wide, own_key = (
            x.permute(2, 0, 1, 3).flatten(1, 2) for x in (own_query, wide, own_key)
        )
        key = run(self.preparation, own_key)
        if self.n_qubits <= MAX_DENSE_QUBITS:
            query = turned(run(self.preparation, own_query), self._turn(turn))
        else:
            turn = turn.unsqueeze(1).expand(*wide.shape[:-1], -1)
            query = run(self.of_queries, torch.cat([wide, turn], dim=-1))
        query, key = (x.unflatten(1, own.shape[:2]).transpose(0, 1) for x in (query, key))
        return query, key.expand(*query.shape)

    def halves(self, own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Product states as two halves side by side, ``[B, H, T, sum of the parts]``.

        Arguments as in a call.
        """
        return self._products(own, shared, self._sizes)

    def with_halves_of_keys(self, own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Queries ``[B, H, T, 2^n]``, or their halves, and halves of keys, which are products.

        Keys are always the same for the same arguments, so a cache may hold them.

        Args:
            own: ``[B, T, 2, H, P]``.
            shared: ``[2, H, R]``.
        """
        turn = self.between(shared)
        by_kernel = self.native is not None and self.native.ends_in_products
        if by_kernel and self.has_kernel(own) and not wants_gradient(own, turn):
            assert self.native is not None
            found = self.native.and_halves(own.flatten(2, 3).flatten(0, 1), turn)
            query, key = (x.unflatten(0, own.shape[:2]).transpose(1, 2) for x in found)
            return query, key
        if self.is_product:  # all turning on the side of the queries
            query_turn, key_turn = shared
            turns = torch.stack([query_turn - key_turn, torch.zeros_like(key_turn)])
            return self._products(own, turns, self._sizes)
        _, key = self._products(own, torch.zeros_like(shared), self._sizes)
        return self(own, shared)[0], key

    def has_kernel(self, like: Tensor) -> bool:
        """Whether a native kernel runs for tensors like this one."""
        # An exported program should need torch alone.
        exporting = torch.compiler.is_exporting()
        return self.native is not None and like.device.type == "cpu" and not exporting

    def matrices(self, shared: Tensor) -> Tensor:
        """U_K† U_Q of each head, ``[H, 2^n, 2^n]``, from ``[2, H, R]``: for whole states |x>."""
        return self._turn_whole(self.between(shared))

    def between(self, shared: Tensor) -> Tensor:
        """The angles of what is left of U_Q and U_K, ``[H, R']``, from ``[2, H, R]``."""
        return self._between.kept(shared)

    def _products(
        self, own: Tensor, shared: Tensor, sizes: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Product states of registers of these sizes, side by side."""
        ours, turns = (
            angles if rows is None else torch.stack([angles[..., r].sum(-1) for r in rows], dim=-1)
            for angles, rows in zip((own, shared), self._rows, strict=True)
        )
        ours = ours.permute(2, 3, 0, 1, 4).flatten(2, 3)  # [2 or 1, H or 1, B T, n]
        registers = (ours + turns.unsqueeze(2)).split(sizes, dim=-1)
        states = torch.cat([product_state(each) for each in registers], dim=-1)
        query, key = states.unflatten(2, own.shape[:2]).transpose(1, 2)
        return query, key


class _Between(Kept):
    """The angles of what is left of U_Q and U_K, ``[H, R]``, from those of both, ``[2, H, R]``."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.order = order

    def computed(self, angles: Tensor) -> Tensor:
        """Those of U_Q, minus those of U_K, and the differences, as far as they are needed."""
        query, key = angles
        return torch.cat([query, -key, query - key], dim=-1)[..., self.order]


def remainder(tail: tuple[Gate, ...], ansatz: Circuit) -> Circuit:
    """F† U_K† U_Q F without the gates that meet their inverse.

    Angles of U_Q are named ``query_…`` and those of U_K† ``key_…``, which are minus those of U_K.
    Last rotations of the two merge: their angles ``both_…`` are the differences.

    Args:
        tail: the gates of F, without named angles.
        ansatz: U.
    """
    gates = ansatz.gates[: len(ansatz.gates) - len(fixed_tail(ansatz))]
    names = [gate.angle.value for gate in gates if gate.angle]
    merged: list[Gate] = []
    while gates and (last := gates[-1]).angle and names.count(last.angle.value) == 1:
        between_them = any(set(last.qubits) & set(gate.qubits) for gate in merged)
        if between_them or last.angle.offset or not last.angle.is_parameter:
            break
        merged.insert(0, last)
        gates = gates[:-1]
    left, middle = Circuit(ansatz.n_qubits, gates), Circuit(ansatz.n_qubits, tuple(merged))
    back = [_undone(gate) for gate in reversed(left.renamed(_KEY).gates)]
    parts = left.renamed(_QUERY).gates, middle.renamed(_BOTH).gates, back
    between = [gate for part in parts for gate in part]
    return Circuit(ansatz.n_qubits, (*tail, *between, *(gate.inverse for gate in reversed(tail))))


def turned(states: Tensor, matrices: Tensor) -> Tensor:
    """States ``[H or 1, N, D]`` turned by the matrix of each head, ``[H, D, D]``."""
    if matrices.is_complex() or states.is_complex():
        wide = torch.promote_types(matrices.dtype, states.dtype)
        matrices, states = matrices.to(wide), states.to(wide)
    return states @ matrices.mT


def fixed_tail(circuit: Circuit) -> tuple[Gate, ...]:
    """The gates after the last free angle."""
    count = 0
    for gate in reversed(circuit.gates):
        if gate.angle is not None and gate.angle.is_parameter:
            break
        count += 1
    return circuit.gates[len(circuit.gates) - count :]


def _undone(gate: Gate) -> Gate:
    """The inverse of a gate, if minus the named angle is given."""
    if gate.angle is None or not gate.angle.is_parameter:
        return gate.inverse
    return replace(gate, angle=replace(gate.angle, offset=-gate.angle.offset))


def _is_plain_turn(gate: Gate) -> bool:
    """Whether it is RY by a named angle."""
    if gate.angle is None or gate.controls:
        return False
    return gate.name == "RY" and gate.angle.is_plain


def _angles_by_qubit(circuit: Circuit) -> list[list[int]] | None:
    """Which angles turn each qubit of a circuit of rotations; None for one each, in order."""
    rows: list[list[int]] = [[] for _ in range(circuit.n_qubits)]
    for gate in circuit.gates:
        if gate.angle and gate.angle.is_parameter:
            rows[gate.target].append(circuit.parameters.index(str(gate.angle.value)))
    return None if rows == [[i] for i in range(circuit.n_qubits)] else rows

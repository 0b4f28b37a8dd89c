"""QMSAN: the score is the overlap of two mixed states (arXiv 2403.02871)."""

from __future__ import annotations

import itertools
import math
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.angles import add_angles
from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_layers, check_qubits, check_weights, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.measured import amplitude_experiments, is_state
from ketformer.attention.pauli_transfer import LETTERS, KeptTransfer, pauli_coordinates
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, Experiment, PauliStrings, amplitude_encode, qubits_for

Encoding = Literal["rx", "amplitude"]
Links = Literal["chain", "ring", "none"]


class QMSAN(Attention):
    """Weight tr(ρ_i σ_j) over its row sum, for mixed states of a query and a key; measured values.

    A token's n numbers x, linear in the hidden state for each head, are encoded twice: RX(x_m) on
    each qubit, then L times {exp(-i t ZZ/2) on neighbours, RY on each qubit}, then RX(x_m) again.
    Query, key and value have angles of their own. ρ and σ are the states of the first m qubits,
    the others are traced out; values are <Z_m> of all qubits. We know of no code by the authors.
    A re-implementation that we read links neighbours in a chain, and its notes in a ring.

    The 4^m Pauli expectations of a mixed state hold all of it, and tr ρσ is 2^-m times their dot
    product. So this is linear attention with 4^m features, and in long sequences it takes O(T).
    The expectations themselves are linear in the products of (1, -sin x_m, cos x_m), of which there
    are 3^n, and then turned by the last RX. No state is simulated but the matrix of the circuit,
    which all tokens share.

    Ours are the linear map to x, and a linear map from the n values of all heads to the width of
    the model, unless they are as many. The paper's residual is the block's. Sums below 1e-9 count
    as 1e-9; the re-implementation has this floor for each score. In a softmax, the score is
    sqrt(d_model) tr ρσ, which is ours as well. Gates among qubits that are traced out do nothing to
    scores behind their last link with a kept one: as published, on four qubits, three of the seven
    angles of queries and of keys have no gradient.

    On hardware, the Pauli expectations of each token are measured: 3^m settings of n qubits for
    each query and key, whereas swap tests take 2n + 1 qubits for each pair of them.

    Args:
        n_qubits: n of the encoding ``rx``; 4 by default.
        kept_qubits: m, the half of n by default; n traces nothing out, and states are pure.
        layers: L.
        encoding: ``rx``, or ``amplitude`` as in the code of qGPT: queries and keys are the token
            itself as amplitudes, the same for all heads and without any circuit, and values are
            linear.
        entanglement: ``chain``, ``ring``, or ``none``: the ablation without two-qubit gates, whose
            states are pure products.
        train_circuit: False leaves the angles random: the ablation that shows what training them
            gains.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        NotOfferedError: an ablation of the circuit that ``amplitude`` does not have.
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    default_normalise = "sum"
    dot_is_positive = True
    least_sum = 1e-9
    paper = "2403.02871"
    twins = ("classical_linear",)
    theta: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int | None = None,
        kept_qubits: int | None = None,
        layers: int = 1,
        encoding: Encoding = "rx",
        entanglement: Links = "chain",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("encoding", encoding, get_args(Encoding))
        require_choice("entanglement", entanglement, get_args(Links))
        by_circuit = encoding == "rx"
        if not by_circuit:
            if n_qubits is not None:
                raise KetformerError("n_qubits requires encoding=rx; otherwise hidden_size sets it")
            if layers != 1 or entanglement == "none" or not train_circuit:
                raise NotOfferedError("encoding=amplitude has no circuit, so no options of one")
            n_qubits = qubits_for(hidden_size)
        self.n_qubits = n = check_qubits(4 if n_qubits is None else n_qubits)
        self.kept_qubits = max(n // 2, 1) if kept_qubits is None else kept_qubits
        if not 1 <= self.kept_qubits <= n:
            raise KetformerError(f"kept_qubits must lie between 1 and {n}, got {kept_qubits}")
        check_weights("kept_qubits", 4**self.kept_qubits, 3**n if by_circuit else 4**n)
        self.encoding = encoding
        self.layers = check_layers(layers, n)
        self.train_circuit = train_circuit
        self.angle_proj: nn.Linear | None = None
        self.value_proj: nn.Linear | None = None
        if by_circuit:
            check_weights("n_qubits", hidden_size, num_heads * n)
            self.angle_proj = nn.Linear(hidden_size, num_heads * n, bias=self.bias)
            if n != self.head_dim:
                self.value_proj = nn.Linear(num_heads * n, hidden_size, bias=self.bias)
            self.ansatz = _ansatz(n, layers, entanglement)
            self.transfer = KeptTransfer(self.ansatz, self.kept_qubits)
            theta = torch.empty(3, num_heads, len(self.ansatz.parameters))
            add_angles(self, "theta", theta, train_circuit)
        else:
            self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        # Positions, if they are rotary: the sum of w_m Z_m / 2 over the kept qubits.
        self.evolution = Circuit(n)
        for qubit in range(self.kept_qubits if self.positions == "rotary" else 0):
            self.evolution = self.evolution.rz(qubit, f"phase{qubit}")
        traced = "I" * (n - self.kept_qubits)
        letters = itertools.product(LETTERS, repeat=self.kept_qubits)
        self.strings = PauliStrings(tuple("".join(kept) + traced for kept in letters)[1:])
        self.reset_parameters()

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds of the maps to queries, keys and values: d × d each, for each token."""
        return 3 * length * hidden_size**2

    def dot_scale(self, width: int) -> float:
        """sqrt(d_model), in a softmax: tr ρσ lies within [0, 1], whatever the number of qubits."""
        return math.sqrt(self.hidden_size)

    def score_weights(self) -> list[Tensor]:
        """The map to the angles; amplitudes have no weights."""
        return [] if self.angle_proj is None else [self.angle_proj.weight]

    def reset_parameters(self) -> None:
        """Draw the numbers for a deviation of half a radian, and trained angles for one of 0.01."""
        super().reset_parameters()
        if self.angle_proj is None:
            return
        nn.init.normal_(self.angle_proj.weight, std=0.5 * self.hidden_size**-0.5)
        if self.train_circuit:
            nn.init.normal_(self.theta, std=0.01)
        else:
            nn.init.uniform_(self.theta, 0, 2 * math.pi)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pauli expectations of queries and keys times 2^(-m/2), ``[B, H, T, 4^m]``; values."""
        if self.angle_proj is None:
            state = self._evolved(self._of_amplitudes(hidden_states), hidden_states, tokens)
            features = state.squeeze(2).expand(-1, self.num_heads, -1, -1)
            return features, features, self._values(hidden_states)
        numbers = self._numbers(hidden_states, self.angle_proj)  # [B, H, T, n]
        # Positions come last, so that memory is accessed in long runs.
        numbers = numbers.mT.contiguous()  # [B, H, n, T]
        theta = self.theta.to(torch.promote_types(self.theta.dtype, torch.float32))
        expectations = self.transfer(theta) @ _products(numbers)  # [B, H, 2 · 4^m + 2n, T]
        width = 4**self.kept_qubits
        states, values = expectations.split((2 * width, 2 * self.n_qubits), dim=-2)
        states = _turned(
            states.unflatten(-2, (2, -1)), "YZ", numbers[:, :, None, : self.kept_qubits]
        )
        y, z = values.chunk(2, dim=-2)
        measured = (numbers.cos() * z + numbers.sin() * y).to(hidden_states.dtype)
        query, key = self._evolved(states, hidden_states, tokens).unbind(2)
        return query, key, self._values(measured.flatten(1, 2).mT)

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing: with ``rotary``, RZ gates have turned the kept qubits by their position.

        The score then depends on the difference of the positions alone.
        """
        return queries, keys

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``query``, ``key``: all Pauli strings on the kept qubits; ``value``: Z on each qubit.

        With ``rotary`` positions, RZ gates follow on the kept qubits. Amplitudes have only
        ``state``, which is query and key.
        """
        shape = (*hidden_states.shape[:2], self.num_heads, -1)
        phases = hidden_states.new_empty(*hidden_states.shape[:2], 0)
        if self.positions == "rotary":
            phases = self.phases(hidden_states, tokens, self.kept_qubits)
        phases = phases.unsqueeze(-2).expand(shape)
        if self.angle_proj is None:
            states = amplitude_encode(hidden_states, self.n_qubits).unsqueeze(-2)
            of_heads = [self.strings] * self.num_heads
            return {"state": amplitude_experiments(states, of_heads, self.evolution, phases)}
        numbers = self._numbers(hidden_states, self.angle_proj).transpose(1, 2)
        encoding = _encoding(self.n_qubits)
        circuit = encoding.then(self.ansatz).then(encoding)
        turned = circuit.then(self.evolution)
        singles = ("I" * i + "Z" + "I" * (self.n_qubits - 1 - i) for i in range(self.n_qubits))
        named = {
            "query": (turned, self.strings, [phases]),
            "key": (turned, self.strings, [phases]),
            "value": (circuit, PauliStrings(tuple(singles)), []),
        }
        found = {}
        for (name, (whole, strings, after)), theta in zip(named.items(), self.theta, strict=True):
            angles = torch.cat([numbers, theta.expand(shape).to(numbers.dtype), *after], dim=-1)
            found[name] = [Experiment(whole, of_head, strings) for of_head in angles.unbind(-2)]
        return found

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured expectations, of which that of the identity is known."""
        scale = 2 ** (-self.kept_qubits / 2)

        def features(name: str, there: Tensor | None = None) -> Tensor:
            strings = outcomes[name]
            whole = torch.cat([torch.ones_like(strings[..., :1]), strings], dim=-1) * scale
            return (whole if there is None else whole * there).transpose(1, 2)

        if self.angle_proj is None:
            state = features("state", is_state(hidden_states).unsqueeze(-2))
            return state, state, self._values(hidden_states)
        return features("query"), features("key"), self._values(outcomes["value"].flatten(2))

    def _numbers(self, hidden_states: Tensor, angle_proj: nn.Linear) -> Tensor:
        """x, ``[B, H, T, n]``, at least in float32: angles lose too many digits in half."""
        numbers: Tensor = angle_proj(hidden_states)
        return self.split_heads(numbers.to(torch.promote_types(numbers.dtype, torch.float32)))

    def _values(self, merged: Tensor) -> Tensor:
        """``[B, H, T, head_dim]`` from the numbers of all heads, ``[B, T, …]``."""
        return self.split_heads(merged if self.value_proj is None else self.value_proj(merged))

    def _of_amplitudes(self, hidden_states: Tensor) -> Tensor:
        """Pauli expectations of the kept qubits of encoded tokens, ``[B, 1, 1, 4^m, T]``."""
        states = hidden_states.to(torch.promote_types(hidden_states.dtype, torch.float32))
        states = amplitude_encode(states, self.n_qubits).unflatten(-1, (2**self.kept_qubits, -1))
        expectations = pauli_coordinates(states @ states.mT, LETTERS).real
        return expectations.mT[:, None, None]

    def _evolved(
        self, expectations: Tensor, hidden_states: Tensor, tokens: TokenInputs | None
    ) -> Tensor:
        """Features ``[B, H, K, T, 4^m]`` from expectations ``[B, H, K, 4^m, T]``.

        If positions are rotary, they are turned by their position.
        """
        if self.positions == "rotary":
            phases = self.phases(hidden_states, tokens, self.kept_qubits).mT[:, None, None]
            expectations = _turned(expectations, "XY", phases.to(expectations.dtype))
        return (expectations * 2 ** (-self.kept_qubits / 2)).to(hidden_states.dtype).mT

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"{super().extra_repr()}, qubits={self.n_qubits}, kept={self.kept_qubits}"


def _products(numbers: Tensor) -> Tensor:
    """Expectations of all strings of I, Y and Z behind RX(x_m) on |0>: ``[..., 3^n, T]``.

    The numbers x are ``[..., n, T]``.
    """
    single = torch.stack([torch.ones_like(numbers), -numbers.sin(), numbers.cos()], dim=-2)
    products = single[..., 0, :, :]
    for qubit in range(1, numbers.shape[-2]):
        products = (products.unsqueeze(-2) * single[..., qubit, None, :, :]).flatten(-3, -2)
    return products


def _turned(expectations: Tensor, pair: str, angles: Tensor) -> Tensor:
    """Expectations ``[..., 4^m, T]`` behind a rotation of each qubit by angles ``[..., m, T]``.

    RX turns the ``pair`` YZ and RZ turns XY: the first becomes cos · first - sin · second, and the
    second cos · second + sin · first.
    """
    first, second = (LETTERS.index(letter) for letter in pair)
    cosines, sines = angles.cos(), angles.sin()
    for qubit in range(angles.shape[-2]):
        parts = list(expectations.unflatten(-2, (4**qubit, 4, -1)).unbind(-3))
        cos, sin = (x[..., qubit, None, None, :] for x in (cosines, sines))
        one, other = parts[first], parts[second]
        parts[first], parts[second] = cos * one - sin * other, cos * other + sin * one
        expectations = torch.stack(parts, dim=-3).flatten(-4, -2)
    return expectations


def _encoding(n_qubits: int) -> Circuit:
    circuit = Circuit(n_qubits)
    for qubit in range(n_qubits):
        circuit = circuit.rx(qubit, f"x{qubit}")
    return circuit


def _ansatz(n_qubits: int, layers: int, links: Links) -> Circuit:
    """L times {exp(-i t ZZ/2) on neighbours, RY on each qubit}."""
    pairs = [(i, i + 1) for i in range(n_qubits - 1)] if links != "none" else []
    if links == "ring" and n_qubits > 2:
        pairs.append((n_qubits - 1, 0))
    circuit = Circuit(n_qubits)
    for layer in range(layers):
        for one, other in pairs:
            circuit = circuit.cnot(one, other).rz(other, f"zz{layer}_{one}").cnot(one, other)
        for qubit in range(n_qubits):
            circuit = circuit.ry(qubit, f"ry{layer}_{qubit}")
    return circuit

"""Classical queries and keys; values of low rank, measured on a circuit of a few qubits."""

from __future__ import annotations

from typing import Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.angle_circuit import full_turn, prefix_products
from ketformer.attention.angles import add_angles
from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_layers, check_qubits, check_weights, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.linear_queries import LinearQueries
from ketformer.attention.shared_unitary import MAX_DENSE_QUBITS, KeptUnitary
from ketformer.errors import KetformerError
from ketformer.quantum import (
    Angle,
    Circuit,
    CircuitOutcomes,
    Entanglement,
    Experiment,
    Gate,
    PauliStrings,
    apply,
    product_state,
)

Vector = tuple[Tensor, Tensor, Tensor]


class QASA(LinearQueries):
    """Linear queries and keys as in GPT; values W <Z> of a circuit behind angles tanh(Ax + b).

    The value projection of QASA (arXiv 2504.05336): d numbers become n angles, n expectations, and
    d numbers again, for all heads together. The circuit is that of the released code: RX(x_i) and
    RZ(x_i) on each of n qubits, then RX and RZ with trained angles; each further layer goes round
    the ring, CNOT from wire i to the next, RY and RZ on wire i by one angle, and ends with a CNOT
    from the last wire to an auxiliary qubit and RY there. The second layer's angles are those of
    the RZ before the ring. <Z> of the n qubits is measured.

    Two layers are classical: outcomes are products and sums of what each qubit alone would give,
    and are computed so, as is anything without two-qubit gates. More layers are simulated.

    Ours, or not as the source has it: the block is a decoder's. The released layer follows an
    ordinary attention, with a residual, and is no value projection; what the paper says is done
    here. The residual is left out, which would go round the bottleneck; so is the length of the
    sequence, which the paper adds to all angles: a decoder's grows. The code normalises the angles
    over the qubits, the paper's equations do not, and neither do we. What the last layer does to
    the auxiliary qubit changes no outcome and is left out: 34 trained angles at n = 8 and 4 layers,
    where 36 are published. One layer, one qubit, and the scale of the last map are ours.

    Args:
        n_qubits: qubits n; the paper has 8.
        layers: layers of rotations, as published 4; there are gates between qubits from the second.
        entanglement: ``ring``, or ``none``, the ablation without two-qubit gates.
        train_circuit: False leaves the circuit at random angles: the ablation that shows what
            training it gains.

    Other options as in :class:`~ketformer.attention.Attention`. The classical twin is
    ``classical_bottleneck`` with ``value_width`` n.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    default_bias = True
    paper = "2504.05336"
    is_complex = True
    twins = ("classical_bottleneck",)
    angles: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int = 4,
        layers: int = 4,
        entanglement: Entanglement = "ring",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("entanglement", entanglement, get_args(Entanglement))
        if n_qubits < 1:
            raise KetformerError(f"a register needs at least one qubit, got {n_qubits}")
        self.n_qubits = n_qubits
        self.layers = check_layers(layers, n_qubits)
        check_weights("n_qubits", hidden_size, 2 * n_qubits)
        self.has_ring = entanglement == "ring" and n_qubits > 1 and layers > 1
        #: Whether the auxiliary qubit changes an outcome.
        self.has_auxiliary = self.has_ring and layers > 2
        if self.has_auxiliary:
            check_qubits(n_qubits + 1)
        self.ansatz = _ansatz(n_qubits, layers, self.has_ring)
        self.unitary = KeptUnitary(self.ansatz)
        self.whole = _encoding(n_qubits, self.ansatz.n_qubits).then(self.ansatz)
        self.native: CircuitOutcomes | None = None
        if self.has_auxiliary and CircuitOutcomes.can_run(self.whole):
            self.native = CircuitOutcomes(self.whole, n_qubits, n_qubits)
        self.narrow_proj = nn.Linear(hidden_size, n_qubits, bias=self.bias)
        self.value_proj = nn.Linear(n_qubits, hidden_size, bias=self.bias)
        angles = torch.empty(len(self.ansatz.parameters))
        add_angles(self, "angles", angles, train_circuit)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the angles over a full turn, and the map back as that of `classical_bottleneck`."""
        super().reset_parameters()
        full_turn(self.angles)
        nn.init.normal_(self.value_proj.weight, std=self.n_qubits**-0.5)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, measured values."""
        return self._with(hidden_states, self.outcomes(self.encoded(hidden_states)))

    def encoded(self, hidden_states: Tensor) -> Tensor:
        """The angles ``[B, T, n]`` of the tokens."""
        narrow: Tensor = self.narrow_proj(hidden_states)
        return narrow.tanh()

    def outcomes(self, encoded: Tensor) -> Tensor:
        """<Z> of each qubit ``[B, T, n]``, at least float32, for as many angles."""
        # Angles lose too many digits in half precision.
        wide = torch.promote_types(encoded.dtype, torch.float32)
        encoded, angles = encoded.to(wide), self.angles.to(wide)
        if self.has_auxiliary:
            # An exported program should need torch alone.
            if self.native is None or torch.compiler.is_exporting() or encoded.device.type != "cpu":
                return self._simulated(encoded, angles)
            own = encoded.flatten(0, -2).unsqueeze(1)
            return self.native(own, angles.unsqueeze(0)).reshape(encoded.shape)
        by_layer = angles.unflatten(0, (self.layers, self.n_qubits))
        single = self._before_the_ring(encoded, by_layer)
        if self.has_ring:
            return _around_the_ring(single, by_layer[1])
        for angle in by_layer[1:]:
            single = _turned(_turned(single, 1, angle), 2, angle)
        return single[2]

    def _before_the_ring(self, encoded: Tensor, by_layer: Tensor) -> Vector:
        """<X>, <Y>, <Z> of each qubit alone, after the first rotations."""
        start = torch.zeros_like(encoded)
        single = _turned(_turned((start, start, start + 1), 0, encoded), 2, encoded)
        single = _turned(single, 0, by_layer[0])
        return _turned(single, 2, by_layer[1]) if self.layers > 1 else single

    def _simulated(self, encoded: Tensor, angles: Tensor) -> Tensor:
        """The readable reference for the native kernel; also used on a GPU."""
        n = self.ansatz.n_qubits
        index = torch.arange(2**n, device=encoded.device)
        bits = (index[:, None] >> torch.arange(n - 1, 0, -1, device=encoded.device)) & 1
        # RZ(x) RX(x)|0> is RY(x)|0> with -i exp(ix) for each 1, up to a phase of the whole.
        ones = bits[::2].to(encoded.dtype)  # the auxiliary qubit is 0
        phase = encoded @ ones.mT - ones.sum(-1) * (torch.pi / 2)
        size = product_state(encoded.flatten(0, -2)).reshape(phase.shape)
        # Not `torch.polar`, whose gradient is wrong where a size is negative.
        state = torch.complex(size * phase.cos(), size * phase.sin())
        if n <= MAX_DENSE_QUBITS:
            state = state @ self.unitary(angles)[:, ::2].mT
        else:
            with_auxiliary = torch.stack([state, torch.zeros_like(state)], dim=-1).flatten(-2)
            state = apply(self.ansatz, with_auxiliary, angles[None, None])
        shares = state.real.square() + state.imag.square()
        return shares @ (1 - 2 * bits).to(shares.dtype)

    def _with(self, hidden_states: Tensor, outcomes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key = self.qk_proj(hidden_states).chunk(2, dim=-1)
        value = self.value_proj(outcomes.to(hidden_states.dtype))
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``value``: one circuit, whose outcomes all heads share."""
        n, wires = self.n_qubits, self.ansatz.n_qubits
        encoded = self.encoded(hidden_states)
        columns = torch.cat([encoded, self.angles.expand(*encoded.shape[:-1], -1)], dim=-1)
        strings = PauliStrings(tuple("I" * i + "Z" + "I" * (wires - 1 - i) for i in range(n)))
        named = (("q", n), ("auxiliary", 1)) if wires > n else (("q", n),)
        return {"value": [Experiment(self.whole, columns, strings, registers=named)]}

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, values from the measured outcomes."""
        return self._with(hidden_states, outcomes["value"].squeeze(-2))

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"{super().extra_repr()}, qubits={self.n_qubits}, layers={self.layers}"


def _encoding(n_qubits: int, whole: int) -> Circuit:
    """RX(x_i) and RZ(x_i) on the first n of all wires."""
    gates = (Gate(name, i, angle=Angle(f"x{i}")) for i in range(n_qubits) for name in ("RX", "RZ"))
    return Circuit(whole, tuple(gates))


def _ansatz(n_qubits: int, layers: int, ring: bool) -> Circuit:
    """The trained gates; angles are named ``t0``, ``t1``, … in order of their first use."""
    auxiliary = ring and layers > 2
    count = 0

    def following(number: int) -> list[Angle]:
        nonlocal count
        count += number
        return [Angle(f"t{i}") for i in range(count - number, count)]

    wires = range(n_qubits)
    first = following(n_qubits)
    gates = [Gate("RX", i, angle=first[i]) for i in wires]
    for layer in range(1, layers):
        own = following(n_qubits)
        if layer == 1:
            gates += [Gate("RZ", i, angle=own[i]) for i in wires]
        for i in wires:
            gates += [Gate("X", (i + 1) % n_qubits, (i,))] if ring else []
            gates += [Gate(name, i, angle=own[i]) for name in ("RY", "RZ")]
        if auxiliary and layer < layers - 1:  # later, no outcome depends on it
            gates.append(Gate("X", n_qubits, (n_qubits - 1,)))
            gates.append(Gate("RY", n_qubits, angle=following(1)[0]))
    return Circuit(n_qubits + auxiliary, tuple(gates))


def _turned(single: Vector, axis: int, angle: Tensor) -> Vector:
    """<X>, <Y>, <Z> of qubits after RX, RY or RZ."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    cos, sin = angle.cos(), angle.sin()
    turned = list(single)
    turned[one] = single[one] * cos - single[other] * sin
    turned[other] = single[other] * cos + single[one] * sin
    return turned[0], turned[1], turned[2]


def _around_the_ring(single: Vector, angles: Tensor) -> Tensor:
    """<Z> of n >= 2 qubits after one round of (CNOT to the next wire, RY, RZ), wire by wire.

    Z of wire k, followed back through the gates, is Z_0 … Z_k cos w_k - X_k X_{k+1} sin w_k. On the
    last wire, X_{k+1} is that of wire 0, which has its own rotations; on wire 0, which the last
    CNOT reaches again, Z_1 … Z_{n-1} cos w_0 + Y_0 Y_1 Z_2 … Z_{n-1} sin w_0.
    """
    x, y, z = single
    cos, sin = angles.cos(), angles.sin()
    products = prefix_products(z)
    rest = prefix_products(z[..., 2:])[..., -1:] if z.shape[-1] > 2 else torch.ones_like(z[..., :1])
    first = z[..., 1:2] * rest * cos[:1] + y[..., :1] * y[..., 1:2] * rest * sin[:1]
    inner = products[..., 1:-1] * cos[1:-1] - x[..., 1:-1] * x[..., 2:] * sin[1:-1]
    last = x[..., -1:]
    # X of wire 1, too, from the first CNOT; with two wires that is the last one, and X X = 1.
    pair = last * x[..., 1:2] if z.shape[-1] > 2 else torch.ones_like(last)
    zero = (x[..., :1] * cos[:1].square() - y[..., :1] * sin[:1]) * pair
    zero = zero + z[..., :1] * last * cos[:1] * sin[:1]
    end = products[..., -1:] * cos[-1:] - zero * sin[-1:]
    return torch.cat([first, inner, end], dim=-1)

"""Kernel attention: the weight of a key is the fidelity of two encoded states."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.angles import add_angles
from ketformer.attention.base import SCORE, Attention, CommonOptions
from ketformer.attention.checks import check_layers, check_qubits, check_weights, require_choice
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.kernel_features import (
    density_features,
    product_features,
    signed_sums,
    turned_columns,
)
from ketformer.attention.overlap_measurement import angles_found, of_states, product_strings
from ketformer.attention.pair_scores import as_queries, pairs_of
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, Experiment, Gate, PauliStrings, apply, product_state

Encoding = Literal["angle", "iqp", "ry_reupload"]
Gates = Literal["published", "none"]
#: A query or key has at most so many features.
MAX_FEATURES = 4**8
_COUPLING = 0.3


class Kernel(Attention):
    """Weight K / max(sum of K, 1e-6), K = |<q|k>|² of encoded queries and keys; linear values.

    A query and a key are n numbers x each, linear in the hidden state, times the bandwidth b.
    ``angle`` has R copies of a product state, RZ(b x_m) on |+>. ``iqp`` applies H to all qubits,
    RZ(-2 b x_m), and exp(i c b² x_m x_l Z_m Z_l) to each pair. ``ry_reupload`` has R layers of
    RY(b θ_m x_m) and a ring of CZ, with trained θ. The row sum, without a softmax, is the
    published normalisation. ``normalise=softmax``, of sqrt(d_model) K, is ours.

    Published in abstracts as QKSAN (arXiv 2308.13422) and QPSAN (arXiv 2605.25365), which we could
    not read whole. The formulas of the encodings and of the row sum are those of the code at
    doi:10.5281/zenodo.21380802. Two qubits by default are those of QPSAN; the start of the linear
    maps and the bandwidth of 1 are ours.

    No state is simulated where a product gives K:

        angle                            prod_m ((1 + cos b(q_m - k_m)) / 2)^R
        iqp, c = 0                       prod_m cos²(b(q_m - k_m))
        ry_reupload, R = 1 or no CZ      prod_m cos²(R b θ_m(q_m - k_m) / 2)

    The last ring of CZ cancels in K, and so does all that follows the last upload. A power of a
    cosine is a sum of 2R + 1 products, so queries and keys have (2R + 1)^n features, whose dot
    product is K. Where gates between qubits remain, the features are the 4^n entries of
    Re |x><x| + Im |x><x|, since tr |q><q|k><k| = K. So this is linear attention, and in long
    sequences it takes O(T).

    On hardware, K is the probability of all zeros after the circuit of the key and the inverse of
    the query's, where gates that meet are merged. Copies are not entangled, so one is run and
    its probability raised to the power R. Where K is a product, the measurement ``product`` takes
    two circuits for each query and key instead: they find each qubit's angle.

    Args:
        n_qubits: n, numbers in each head's queries and keys.
        encoding: ``angle``, ``iqp`` or ``ry_reupload``.
        bandwidth: b; a larger one makes the kernel narrower.
        coupling: c of ``iqp``, 0.3 by default; 0 leaves a product state.
        repeats: R, the copies of ``angle`` or the uploads of ``ry_reupload``.
        entanglement: ``published``, the encoding's gates between qubits, or ``none``: the ablation
            without them.
        train_circuit: False draws the θ of ``ry_reupload`` and leaves them: the ablation that
            shows what training them gains.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        NotOfferedError: an ablation of what the encoding does not have.
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    default_normalise = "sum"
    dot_is_positive = True
    least_sum = 1e-6
    paper = "2308.13422, 2605.25365"
    twins = ("classical_fourier:kernel=iqp,normalise=sum,constant=1",)
    linear_values = True
    measurements = ("uncompute", "product")
    theta: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_qubits: int = 2,
        encoding: Encoding = "iqp",
        bandwidth: float = 1.0,
        coupling: float | None = None,
        repeats: int = 1,
        entanglement: Gates = "published",
        train_circuit: bool = True,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("encoding", encoding, get_args(Encoding))
        require_choice("entanglement", entanglement, get_args(Gates))
        if not 0 < bandwidth < math.inf:
            raise KetformerError(f"bandwidth must be positive and finite, got {bandwidth}")
        self.n_qubits = check_qubits(n_qubits)
        self.repeats = check_layers(repeats, n_qubits)
        self.encoding = encoding
        self.bandwidth = bandwidth
        self.coupling = self._coupling(coupling, entanglement)
        self.train_circuit = train_circuit
        if encoding == "iqp" and repeats != 1:
            raise KetformerError(f"encoding=iqp uploads once, so repeats must be 1, got {repeats}")
        if encoding == "angle" and entanglement == "none":
            raise NotOfferedError("encoding=angle has no gates between qubits to leave out")
        if encoding != "ry_reupload" and not train_circuit:
            raise NotOfferedError(f"encoding={encoding} has no angles of its own that are trained")
        self.ring = Circuit(n_qubits)
        if encoding == "ry_reupload" and entanglement == "published":
            self.ring = cz_ring(n_qubits)
        #: Whether K is a product over the qubits.
        self.is_product = not self.coupling and (repeats == 1 or not self.ring.gates)
        copies = repeats if encoding == "angle" else 1
        width = (2 * copies + 1 if self.is_product else 4) ** n_qubits
        if width > MAX_FEATURES:
            raise KetformerError(
                f"the kernel of {n_qubits} qubits has {width:,} features, and at most "
                f"{MAX_FEATURES:,} are offered: use fewer qubits or repeats"
            )
        self.power = copies
        check_weights("n_qubits", hidden_size, 2 * num_heads * n_qubits)
        self.angle_proj = nn.Linear(hidden_size, 2 * num_heads * n_qubits, bias=self.bias)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        if encoding == "ry_reupload":
            add_angles(self, "theta", torch.empty(num_heads, 1, n_qubits), train_circuit)
        # All uploads but the last, whose ring cancels.
        layer = _rotations(n_qubits, "RY", "upload").then(self.ring)
        earlier = Circuit(n_qubits, (repeats - 1) * layer.gates)
        self.ring_signs = apply(self.ring, torch.ones(2**n_qubits, device="cpu")).tolist()
        self.circuit = self._between_states(earlier)
        letters = ("".join(letters) for letters in itertools.product("IZ", repeat=n_qubits))
        self.strings = PauliStrings(tuple(letters)[1:])
        self.reset_parameters()

    def _coupling(self, coupling: float | None, entanglement: Gates) -> float:
        if self.encoding != "iqp":
            if coupling is not None:
                raise KetformerError(f"coupling belongs to encoding=iqp, not to {self.encoding}")
            return 0.0
        if coupling is not None and not math.isfinite(coupling):
            raise KetformerError(f"coupling must be finite, got {coupling}")
        if entanglement == "none" or self.n_qubits == 1:
            return 0.0
        return _COUPLING if coupling is None else coupling

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """Sizes for the encodings with gates between qubits; only one has layers."""
        return [
            {"n_qubits": n_qubits, "encoding": "iqp"},
            {"n_qubits": n_qubits, "encoding": "ry_reupload", "repeats": layers},
        ]

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds for the scores of all pairs i >= j."""
        return length * (length + 1) // 2 * hidden_size

    def dot_scale(self, width: int) -> float:
        """sqrt(d_model), in a softmax: K lies within [0, 1], whatever the number of qubits."""
        return math.sqrt(self.hidden_size)

    def score_weights(self) -> list[Tensor]:
        """The map to the angles."""
        return [self.angle_proj.weight]

    def reset_parameters(self) -> None:
        """Draw the map to the angles for a deviation of half a radian; trained θ begin at 1."""
        super().reset_parameters()
        nn.init.normal_(self.angle_proj.weight, std=0.5 * self.hidden_size**-0.5)
        if self.encoding == "ry_reupload":
            if self.train_circuit:
                nn.init.ones_(self.theta)
            else:
                nn.init.uniform_(self.theta, 0, 2)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features of queries and keys, ``[B, H, T, F]``, and linear values."""
        value = self.split_heads(self.value_proj(hidden_states))
        query, key = self._features(*self._uploads(hidden_states, tokens))
        return query.to(value.dtype), key.to(value.dtype), value

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing: with ``rotary``, position times a frequency is added to each last angle.

        The kernel then depends on the difference of the positions alone.
        """
        return queries, keys

    def states(self, hidden_states: Tensor, tokens: TokenInputs | None = None) -> Tensor:
        """The states of queries and of keys, complex ``[2, B, H, T, 2^n]``; one of R copies.

        Nothing needs them where :attr:`is_product`.
        """
        return torch.complex(*self._amplitudes(*self._uploads(hidden_states, tokens)))

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """``score``: for each pair of positions i >= j, the key's circuit, undone by the query's.

        Measured as a product: ``query`` and ``key``, two expectations of each qubit.

        The probability of all zeros is 2^-n (1 + the sum of the expectations of all strings of
        I and Z), which a single setting measures.

        Raises:
            NotOfferedError: the score is not ``dot``.
        """
        if self.score != "dot":
            raise NotOfferedError(f"fidelities are measured for the score dot, not {self.score}")
        row, column = pairs_of(hidden_states)
        uploads, last = self._uploads(hidden_states, tokens)
        if self.measurement == "product":
            name, axes = ("RY", "ZX") if self.encoding == "ry_reupload" else ("RZ", "XY")
            state = Circuit(self.n_qubits)
            for qubit in range(self.n_qubits if name == "RZ" else 0):
                state = state.h(qubit)
            state = state.then(_rotations(self.n_qubits, name, "last"))
            strings = product_strings(axes, self.n_qubits)
            return of_states(state, self._whole_turns(uploads, last), strings)
        query, key = uploads[0][:, :, row], uploads[1][:, :, column]
        columns = [last[1][:, :, column] - last[0][:, :, row]]
        if self.coupling:
            columns.append(self._couplings(key) - self._couplings(query))
        if self.encoding == "ry_reupload" and self.repeats > 1:
            columns = [key, *columns, query.flip(-1)]  # the inverse begins with the last qubit
        angles = torch.cat(columns, dim=-1)
        return {
            SCORE: [Experiment(self.circuit, of_head, self.strings) for of_head in angles.unbind(1)]
        }

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measured kernel as queries, and unit vectors as keys to read it off."""
        value = self.split_heads(self.value_proj(hidden_states))
        if self.measurement == "product":
            query, key = (angles_found(outcomes[name]).transpose(1, 2) for name in ("query", "key"))
            return product_features(query, self.power), product_features(key, self.power), value
        zeros = (1 + outcomes[SCORE].sum(-1)) / 2**self.n_qubits
        return *as_queries(zeros**self.power, value), value

    def measure_by(self, measurement: str) -> None:
        """Choose how K is measured; see :class:`~ketformer.attention.Mixer`."""
        if measurement == "product" and not self.is_product:
            raise NotOfferedError("measurement product needs a kernel without gates between qubits")
        super().measure_by(measurement)

    def _uploads(self, hidden_states: Tensor, tokens: TokenInputs | None) -> tuple[Tensor, Tensor]:
        """Angles of queries and keys, ``[2, B, H, T, n]``: as uploaded, and of the last gates.

        The uploaded are b x, or b θ x. The last are the angles of RZ or of the last RY.
        """
        numbers: Tensor = self.angle_proj(hidden_states)
        # Angles lose too many digits in half precision.
        numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
        halves = [self.split_heads(half) for half in numbers.chunk(2, dim=-1)]
        uploads = self.bandwidth * torch.stack(halves)
        if self.encoding == "ry_reupload":
            uploads = uploads * self.theta.to(uploads.dtype)
        last = uploads * -2 if self.encoding == "iqp" else uploads
        if self.positions == "rotary":
            last = last + self.phases(hidden_states, tokens, self.n_qubits).unsqueeze(1)
        return uploads, last

    def _features(self, uploads: Tensor, last: Tensor) -> Tensor:
        """Features ``[2, B, H, T, F]`` whose dot products are the kernel."""
        if not self.is_product:
            return density_features(*self._amplitudes(uploads, last))
        return product_features(self._whole_turns(uploads, last), self.power)

    def _whole_turns(self, uploads: Tensor, last: Tensor) -> Tensor:
        """The angles of a product: without a ring, all rotations of a qubit add up."""
        return last + (self.repeats - 1) * uploads if self.encoding == "ry_reupload" else last

    def _amplitudes(self, uploads: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of the states, ``[2, B, H, T, 2^n]``."""
        # Computed as columns, so that memory is accessed in long runs; the results are views.
        if self.encoding == "ry_reupload":
            real = self._reuploaded(uploads, last)
            return real, torch.zeros_like(real)
        phases = signed_sums(last.mT.contiguous() / -2)
        if self.coupling:
            # (sum of s_m x_m)² holds each pair twice, and the squares.
            columns = uploads.mT.contiguous()
            squares = columns.square().sum(-2, keepdim=True)
            phases = phases + self.coupling / 2 * (signed_sums(columns).square() - squares)
        length = 2 ** (-self.n_qubits / 2)
        return (phases.cos() * length).mT, (phases.sin() * length).mT

    def _reuploaded(self, uploads: Tensor, last: Tensor) -> Tensor:
        """Real states after layers of RY with the ring between them, ``[..., T, 2^n]``."""
        first, *others = [*[uploads] * (self.repeats - 1), last]
        columns = product_state(first).mT
        signs = columns.new_tensor(self.ring_signs).unsqueeze(-1)
        for angles in others:
            columns = turned_columns(columns * signs, angles.mT.contiguous())
        return columns.mT

    def _couplings(self, uploads: Tensor) -> Tensor:
        """-2 c b² x_m x_l for each pair m < l, ``[..., n(n-1)/2]``."""
        first, second = torch.triu_indices(self.n_qubits, self.n_qubits, 1, device=uploads.device)
        return -2 * self.coupling * uploads[..., first] * uploads[..., second]

    def _between_states(self, earlier: Circuit) -> Circuit:
        """The circuit whose probability of all zeros is K, or that of one copy."""
        n = self.n_qubits
        if self.encoding == "ry_reupload":
            middle = _rotations(n, "RY", "last")
            return earlier.renamed("key_").then(middle).then(earlier.renamed("query_").inverse())
        turned = Circuit(n)
        for qubit in range(n):
            turned = turned.h(qubit)
        whole = turned.then(_rotations(n, "RZ", "last"))
        for a, b in itertools.combinations(range(n), 2) if self.coupling else ():
            whole = whole.cnot(a, b).rz(b, f"pair{a}_{b}").cnot(a, b)
        return whole.then(turned)

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"{super().extra_repr()}, encoding={self.encoding}, qubits={self.n_qubits}"


def cz_ring(n_qubits: int) -> Circuit:
    """CZ on qubits 0-1, 1-2, …, (n-1)-0; one gate on two qubits, none on one."""
    count = n_qubits if n_qubits > 2 else n_qubits - 1
    gates = (Gate("Z", (qubit + 1) % n_qubits, (qubit,)) for qubit in range(count))
    return Circuit(n_qubits, tuple(gates))


def _rotations(n_qubits: int, name: str, prefix: str) -> Circuit:
    """A rotation on each qubit; angles are named ``{prefix}0``, ``{prefix}1``, and so on."""
    circuit = Circuit(n_qubits)
    for qubit in range(n_qubits):
        angle = f"{prefix}{qubit}"
        circuit = circuit.ry(qubit, angle) if name == "RY" else circuit.rz(qubit, angle)
    return circuit

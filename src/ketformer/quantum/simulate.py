"""Exact, batched, differentiable statevector simulation in plain torch.

States are tensors ``[..., 2^n]``; angles are tensors ``[..., n_parameters]`` in
the order of ``circuit.parameters``. Leading dimensions broadcast. If the state and
every gate are real, arithmetic stays real.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ketformer.quantum.circuit import Circuit, Gate
from ketformer.quantum.product import product_state

_SQRT_HALF = 0.5**0.5


def zero_state(n_qubits: int, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """The state |0…0>, ``[2^n_qubits]``."""
    state = torch.zeros(2**n_qubits, dtype=dtype, device=device)
    state[0] = 1
    return state


def run(circuit: Circuit, angles: Tensor) -> Tensor:
    """The state that the circuit prepares from |0…0>.

    Args:
        circuit: ``P`` named parameters on ``n`` qubits.
        angles: ``[..., P]`` in radians, float32 or float64.

    Returns:
        ``[..., 2^n]``; real if the circuit is.
    """
    _check_angles(circuit, angles)
    first = _first_rotations(circuit)
    column = {name: i for i, name in enumerate(circuit.parameters)}
    start = zero_state(circuit.n_qubits, angles.dtype, angles.device)
    state = start.expand(*angles.shape[:-1], -1)
    if first:
        state = product_state(angles[..., [column[name] for name in first]])
    rest = circuit.elementary[len(first) :]
    return _apply_gates(rest, circuit.n_qubits, state, angles, column)


def apply(circuit: Circuit, state: Tensor, angles: Tensor | None = None) -> Tensor:
    """The circuit applied to ``state``.

    Args:
        circuit: ``P`` named parameters on ``n`` qubits.
        state: ``[..., 2^n]``, real or complex.
        angles: ``[..., P]`` in radians; may be omitted if ``P`` is 0. The leading
            dimensions broadcast against those of ``state``.

    Returns:
        ``[..., 2^n]``; complex if the state or any gate is.

    Raises:
        ValueError: the state or the angles do not fit the circuit.
    """
    n = circuit.n_qubits
    if state.shape[-1] != 2**n:
        raise ValueError(f"a state of {state.shape[-1]} amplitudes does not fit {n} qubits")
    n_parameters = len(circuit.parameters)
    _check_angles(circuit, angles)
    if n_parameters:
        assert angles is not None
        batch = torch.broadcast_shapes(state.shape[:-1], angles.shape[:-1])
        state = state.expand(*batch, -1)
    column = {name: i for i, name in enumerate(circuit.parameters)}
    return _apply_gates(circuit.elementary, n, state, angles, column)


def _apply_gates(
    gates: tuple[Gate, ...],
    n_qubits: int,
    state: Tensor,
    angles: Tensor | None,
    column: dict[str, int],
) -> Tensor:
    if not state.is_complex() and not all(gate.is_real for gate in gates):
        state = state.to(torch.promote_types(state.dtype, torch.complex64))
    position = 0
    while position < len(gates):
        gate = gates[position]
        flips = _leading_flips(gates[position:])
        if flips:
            state = state.index_select(-1, _source(flips, n_qubits, state.device))
            position += len(flips)
            continue
        matrix = _matrix(gate, angles, column, state)
        state = _apply_matrix(state, matrix, gate, n_qubits)
        position += 1
    return state


def unitary(circuit: Circuit, angles: Tensor | None = None) -> Tensor:
    """The circuit's matrix, ``U[row, column]``, for angles shared by many states.

    Building it once and multiplying is much cheaper than simulating the circuit
    for each state: ``states @ unitary(...).mT`` keeps the batch shape of the states.

    Args:
        circuit: ``P`` named parameters on ``n`` qubits.
        angles: ``[..., P]``.

    Returns:
        ``[..., 2^n, 2^n]``; real if the circuit is.
    """
    dtype = torch.get_default_dtype() if angles is None else angles.dtype
    device = None if angles is None else angles.device
    basis = torch.eye(2**circuit.n_qubits, dtype=dtype, device=device)
    columns = apply(circuit, basis, None if angles is None else angles.unsqueeze(-2))
    return columns.mT


def overlap(bra: Tensor, ket: Tensor) -> Tensor:
    """<bra|ket> along the last dimension; leading dimensions broadcast."""
    return (bra.conj() * ket).sum(dim=-1)


def _check_angles(circuit: Circuit, angles: Tensor | None) -> None:
    wanted, given = len(circuit.parameters), 0 if angles is None else angles.shape[-1]
    if wanted and wanted != given:
        raise ValueError(f"the circuit has {wanted} parameters, {given} angles were given")


def _first_rotations(circuit: Circuit) -> tuple[str, ...]:
    """Angle names of RY(0), RY(1), … RY(n-1) if the circuit starts with these, else ()."""
    gates = circuit.gates[: circuit.n_qubits]
    names = tuple(str(g.angle.value) for g in gates if g.angle and g.angle.is_plain)
    plain = [(g.name, g.qubits) for g in gates] == [("RY", (q,)) for q in range(circuit.n_qubits)]
    return names if plain and len(names) == circuit.n_qubits else ()


def _leading_flips(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    """The leading (controlled) X gates of the sequence, which form one permutation."""
    end = 0
    while end < len(gates) and gates[end].name == "X":
        end += 1
    return gates[:end]


def flips_as_permutation(gates: tuple[Gate, ...], n_qubits: int) -> Tensor:
    """Index ``p`` with ``(gates applied to state)[b] = state[p[b]]``, for (controlled) X gates."""
    source = torch.arange(2**n_qubits, device="cpu")
    # (U_k … U_1 state)[b]: peel off the last gate first. Each gate is its own inverse.
    for gate in reversed(gates):
        active = torch.ones_like(source, dtype=torch.bool)
        for control in gate.controls:
            active &= (source >> (n_qubits - 1 - control)) & 1 == 1
        source = torch.where(active, source ^ (1 << (n_qubits - 1 - gate.target)), source)
    return source


def _source(gates: tuple[Gate, ...], n_qubits: int, device: torch.device) -> Tensor:
    if torch.compiler.is_compiling():  # the graph keeps the table, so no cache is needed
        return flips_as_permutation(gates, n_qubits).to(device)
    return _kept_source(gates, n_qubits, device)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # training must be able to use what an evaluation kept
def _kept_source(gates: tuple[Gate, ...], n_qubits: int, device: torch.device) -> Tensor:
    return flips_as_permutation(gates, n_qubits).to(device)


def _matrix(
    gate: Gate, angles: Tensor | None, column: dict[str, int], state: Tensor
) -> tuple[tuple[Tensor | complex, ...], ...]:
    """The gate's 2x2 matrix; entries are numbers or tensors with the batch shape of the angles."""
    if gate.angle is None:
        return {
            "H": ((_SQRT_HALF, _SQRT_HALF), (_SQRT_HALF, -_SQRT_HALF)),
            "Y": ((0, -1j), (1j, 0)),
            "Z": ((1, 0), (0, -1)),
        }[gate.name]
    if isinstance(gate.angle.value, str):
        assert angles is not None
        half = angles[..., column[gate.angle.value]] * (gate.angle.factor / 2)
        if gate.angle.offset:
            half = half + gate.angle.offset / 2
    else:
        real = state.real.dtype if state.is_complex() else state.dtype
        half = torch.full((), gate.angle.bound({}) / 2, dtype=real, device=state.device)
    cos, sin = torch.cos(half), torch.sin(half)
    if gate.name == "RY":
        return ((cos, -sin), (sin, cos))
    if gate.name == "RX":
        return ((cos, -1j * sin), (-1j * sin, cos))
    if gate.name == "P":
        return ((1, 0), (0, _on_circle(2 * half)))
    return ((_on_circle(-half), 0), (0, _on_circle(half)))


def _on_circle(angles: Tensor) -> Tensor:
    """exp(i a), which has no type of less than single precision."""
    wide = angles.to(torch.promote_types(angles.dtype, torch.float32))
    return torch.complex(wide.cos(), wide.sin())


def _apply_matrix(
    state: Tensor, matrix: tuple[tuple[Tensor | complex, ...], ...], gate: Gate, n_qubits: int
) -> Tensor:
    batch = state.shape[:-1]
    grid = state.reshape(*batch, *(2,) * n_qubits)
    # Bring the gate's qubits to the front of the register: controls, target, rest.
    axes = [len(batch) + q for q in gate.qubits]
    front = list(range(len(batch), len(batch) + len(axes)))
    grid = grid.movedim(axes, front)
    rest = grid.shape[len(batch) + len(axes) :]
    rows = grid.reshape(*batch, 2 ** len(gate.controls), 2, -1)
    zero, one = rows[..., -1, 0, :], rows[..., -1, 1, :]  # all controls are 1

    def entry(value: Tensor | complex) -> Tensor | complex:
        return value.unsqueeze(-1) if isinstance(value, Tensor) else value

    (a, b), (c, d) = ((entry(v) for v in row) for row in matrix)
    changed = torch.stack([a * zero + b * one, c * zero + d * one], dim=-2)
    if gate.controls:
        changed = torch.cat([rows[..., :-1, :, :], changed.unsqueeze(-3)], dim=-3)
    grid = changed.reshape(*batch, *(2,) * len(axes), *rest)
    return grid.movedim(front, axes).reshape(*batch, -1)

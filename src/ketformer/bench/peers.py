"""``bench peers``: the exact path against PennyLane and CUDA-Q, circuit for circuit."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ketformer.attention.observables import PauliObservables
from ketformer.bench.machine import timed_machine
from ketformer.bench.peer_step import bench_step
from ketformer.bench.sizes import PEER_SIZES, PeerSize
from ketformer.errors import KetformerError
from ketformer.quantum import (
    Circuit,
    CircuitStates,
    PauliStrings,
    amplitude_encode,
    distinct_strings,
    entangling_ansatz,
    overlap,
    rotation_ring_ansatz,
    run,
)
from ketformer.quantum.backends._packages import require_package
from ketformer.utils.progress import Bars
from ketformer.utils.timing import compared, interleaved

OURS = "ketformer"
OURS_SINGLE = "ketformer, float32"
PENNYLANE = "PennyLane default.qubit"
#: Largest relative difference of outputs and gradients; checked before anything is timed.
TOLERANCE = 1e-5
_STRINGS = 16
_CHECKED = 8  # rows compared
#: Maps token features or angles ``[N, F]`` and shared angles ``[P]`` to outputs.
Work = Callable[[Tensor, Tensor], Tensor]


def bench_peers(
    *,
    sizes: Sequence[PeerSize] = tuple(PEER_SIZES.values()),
    repeats: int = 5,
    progress: bool = True,
) -> dict[str, Any]:
    """Time the same circuits here and in PennyLane, forward and backward, and a step in CUDA-Q.

    Inputs and outputs are float64 on the CPU, which is PennyLane's precision; PennyLane
    broadcasts over the batch and differentiates by backpropagation. Models compute in float32,
    so ours is also timed in float32.

    Args:
        sizes: circuits and batches, and the training step.
        repeats: timings of each; the median counts.
        progress: show bars on standard error.

    Returns:
        ``rows``: each with ``name``, ``work``, ``ratio`` of its time to ``against``'s,
        ``median_ms``, ``low_ms``, ``high_ms``, ``max_difference`` (from ours, of outputs
        and gradients; None where outputs are not compared) and ``device``; ``notes`` on what
        could not be timed or was scaled; ``machine``.

    Raises:
        KetformerError: PennyLane is not installed, or its results differ.
    """
    if repeats < 1:
        raise KetformerError(f"repeats must be positive, got {repeats}")
    require_package("pennylane", "pennylane")
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    with Bars(progress, "round") as bars:
        for size in sizes:
            if size.kind == "step":
                made, more = bench_step(size.batch, repeats, bars)
                rows += made
                notes += more
            else:
                rows += _bench_circuits(size, repeats, bars)
    return {"rows": rows, "notes": notes, "repeats": repeats, "machine": timed_machine()}


def _bench_circuits(size: PeerSize, repeats: int, bars: Bars) -> list[dict[str, Any]]:
    n_angles = (3 if size.kind == "values" else 2) * size.n_qubits
    n_own = 2**size.n_qubits if size.kind == "values" else 2 * size.n_qubits
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(size.batch, n_own, generator=generator, dtype=torch.float64)
    shared = torch.randn(n_angles, generator=generator, dtype=torch.float64)
    works = {
        OURS: _ours(size),
        OURS_SINGLE: _ours(size, torch.float32),
        PENNYLANE: _pennylane(size),
    }
    differences = {
        name: _difference(works[OURS], work, own[:_CHECKED], shared) for name, work in works.items()
    }
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise KetformerError(f"{name} differs by {difference:.1e} on {size.name}")
    rows = []
    for way, timing in (("forward", _forward), ("forward and backward", _backward)):
        timed = {name: timing(work, own, shared) for name, work in works.items()}
        label = f"{size.name}, {way}"
        seconds = interleaved(timed, repeats, bars(label), f"peers {label}")
        for row in compared(seconds, OURS, label, "cpu"):
            rows.append({**row, "max_difference": differences[row["name"]]})
    return rows


def _forward(work: Work, own: Tensor, shared: Tensor) -> Callable[[], Any]:
    def once() -> None:
        with torch.no_grad():
            work(own, shared)

    return once


def _backward(work: Work, own: Tensor, shared: Tensor) -> Callable[[], Any]:
    return lambda: _gradients(work, own, shared)


def _gradients(work: Work, own: Tensor, shared: Tensor) -> tuple[Tensor, ...]:
    own, shared = (x.detach().clone().requires_grad_() for x in (own, shared))
    out = work(own, shared)
    return (out.detach(), *torch.autograd.grad(out.square().sum(), (own, shared)))


def _difference(ours: Work, theirs: Work, own: Tensor, shared: Tensor) -> float:
    """Largest difference of outputs and gradients, relative to the largest of each."""
    pairs = zip(_gradients(ours, own, shared), _gradients(theirs, own, shared), strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def _circuit(size: PeerSize) -> Circuit:
    """The circuit: angles per token ``x0``, ``x1``, … first, then shared ones ``t0``, ``t1``, …."""
    if size.kind == "values":
        return entangling_ansatz(size.n_qubits)
    own = rotation_ring_ansatz(size.n_qubits, prefix="x")
    return own.then(rotation_ring_ansatz(size.n_qubits))


def _strings(size: PeerSize) -> PauliStrings:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # they are random, and all must measure the same
        return distinct_strings(_STRINGS, size.n_qubits)


def _ours(size: PeerSize, dtype: torch.dtype = torch.float64) -> Work:
    """Compute as the mechanisms do: shared matrices once, products of states, one Pauli plan."""
    n = size.n_qubits
    if size.kind == "values":
        circuit = _circuit(size)
        observables = PauliObservables([_strings(size)], circuit)

        def values(own: Tensor, shared: Tensor) -> Tensor:
            state = amplitude_encode(own.to(dtype), n).unsqueeze(1)
            found: Tensor = observables(state, angles=shared.to(dtype)[None])
            return found.squeeze(1).to(own)

        return values
    circuit = _circuit(size)
    states = CircuitStates(circuit, n) if CircuitStates.can_run(circuit) else None

    def overlaps(own: Tensor, shared: Tensor) -> Tensor:
        own_angles, turning = own.to(dtype).unflatten(-1, (2, n)), shared.to(dtype).view(2, n)
        if states is not None:
            both = states(own_angles, turning)
        else:
            both = run(circuit, torch.cat([own_angles, turning.expand_as(own_angles)], dim=-1))
        return overlap(*both.unbind(1)).to(own)

    return overlaps


def _pennylane(size: PeerSize) -> Work:
    qml = importlib.import_module("pennylane")
    n, circuit = size.n_qubits, _circuit(size)
    gates = {"RX": qml.RX, "RY": qml.RY}
    words = [
        qml.pauli.string_to_pauli_word(s, {q: q for q in range(n)}) for s in _strings(size).strings
    ]

    def circuit_of(features: Tensor | None, columns: dict[str, Tensor]) -> Any:
        if features is not None:
            qml.AmplitudeEmbedding(features, wires=range(n), normalize=True)
        for gate in circuit.gates:
            if gate.angle is None:
                qml.CNOT(wires=gate.qubits)
            else:
                gates[gate.name](columns[str(gate.angle.value)], wires=gate.target)
        return [qml.expval(word) for word in words] if features is not None else qml.state()

    device = qml.device("default.qubit", wires=n)
    node = qml.QNode(circuit_of, device, interface="torch", diff_method="backprop")
    return _with_columns(
        size,
        values=lambda features, columns: torch.stack(node(features, columns), dim=-1),
        states=lambda columns: node(None, columns),
    )


def _with_columns(
    size: PeerSize,
    *,
    values: Callable[[Tensor, dict[str, Tensor]], Tensor],
    states: Callable[[dict[str, Tensor]], Tensor],
) -> Work:
    """A peer's work, with its angles passed by name and per-token angles as columns."""
    n = size.n_qubits

    def work(own: Tensor, shared: Tensor) -> Tensor:
        if size.kind == "values":
            return values(own, {f"t{i}": angle for i, angle in enumerate(shared)})
        bra, ket = (
            states({f"x{i}": rows[:, i] for i in range(n)} | {f"t{i}": turn[i] for i in range(n)})
            for rows, turn in zip(own.split(n, dim=-1), shared.split(n), strict=True)
        )
        return overlap(bra, ket).real

    return work

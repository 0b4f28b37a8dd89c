"""Ways to measure all overlaps of a sequence, side by side: circuits, gates, shots, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ketformer.attention import ATTENTION, attention_class
from ketformer.attention.overlap import Overlap
from ketformer.attention.overlap_measurement import MEASUREMENTS, Measured, Measurement
from ketformer.circuits.mechanisms import mechanism, random_tokens
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, Experiment, PauliStrings, pauli_expectations, run
from ketformer.quantum.backends import Backend, open_backend
from ketformer.quantum.measurement import Setting
from ketformer.quantum.resources import count_resources
from ketformer.utils.progress import Bars

LENGTHS = (4, 8, 16, 32)
#: Mean squared error of an overlap, or None, and of its square, by shots for each circuit.
Errors = Callable[[int], tuple[float | None, float]]
_MOST_SHOTS = 10**15


class _States(NamedTuple):
    """Queries and keys of one sequence.

    Attributes:
        circuit: that prepares each of them.
        angles: ``[2, 1, H, T, P]``.
        query: ``[1, H, T, 2^n]``.
        key: likewise.
    """

    circuit: Circuit
    angles: Tensor
    query: Tensor
    key: Tensor


def measurement_methods(
    subject: str = "overlap",
    *,
    lengths: Sequence[int] = LENGTHS,
    qubits: Sequence[int] | None = None,
    precision: float = 0.1,
    total_shots: int = 100_000,
    draws: int = 3,
    seed: int = 0,
    progress: bool = True,
    **sizes: Any,
) -> dict[str, Any]:
    """Compare the ways to measure the scores of a sequence's pairs i >= j.

    Hidden states are random; a run's angles are the trained ones.

    Args:
        subject: a mechanism measured in several ways, or a run directory with one, of which the
            first layer is used.
        lengths: numbers of tokens T.
        qubits: numbers of qubits n of a state, for a mechanism; None for its own.
        precision: root mean squared error of a score, over all pairs, for which shots are counted.
        total_shots: shots of all of a sequence's circuits together, at which errors are measured.
        draws: repetitions of that measurement.
        seed: seed of hidden states and shots.
        progress: show a bar on standard error.
        **sizes: sizes and options of a mechanism, see
            :func:`~ketformer.circuits.mechanisms.mechanism`; a run has its own.

    Returns:
        ``rows``, for each n, T and ``method``: ``keeps_sign``; ``circuits`` of a sequence, all
        heads, their ``two_qubit_gates`` if each is run once, the ``qubits`` and ``depth`` of the
        largest; ``shots`` of all circuits together for the precision of the signed score and
        ``shots_square`` for that of its square, by the formulas of this module; ``error`` and
        ``error_square``, root mean squared and measured on our simulator with ``total_shots``,
        beside ``expected_error`` and ``expected_error_square`` by the formulas. A score is
        ``scale`` times the overlap or its square; where the sign is lost, what needs it is None.
        ``summary``: the way with the fewest shots, in words.

    Raises:
        KetformerError: a mechanism without a choice, or invalid sizes.
    """
    if not precision > 0 or draws < 1 or min(lengths, default=0) < 1:
        raise KetformerError("lengths, precision and draws must be positive")
    mixers = _mixers(subject, qubits, sizes)
    rows: list[dict[str, Any]] = []
    with Bars(progress, "method") as bars, torch.no_grad():
        step = bars("ways to measure")
        ways = [
            (mixer, length, name, way)
            for mixer in mixers
            for length in lengths
            for name, way in MEASUREMENTS.items()
            if _fits(way, mixer)
        ]
        for mixer, length, name, way in ways:
            row: dict[str, Any] = {
                "method": name,
                "n_qubits": mixer.n_qubits,
                "length": length,
                **_counts(mixer, way, length, seed),
            }
            if total_shots < row["circuits"]:
                raise KetformerError(
                    f"{total_shots:,} shots are fewer than the {row['circuits']:,} circuits of "
                    f"{name} for {length} tokens; raise --total_shots"
                )
            states = _states(mixer, length, seed)
            scale = mixer.dot_scale(2**mixer.n_qubits)
            errors, circuits = _errors_of(name, states), row["circuits"]
            for key, which in (("shots", 0), ("shots_square", 1)):
                row[key] = _shots(errors, which, precision / scale, circuits)
            each = total_shots // circuits
            measured = _measured(way, states, each, draws, seed)
            for key, found in (("expected_error", errors(each)), ("error", measured)):
                row[key] = found[0] and scale * found[0] ** 0.5
                row[f"{key}_square"] = scale * found[1] ** 0.5
            rows.append(row)
            step(len(rows), len(ways))
    return {
        "subject": subject,
        "attention": "overlap",
        "num_heads": mixers[0].num_heads,
        "scale": mixers[0].dot_scale(2 ** mixers[0].n_qubits),
        "precision": precision,
        "total_shots": total_shots,
        "draws": draws,
        "rows": rows,
        "summary": _summary(rows, precision),
    }


def _mixers(subject: str, qubits: Sequence[int] | None, sizes: dict[str, Any]) -> list[Overlap]:
    if subject not in ATTENTION and Path(subject).exists():
        if qubits:
            raise KetformerError(f"{subject} is a run, with qubits of its own; leave --qubits out")
        # Brings in transformers, which takes seconds and which no mechanism needs.
        from ketformer.runs import open_run

        model = open_run(subject).model
        found = [m for m in model.modules() if isinstance(m, Overlap)][:1]
    else:
        if not issubclass(attention_class(subject), Overlap):
            raise NotOfferedError(f"{subject} is measured in one way; try overlap")
        each = [{"n_qubits": n} for n in qubits] if qubits else [{}]
        made = [mechanism(subject, **(sizes | own)) for own in each]
        found = [m for m in made if isinstance(m, Overlap)]
    if not found:
        raise NotOfferedError(f"no layer of {subject} is measured in several ways; overlap is")
    return [mixer.double().eval() for mixer in found]


def _fits(way: Measurement, mixer: Overlap) -> bool:
    try:
        way.check(mixer.circuit)
    except NotOfferedError:
        return False
    return True


def _states(mixer: Overlap, length: int, seed: int) -> _States:
    hidden, tokens = random_tokens(mixer, batch=1, length=length, seed=seed)
    circuit, angles = mixer.whole_circuit(hidden, tokens)
    query, key = run(circuit, angles)
    return _States(circuit, angles, query, key)


def _counts(mixer: Overlap, way: Measurement, length: int, seed: int) -> dict[str, Any]:
    """Circuits of a sequence and their gates, from those that two tokens really take."""
    counts = {"circuits": 0, "two_qubit_gates": 0, "qubits": 0, "depth": 0}
    with open_backend("torch") as backend:

        def expect(experiment: Experiment) -> Tensor:
            before = backend.circuits_run
            outcomes = _expectations(backend, experiment)
            times, each = backend.circuits_run - before, count_resources(experiment.circuit)
            counts["circuits"] += times
            counts["two_qubit_gates"] += times * each.two_qubit_gates
            counts["qubits"] = max(counts["qubits"], each.n_qubits)
            counts["depth"] = max(counts["depth"], each.depth)
            return outcomes

        _overlaps(way, _states(mixer, 2, seed), expect)
    for key in ("circuits", "two_qubit_gates"):
        counts[key] = counts[key] * length * ((length + 1) if way.of_pairs else 3) // 6
    return {"keeps_sign": way.keeps_sign, **counts}


def _overlaps(way: Measurement, states: _States, expect: Callable[[Experiment], Tensor]) -> Tensor:
    """The measured overlaps ``[H, pairs]``, in absolute values where the sign is lost."""
    experiments = way.experiments(states.circuit, states.angles)
    outcomes = {
        name: torch.stack([expect(e) for e in heads], dim=-2) for name, heads in experiments.items()
    }
    no_values = states.query[..., :1]
    query, key = way.states(Measured(states.circuit, states.angles, outcomes, no_values, expect))
    return _pairs(query @ key.mT)


def _pairs(table: Tensor) -> Tensor:
    row, column = torch.tril_indices(*table.shape[-2:])
    return table[0, :, row, column]


def _expectations(backend: Backend, experiment: Experiment) -> Tensor:
    return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)


def _measured(
    way: Measurement, states: _States, shots: int, draws: int, seed: int
) -> tuple[float | None, float]:
    """Mean squared errors on our simulator."""
    exact = _pairs(states.query @ states.key.mT)
    plain = square = 0.0
    for draw in range(draws):
        with open_backend("shots", shots=shots, seed=seed + draw) as backend:
            found = _overlaps(way, states, lambda e, b=backend: _expectations(b, e))  # type: ignore[misc]
        plain += float((found - exact).square().mean()) / draws
        square += float((found.square() - exact.square()).square().mean()) / draws
    return plain if way.keeps_sign else None, square


def _shots(errors: Errors, which: int, error: float, circuits: int) -> int | None:
    """Shots of all circuits together that bring the error down to the given one."""
    if errors(1)[which] is None:
        return None

    def enough(shots: int) -> bool:
        return (errors(shots)[which] or 0.0) <= error**2

    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST_SHOTS:
            raise KetformerError(f"no number of shots gives an error of {error:.1g}; raise it")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high * circuits


def _errors_of(name: str, states: _States) -> Errors:
    """Mean squared errors over the pairs, by shots N for each circuit.

    With s the overlap, Hadamard tests have variance (1 - s²)/N, a swap test has (1 - s⁴)/N, and
    compute-uncompute s²(1 - s²)/N, both of s². The square of an overlap with variance v is wrong
    by 4s²v + 3v² if the error is normal.
    """
    square = _pairs(states.query @ states.key.mT).square()
    if name == "swap":
        return lambda shots: (None, float((1 - square.square()).mean()) / shots)
    if name == "uncompute":
        return lambda shots: (None, float((square * (1 - square)).mean()) / shots)
    if name == "hadamard":
        first, second = 1 - square, torch.zeros_like(square)
    elif name == "tomography":
        first, second = _of_tomography(states, square)
    else:
        first, second = _of_product_states(states), torch.zeros_like(square)

    def errors(shots: int) -> tuple[float, float]:
        variance = first / shots + second / shots**2
        return float(variance.mean()), float((4 * square * variance + 3 * variance**2).mean())

    return errors


def _of_tomography(states: _States, square: Tensor) -> tuple[Tensor, Tensor]:
    """The v and w of the variance v/N + w/N² of q·k, from shots of the query and of the key.

    One shot finds a state b of the basis of X with probability (1/D + a_b²)/2, D = 2^n, a the
    amplitudes in that basis, and gives ±sqrt(D) e_b, whose mean is a: the covariance is
    diag(1 + D a²)/2 - a aᵀ.
    """
    n = states.circuit.n_qubits
    # Last gates without a named angle are not run: amplitudes are those before them.
    gates = list(states.circuit.gates)
    while gates and not (gates[-1].angle and gates[-1].angle.is_parameter):
        gates.pop()
    in_x = Circuit(n, tuple(gates)).then(Setting((), "X" * n).rotation)
    query, key = run(in_x, states.angles)  # [1, H, T, D]
    size = 2**n
    spread = [(1 + size * part.square()) / 2 for part in (query, key)]
    of_query = _pairs(query.square() @ spread[1].mT) - square
    of_key = _pairs(spread[0] @ key.square().mT) - square
    both = _pairs(spread[0] @ spread[1].mT) - of_query - of_key - square
    return of_query + of_key, both


def _of_product_states(states: _States) -> Tensor:
    """The v of the variance v/N, N being large, of the overlap prod_m cos(δ_m/2).

    An angle θ = atan2(<X>, <Z>) has variance (cos⁴θ + sin⁴θ)/N. The sign is taken as known.
    """
    n = states.circuit.n_qubits
    strings = tuple("I" * q + axis + "I" * (n - 1 - q) for axis in "ZX" for q in range(n))
    angles, spread = [], []
    for state in (states.query, states.key):
        z, x = pauli_expectations(state, PauliStrings(strings)).chunk(2, dim=-1)
        angles.append(torch.atan2(x, z))
        spread.append(z**4 + x**4)
    half = (angles[0].unsqueeze(-2) - angles[1].unsqueeze(-3)) / 2  # [1, H, T, T, n]
    factors, total = half.cos(), torch.zeros_like(half[..., 0])
    for qubit in range(n):
        others = torch.cat([factors[..., :qubit], factors[..., qubit + 1 :]], dim=-1).prod(-1)
        of_angles = spread[0][..., :, None, qubit] + spread[1][..., None, :, qubit]
        total += (half[..., qubit].sin() * others).square() * of_angles / 4
    return _pairs(total)


def _summary(rows: list[dict[str, Any]], precision: float) -> str:
    """For each n the way with the fewest shots at each T, with signs and for squares."""
    lines = []
    for n in dict.fromkeys(row["n_qubits"] for row in rows):
        for key, what in (("shots", "signed scores"), ("shots_square", "squared scores")):
            best: dict[str, list[str]] = {}
            for length in dict.fromkeys(row["length"] for row in rows):
                here = [r for r in rows if (r["n_qubits"], r["length"]) == (n, length) and r[key]]
                least = min(here, key=lambda row: int(row[key]))
                best.setdefault(least["method"], []).append(str(length))
            told = "; ".join(f"{name} at T = {', '.join(at)}" for name, at in best.items())
            lines.append(f"Fewest shots for {what} to {precision:g} with {n} qubits: {told}.")
    return "\n".join(lines)

"""The cost of attention, counted in circuits and compared with classical multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ketformer.attention import Attention, Mixer
from ketformer.attention.base import SCORE
from ketformer.circuits.mechanisms import (
    experiments,
    layers_with_circuits,
    mechanism_at,
    require_circuits,
)
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment, measurement_settings
from ketformer.quantum.gradients import shifted_circuits
from ketformer.quantum.resources import count_resources, shots_for

if TYPE_CHECKING:
    from ketformer.runs import Run

#: Widths in the table, which tests the paper's claim O(n² log d).
WIDTHS = tuple(2**k for k in range(4, 17))


@dataclass(frozen=True)
class CircuitRuns:
    """How often a mechanism runs one of its circuits.

    Attributes:
        name: what the circuit gives, such as ``value``.
        experiment: that of the first head.
        times: runs for all heads and all settings of the measurement, without shots.
        of_pairs: whether it runs for each pair of positions i >= j instead of each token.
    """

    name: str
    experiment: Experiment
    times: int
    of_pairs: bool

    def in_sequence(self, length: int) -> int:
        """Runs for a sequence of that many tokens."""
        return self.times * (length * (length + 1) // 2 if self.of_pairs else length)


def circuit_runs(mixer: Mixer) -> list[CircuitRuns]:
    """Each kind of circuit of a mechanism; an empty list if it is classical."""
    return [
        CircuitRuns(
            name,
            heads[0],
            len(heads) * len(measurement_settings(heads[0].strings)),
            name == SCORE,
        )
        for name, heads in experiments(mixer, batch=1, length=1).items()
    ]


def per_token(mixer: Mixer, length: int) -> tuple[float, float]:
    """Circuits and two-qubit gates (CNOTs) of one layer, without shots.

    Args:
        mixer: the mechanism, of any kind; a classical one takes none of either.
        length: tokens in a sequence, over which runs for pairs of positions are averaged.
    """
    circuits = gates = 0
    for run in circuit_runs(mixer):
        runs = run.in_sequence(length)
        circuits += runs
        gates += runs * count_resources(run.experiment.circuit).two_qubit_gates
    return circuits / length, gates / length


def resources(
    name: str,
    *,
    hidden_size: int = 64,
    length: int = 24,
    batch: int = 256,
    precision: float = 0.1,
    **options: Any,
) -> dict[str, Any]:
    """Count the cost of one block on hardware, and of the classical work that it replaces.

    Args:
        name: a registry name.
        hidden_size: d. The mechanism chooses its heads and options for it.
        length: n, tokens in a sequence.
        batch: sequences in a training step.
        precision: target standard error of a score as the softmax sees it (for
            ``overlap`` that is sqrt(d) times an overlap), or of a value.
        **options: options of the mechanism.

    Returns:
        ``measures``: the names of its circuits. For the largest circuit ``n_qubits``, ``depth``,
        ``one_qubit_gates``, ``two_qubit_gates`` and ``gates``. For a sequence
        ``circuits_per_sequence``, ``shots`` per circuit, ``gates_per_sequence`` without shots and
        ``gates_with_shots``, and ``classical_operations``, the multiply-adds that classical
        attention takes for the same result (0 if nothing is replaced). For a step
        ``circuits_per_step`` (forward and parameter shift) and ``circuits_per_step_spsa``.

    Raises:
        KetformerError: a mechanism without circuits, or invalid sizes.
    """
    require_circuits(name)
    check_sizes(length=length, batch=batch, precision=precision)
    with torch.device("meta"):  # circuits do not need the weights, which may be large
        attention = mechanism_at(name, hidden_size, **options)
        return _counts(name, attention, length, batch, precision)


def resources_of_run(
    run: Run, *, length: int | None = None, batch: int | None = None, precision: float = 0.1
) -> dict[str, Any]:
    """:func:`resources` of the mechanisms of a trained model, at its own size.

    Args:
        run: an opened run with a quantum mechanism.
        length: tokens in a sequence; the longest that the model takes by default.
        batch: sequences in a training step; those of the run's own by default.
        precision: as in :func:`resources`.

    Returns:
        ``rows``: :func:`resources` of one block with each mechanism that has circuits, with
        the number of such ``layers``; and a ``summary`` of the whole model.

    Raises:
        KetformerError: the attention is classical, or invalid sizes.
    """
    length, batch = sizes_of_run(run, length, batch)
    check_sizes(length=length, batch=batch, precision=precision)
    rows = [
        {**_counts(name, layers[0], length, batch, precision), "layers": len(layers)}
        for name, layers in layers_with_circuits(run.model).items()
    ]
    circuits = sum(row["layers"] * row["circuits_per_sequence"] for row in rows)
    shots = sum(row["layers"] * row["circuits_per_sequence"] * row["shots"] for row in rows)
    gates = sum(row["layers"] * row["gates_with_shots"] for row in rows)
    operations = sum(row["layers"] * row["classical_operations"] for row in rows)
    instead = f", in place of {operations:,} multiply-adds" if operations else ""
    return {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "rows": rows,
        "summary": f"A sequence of {length} tokens takes {circuits:,} circuits, {shots:,} shots "
        f"and {gates:.3g} gates{instead}.",
    }


def sizes_of_run(run: Run, length: int | None, batch: int | None) -> tuple[int, int]:
    """Tokens in a sequence and sequences in a step; None stands for the run's own."""
    if length is None:
        length = int(run.model.config.max_position_embeddings)
    if batch is None:
        training = run.settings.training
        batch = int(training.get("per_device_train_batch_size", 8))
        batch *= int(training.get("gradient_accumulation_steps", 1))
    return length, batch


def check_sizes(**sizes: float) -> None:
    """Refuse a size that is not positive.

    Raises:
        KetformerError: naming all the sizes.
    """
    if not all(size > 0 for size in sizes.values()):
        *some, last = sizes
        raise KetformerError(f"{', '.join(some)} and {last} must be positive")


def score_scale(mixer: Mixer) -> float:
    """What the softmax multiplies a measured score by."""
    return mixer.dot_scale(mixer.hidden_size) if isinstance(mixer, Attention) else 1.0


def _counts(
    name: str, attention: Mixer, length: int, batch: int, precision: float
) -> dict[str, Any]:
    found = circuit_runs(attention)
    hidden_size = attention.hidden_size
    circuits = gates = shifted = 0
    largest = None
    for run in found:
        counts = count_resources(run.experiment.circuit)
        runs = run.in_sequence(length)
        circuits += runs
        gates += runs * counts.gates
        shifted += runs * shifted_circuits(run.experiment)
        if largest is None or counts.gates > largest.gates:
            largest = counts
    assert largest is not None
    measures = [run.name for run in found]
    shots = shots_for(precision, score_scale(attention) if SCORE in measures else 1.0)
    return {
        "mechanism": name,
        "measures": measures,
        "hidden_size": hidden_size,
        "num_heads": attention.num_heads,
        "length": length,
        "batch": batch,
        "precision": precision,
        "n_qubits": largest.n_qubits,
        "depth": largest.depth,
        "one_qubit_gates": largest.one_qubit_gates,
        "two_qubit_gates": largest.two_qubit_gates,
        "gates": largest.gates,
        "circuits_per_sequence": circuits,
        "gates_per_sequence": gates,
        "shots": shots,
        "gates_with_shots": gates * shots,
        "classical_operations": attention.classical_operations(hidden_size, length),
        "circuits_per_step": batch * (circuits + shifted),
        "circuits_per_step_spsa": batch * 3 * circuits,
    }


def resource_table(
    name: str, *, widths: Sequence[int] = WIDTHS, precision: float = 0.1, **options: Any
) -> dict[str, Any]:
    """:func:`resources` for several widths, and a summary of where circuits would win.

    Returns:
        ``rows``, and ``crossover`` where scores are measured: the width from which a score's
        circuit has fewer gates than d multiply-adds, when every circuit is run once and with
        the shots for a fixed error of the overlap; None where there is no such width.
    """
    rows = [resources(name, hidden_size=d, precision=precision, **options) for d in widths]
    table: dict[str, Any] = {"mechanism": name, "rows": rows}
    last = rows[-1]
    if not last["classical_operations"]:
        table["summary"] = (
            f"{name} replaces nothing that classical attention computes: its circuits come on top."
        )
        return table
    if last["measures"] != [SCORE]:
        each = last["gates_per_sequence"] / last["classical_operations"]
        table["summary"] = (
            f"At d = {last['hidden_size']:,}, {name} takes {each:.2f} gates for each multiply-add "
            f"that it replaces if every circuit is run once, and {each * last['shots']:.0f} with "
            f"{last['shots']:,} shots. It stays so: preparing d amplitudes takes 2d gates."
        )
        return table
    # The number of gates is linear in the qubits, and so in log2 d.
    (d0, g0), (d1, g1) = ((r["hidden_size"], r["gates"]) for r in (rows[0], last))
    slope = (g1 - g0) / math.log2(d1 / d0)
    constant = g0 - slope * math.log2(d0)
    once, measured = (_crossover(constant, slope, s) for s in (1, shots_for(precision)))
    table["crossover"] = {"one_shot": once, "fixed_error_of_the_overlap": measured,
                          "fixed_error_of_the_score": None}  # fmt: skip
    table["summary"] = (
        f"A score's circuit has {constant:.0f} + {slope:.0f} log2(d) gates: fewer than d "
        f"multiply-adds from d = {once:,.0f} if each is run once, from d = {measured:,.0f} with "
        f"{shots_for(precision):,} shots, which know an overlap to {precision}. But the softmax "
        f"sees sqrt(d) times the overlap: to know that to {precision} takes d/{precision}² shots, "
        "and then there is no crossover."
    )
    return table


def _crossover(constant: float, slope: float, shots: int) -> float:
    """The largest d with ``shots (constant + slope log2 d) = d``."""
    d = 2.0**40
    for _ in range(200):  # contracts, since the left side grows slower than d
        d = shots * (constant + slope * math.log2(d))
    return d

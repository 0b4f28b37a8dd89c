"""Tables of what attention takes on a device: by width, or for a trained run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ketformer.attention import Mixer
from ketformer.circuits.device_costs import DeviceCosts, Shape, shapes_of
from ketformer.circuits.mechanisms import (
    experiments,
    layers_with_circuits,
    mechanism_at,
    require_circuits,
)
from ketformer.circuits.resources import WIDTHS, check_sizes, score_scale, sizes_of_run
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit
from ketformer.quantum.resources import count_resources, shots_for
from ketformer.utils.progress import Bars

if TYPE_CHECKING:
    from ketformer.runs import Run

#: Longer circuits are not transpiled for a table: no device of today gets through them.
_MOST_GATES = 2_000


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        length: tokens in a sequence.
        sequences: sequences in an evaluation.
        batch: sequences in a training step.
        precision: target standard error of a score or value, see
            :func:`~ketformer.circuits.resources.resources`.
        shots: of each circuit, instead of those for the precision.

    Raises:
        KetformerError: one is not positive.
    """

    length: int = 24
    sequences: int = 16
    batch: int = 256
    precision: float = 0.1
    shots: int | None = None

    def __post_init__(self) -> None:
        check_sizes(
            length=self.length, limit=self.sequences, batch=self.batch, precision=self.precision,
            shots=1 if self.shots is None else self.shots,
        )  # fmt: skip

    def shots_of(self, shape: Shape, mixer: Mixer) -> int:
        """Shots of each circuit."""
        if self.shots is not None:
            return self.shots
        return shots_for(self.precision, score_scale(mixer) if shape.of_pairs else 1.0)


def device_table(
    name: str,
    costs: DeviceCosts,
    sizes: Sizes,
    *,
    widths: Sequence[int] = WIDTHS,
    progress: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """One block of a mechanism on a device, for several widths.

    Args:
        name: a registry name.
        costs: the device.
        sizes: how much is run.
        widths: hidden sizes, ascending. The table ends where a circuit has more qubits than the
            device, or more than 2,000 gates, as preparing d amplitudes soon does.
        progress: show a bar on standard error.
        **options: options of the mechanism.

    Returns:
        ``rows``: for each width and circuit, the longest of its forms after transpilation
        (``two_qubit_gates``, ``one_qubit_gates``, ``depth``, ``duration_us``, ``fidelity``), the
        counts before (``published_…``), and for the forward pass of one sequence ``circuits``,
        ``shots`` of each, ``device_seconds`` and ``cost``. ``passes``: for each width
        ``circuits``, ``shots`` of all of them, ``device_seconds`` and ``cost`` of a forward
        pass, an evaluation and a training step, forward and by parameter shift. ``summary``:
        how the two-qubit gates grow.

    Raises:
        KetformerError: a mechanism without circuits, or with too large ones at any width.
    """
    require_circuits(name)
    built: list[tuple[str, int, list[tuple[Mixer, Counter[Shape]]]]] = []
    for width in widths:
        with torch.device("meta"):  # circuits do not need the weights, which may be large
            mixer = mechanism_at(name, width, **options)
            found = experiments(mixer, batch=1, length=1)
            counts = [count_resources(heads[0].circuit) for heads in found.values()]
            qubits = max(one.n_qubits for one in counts)
            if qubits > costs.qubits or max(one.gates for one in counts) > _MOST_GATES:
                break
            built.append((name, width, [(mixer, shapes_of(found))]))
    if not built:
        raise KetformerError(
            f"{name} needs {qubits} qubits at width {widths[0]}, {costs.device} has {costs.qubits}"
            if qubits > costs.qubits
            else f"{name} needs more than {_MOST_GATES:,} gates in a circuit at width {widths[0]}"
        )
    table = _table(built, costs, sizes, progress)
    return {
        "mechanism": name, **costs.described(), **table, "summary": _summary(table["rows"], costs),
    }  # fmt: skip


def device_table_of_run(
    run: Run, costs: DeviceCosts, sizes: Sizes, *, progress: bool = True
) -> dict[str, Any]:
    """:func:`device_table` of all layers of a trained model, at its own width.

    Raises:
        KetformerError: the attention is classical, or needs more qubits than the device has.
    """
    mechanisms = [
        (
            name,
            run.model.config.hidden_size,
            [(layer, shapes_of(experiments(layer, batch=1, length=1))) for layer in layers],
        )
        for name, layers in layers_with_circuits(run.model).items()
    ]
    table = _table(mechanisms, costs, sizes, progress)
    return {
        "run": str(run.path), "weights_sha256": run.weights_sha256, **costs.described(), **table,
        "summary": _summary(table["rows"], costs),
    }  # fmt: skip


def sizes_for_run(run: Run, length: int | None, batch: int | None, **others: Any) -> Sizes:
    """Sizes with the run's own context and batch where None is given."""
    length, batch = sizes_of_run(run, length, batch)
    return Sizes(length=length, batch=batch, **others)


def _table(
    built: Sequence[tuple[str, int, list[tuple[Mixer, Counter[Shape]]]]],
    costs: DeviceCosts,
    sizes: Sizes,
    progress: bool,
) -> dict[str, Any]:
    distinct = {shape for *_, layers in built for _, found in layers for shape in found}
    with Bars(progress, "circuit", delay=1) as bars:
        step = bars(f"for {costs.device}")
        for done, shape in enumerate(distinct, 1):
            costs.count(shape)
            step(done, len(distinct))
    rows = []
    runs: dict[int, list[tuple[Shape, int, int]]] = {}  # by width: shape, runs, shots of each
    for name, width, layers in built:
        kinds: dict[str, list[tuple[Shape, int, int]]] = {}
        for mixer, found in layers:
            for shape, heads in found.items():
                times = heads * shape.in_sequence(sizes.length)
                kinds.setdefault(shape.name, []).append(
                    (shape, times, sizes.shots_of(shape, mixer))
                )
        for kind, of_kind in kinds.items():
            rows.append(_row(name, kind, width, len(layers), of_kind, costs))
            runs.setdefault(width, []).extend(of_kind)
    passes = [
        {"hidden_size": width, **one}
        for width, of_width in runs.items()
        for one in _passes(of_width, costs, sizes)
    ]
    return {"length": sizes.length, "rows": rows, "passes": passes}


def _row(
    name: str,
    kind: str,
    width: int,
    layers: int,
    runs: Sequence[tuple[Shape, int, int]],
    costs: DeviceCosts,
) -> dict[str, Any]:

    def size(shape: Shape) -> tuple[float, int]:
        counts = costs.count(shape)
        return counts.duration_us or 0.0, counts.gates

    longest = max((shape for shape, *_ in runs), key=size)
    native, published = costs.count(longest), count_resources(longest.circuit)
    spent = costs.of_shots(_shots(runs))
    return {
        "mechanism": name,
        "circuit": kind,
        "hidden_size": width,
        "layers": layers,
        "device": costs.device,
        "n_qubits": native.n_qubits,
        "published_two_qubit_gates": published.two_qubit_gates,
        "published_one_qubit_gates": published.one_qubit_gates,
        "published_depth": published.depth,
        "two_qubit_gates": native.two_qubit_gates,
        "one_qubit_gates": native.one_qubit_gates,
        "depth": native.depth,
        "duration_us": native.duration_us,
        "fidelity": native.fidelity,
        "circuits": sum(times for _, times, _ in runs),
        **spent,
        "shots": runs[0][2],
    }


def _shots(
    runs: Sequence[tuple[Shape, int, int]],
) -> Counter[tuple[Circuit, tuple[int, ...]]]:
    """The shots of each measured circuit."""
    total: Counter[tuple[Circuit, tuple[int, ...]]] = Counter()
    for shape, times, shots in runs:
        total[shape.circuit, shape.measured] += times * shots
    return total


def _summary(rows: Sequence[dict[str, Any]], costs: DeviceCosts) -> str:
    """How many native two-qubit gates a CNOT takes at the smallest and the largest width."""

    def each(row: dict[str, Any]) -> str:
        ratio = row["two_qubit_gates"] / max(row["published_two_qubit_gates"], 1)
        return f"{ratio:.1f} at d = {row['hidden_size']:,}"

    ratios = " and ".join(dict.fromkeys(each(row) for row in (rows[0], rows[-1])))
    return (
        f"Two-qubit gates of {costs.device} for each CNOT: {ratios}. Qubits that are not coupled "
        f"are brought together by SWAPs. Device seconds have {costs.delay_us:g} µs between two "
        "shots, but no queue, no compilation and no transfer."
    )


def _passes(
    runs: Sequence[tuple[Shape, int, int]], costs: DeviceCosts, sizes: Sizes
) -> list[dict[str, Any]]:
    out = []
    for work, sequences, shifted in (
        ("forward pass", 1, False),
        ("evaluation", sizes.sequences, False),
        ("training step", sizes.batch, True),
    ):
        times = [
            (shape, sequences * times * (1 + shape.shifted * shifted), shots)
            for shape, times, shots in runs
        ]
        out.append(
            {
                "pass": work,
                "sequences": sequences,
                "circuits": sum(number for _, number, _ in times),
                **costs.of_shots(_shots(times)),
            }
        )
    return out

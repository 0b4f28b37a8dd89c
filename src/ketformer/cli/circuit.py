"""``ketformer circuit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli import circuit_journal, circuit_methods, circuit_mitigation, circuit_studies
from ketformer.cli.common import Parser, print_json, print_table
from ketformer.cli.devices import add_device_arguments, chosen_device
from ketformer.drawing.figure import PLOTS
from ketformer.errors import KetformerError
from ketformer.quantum.backends import BACKENDS
from ketformer.utils.files import picture_kind, write_text
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.attention.ansatz import with_files_read
    from ketformer.attention.registry import mechanisms_with_circuits
    from ketformer.circuits import check_backends, circuits_of, resource_table
    from ketformer.circuits.device_costs import DeviceCosts
    from ketformer.circuits.device_tables import (
        Sizes,
        device_table,
        device_table_of_run,
        sizes_for_run,
    )
    from ketformer.circuits.mechanisms import is_run, layers_with_circuits
    from ketformer.circuits.resources import resources_of_run
    from ketformer.drawing.circuit import draw_picture, draw_text
    from ketformer.drawing.plots import draw_device_resources, draw_resources
    from ketformer.quantum import Experiment
    from ketformer.quantum.qasm import to_qasm
    from ketformer.quantum.resources import count_resources

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer circuit show overlap --attention_options.n_qubits 4
  ketformer circuit show runs/mine --out circuit.svg
  ketformer circuit show qisa_a --hidden_size 8 --attention_options.ansatz mine.qasm
  ketformer circuit export qisa_a --hidden_size 8 --out value.qasm
  ketformer circuit resources overlap --out resources.png
  ketformer circuit resources runs/mine --device fake_torino --price_per_second 1.6
  ketformer circuit methods overlap --qubits 2 4 --lengths 8 32 --out methods.png
  ketformer circuit check --json
  ketformer circuit noise runs/mine --limit 16 --out noise.png
  ketformer circuit noise runs/mine --within 0.01 --device fake_torino --price_per_second 1.6
  ketformer circuit mitigation runs/mine --device fake_manila --limit 2
  ketformer circuit gradients runs/mine
  ketformer circuit journal runs/mine"""

ACTIONS = {
    "show": "draw a circuit",
    "export": "write a circuit as OpenQASM 3",
    "resources": "count the circuits and gates that attention needs, by width",
    "methods": "compare the ways to measure all overlaps: circuits, gates, shots and errors",
    "check": "test whether the backends agree on every mechanism's circuits",
    "noise": "measure what shots and noise do to a run's attention and loss",
    "mitigation": "measure what error mitigation gains for a run on a noisy device",
    "gradients": "compare gradient rules with the exact gradient of a run's loss",
    "journal": "show what a measured evaluation has kept so far",
}


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    listed = "; ".join(f"{action}: {what}" for action, what in ACTIONS.items())
    parser.add_argument("action", type=str, help=listed)
    parser.add_argument(
        "subject", type=str | None, nargs="?", default=None,
        help="a mechanism with circuits, such as overlap (`circuit show` alone names them all), or "
        "a run directory, which noise, mitigation and gradients need; for journal, a run directory "
        "or its file",
    )  # fmt: skip
    parser.add_argument(
        "--circuit", type=str | None, default=None, help="circuit to use (the first)"
    )
    parser.add_argument("--hidden_size", type=int, default=16, help="width of the mechanism (16)")
    parser.add_argument("--num_heads", type=int, default=1, help="number of heads (1)")
    parser.add_argument(
        "--n_conditions", type=int, default=0,
        help="number of conditions, for overlap with --attention_options.angles embedding (0)",
    )  # fmt: skip
    parser.add_argument(
        "--attention_options", type=dict[str, Any], default={},
        help="the mechanism's options, e.g. --attention_options.n_qubits 4; "
        "--attention_options.ansatz mine.qasm is a circuit of your own, as OpenQASM",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="output file: OpenQASM 3 for export, otherwise a picture (.png, .svg, .pdf)",
    )  # fmt: skip
    parser.add_argument(
        "--length", type=int | None, default=None,
        help="resources: tokens in a sequence (24; a run's context)",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=int | None, default=None,
        help="resources: sequences in a training step (256; a run's own)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", type=float, default=0.1,
        help="resources, methods: target standard error of a score or value (0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--shots", type=int | None, default=None,
        help="resources with --device, mitigation: shots of each circuit (those for --precision; "
        f"{circuit_mitigation.SHOTS})",
    )  # fmt: skip
    add_device_arguments(parser)
    parser.add_argument(
        "--backends", type=str, nargs="+",
        help=f"check: backends to compare, of {', '.join(BACKENDS)} (every installed exact one)",
    )  # fmt: skip
    parser.add_argument("--draws", type=int, default=200, help="check: draws per mechanism (200)")
    parser.add_argument(
        "--limit", type=int | None, default=None,
        help="noise, mitigation, gradients: sequences of the run's test part (noise: 16; "
        "mitigation: 2; gradients: 4); "
        "resources with --device: sequences in an evaluation (16)",
    )  # fmt: skip
    circuit_methods.add_arguments(parser)
    circuit_mitigation.add_arguments(parser)
    circuit_studies.add_arguments(parser)
    parser.add_argument(
        "--seed", type=int, default=0,
        help="seed of random angles, shots and the transpiler's layout (0)",
    )  # fmt: skip


def run(options: Any) -> int:
    """Run the chosen action."""
    if options.action not in ACTIONS:
        raise KetformerError(f"unknown action {options.action!r}; known: {', '.join(ACTIONS)}")
    if options.out and options.action in ("check", "mitigation", "gradients", "journal"):
        raise KetformerError(f"circuit {options.action} writes no file: --json prints its numbers")
    if options.out and options.action != "export":
        picture_kind(options.out, PLOTS)  # rejects a wrong name before the work
    options.attention_options = with_files_read(options.attention_options)
    actions = {
        "show": _show,
        "export": _export,
        "resources": _resources,
        "methods": circuit_methods.run,
        "check": _check,
        "noise": circuit_studies.noise,
        "mitigation": circuit_mitigation.run,
        "gradients": circuit_studies.gradients,
        "journal": circuit_journal.run,
    }
    return actions[options.action](options)


def _show(options: Any) -> int:
    name, experiment = _one(options)
    counts = count_resources(experiment.circuit)
    if options.out:
        draw_picture(experiment, Path(options.out))
    if options.json:
        print_json(
            {
                "circuit": name,
                "n_qubits": counts.n_qubits,
                "depth": counts.depth,
                "one_qubit_gates": counts.one_qubit_gates,
                "two_qubit_gates": counts.two_qubit_gates,
                "parameters": list(experiment.circuit.parameters),
                "measured": list(experiment.strings.strings),
                "file": options.out,
            }
        )
        return 0
    print(options.out or draw_text(experiment))
    print(
        f"\n{name}: {counts.n_qubits} qubits, depth {counts.depth}, {counts.one_qubit_gates} "
        f"one-qubit gates and {counts.two_qubit_gates} CNOTs, {counts.parameters} angles; "
        f"measured: {', '.join(experiment.strings.strings)}"
    )
    return 0


def _export(options: Any) -> int:
    name, experiment = _one(options)
    text = to_qasm(experiment.circuit)
    if options.out:
        write_text(Path(options.out), text)
    if options.json:
        print_json({"circuit": name, "qasm": text, "file": options.out})
    else:
        print(options.out or text)
    return 0


def _one(options: Any) -> tuple[str, Experiment]:
    if options.subject is None:
        known = ", ".join(mechanisms_with_circuits())
        raise KetformerError(f"name a mechanism ({known}) or a run directory")
    found = circuits_of(
        options.subject,
        hidden_size=options.hidden_size,
        num_heads=options.num_heads,
        n_conditions=options.n_conditions,
        **options.attention_options,
    )
    name = options.circuit or next(iter(found))
    if name not in found:
        raise KetformerError(f"no circuit {name!r}; {options.subject} has {', '.join(found)}")
    return name, found[name]


def _resources(options: Any) -> int:
    subject = options.subject or "overlap"
    if options.out and is_run(subject):
        raise KetformerError("a run has a single width, which makes no plot: leave --out out")
    costs = chosen_device(options)
    if costs is None and options.shots is not None:
        raise KetformerError("--shots needs --device; without one, set --precision")
    table = _counted(subject, options) if costs is None else _on_device(subject, costs, options)
    if options.out:
        draw = draw_resources if costs is None else draw_device_resources
        draw(table, Path(options.out))
    if options.json:
        print_json(table)
        return 0
    if costs is None:
        print_table(table["rows"], _COUNTED)
    else:
        priced = table["rows"][0]["cost"] is not None
        print_table(table["rows"], _ROWS)
        print()
        print_table(table["passes"], _PASSES if priced else _PASSES[:-1])
    print(f"\n{table['summary']}")
    return 0


_COUNTED = (
    ("d", "hidden_size"), ("qubits", "n_qubits"), ("depth", "depth"),
    ("1-qubit gates", "one_qubit_gates"), ("CNOTs", "two_qubit_gates"),
    ("circuits", "circuits_per_sequence"), ("shots", "shots"),
    ("gates", "gates_with_shots"), ("multiply-adds", "classical_operations"),
)  # fmt: skip
_ROWS = (
    ("circuit", "circuit"), ("d", "hidden_size"), ("CNOTs", "published_two_qubit_gates"),
    ("depth", "published_depth"), ("→ 2-qubit gates", "two_qubit_gates"),
    ("1-qubit gates", "one_qubit_gates"), ("depth", "depth"), ("µs", "duration_us"),
    ("fidelity", "fidelity"), ("circuits", "circuits"), ("shots", "shots"),
)  # fmt: skip
_PASSES = (
    ("d", "hidden_size"), ("pass", "pass"), ("sequences", "sequences"), ("circuits", "circuits"),
    ("shots", "shots"), ("device seconds", "device_seconds"), ("cost", "cost"),
)  # fmt: skip


def _counted(subject: str, options: Any) -> dict[str, Any]:
    if is_run(subject):
        return resources_of_run(
            circuit_studies.run_in(subject), length=options.length, batch=options.batch,
            precision=options.precision,
        )  # fmt: skip
    others = {**_given_sizes(options), **options.attention_options}
    return resource_table(subject, precision=options.precision, **others)


def _on_device(subject: str, costs: DeviceCosts, options: Any) -> dict[str, Any]:
    common = {
        "sequences": 16 if options.limit is None else options.limit,
        "precision": options.precision,
        "shots": options.shots,
    }
    if is_run(subject):
        run = circuit_studies.run_in(subject)
        sizes = sizes_for_run(run, options.length, options.batch, **common)
        return device_table_of_run(run, costs, sizes)
    sizes = Sizes(**_given_sizes(options), **common)
    return device_table(subject, costs, sizes, **options.attention_options)


def _given_sizes(options: Any) -> dict[str, Any]:
    sizes = {"length": options.length, "batch": options.batch}
    return {name: size for name, size in sizes.items() if size is not None}


def _check(options: Any) -> int:
    if options.draws < 1:
        raise KetformerError(f"draws must be positive, got {options.draws}")
    mechanisms: Sequence[str] | None = (options.subject,) if options.subject else None
    if options.subject and is_run(options.subject):
        mechanisms = tuple(layers_with_circuits(circuit_studies.run_in(options.subject).model))
    result = check_backends(options.backends, mechanisms, draws=options.draws, seed=options.seed)
    if options.json:
        print_json(result)
    else:
        columns = (
            ("backend", "backend"), ("mechanism", "mechanism"), ("draws", "draws"),
            ("outcomes", "outcomes"), ("largest difference", "max_difference"),
        )  # fmt: skip
        print_table(result["rows"], columns)
    return 0 if result["agree"] else 1

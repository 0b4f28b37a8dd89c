"""``ketformer circuit methods``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ketformer.cli.common import Parser, print_json, print_table
from ketformer.utils.declared import constant

# Read from their source, without torch.
_LENGTHS: tuple[int, ...] = constant("ketformer.circuits.methods:LENGTHS")


def add_arguments(parser: Parser) -> None:
    """Add the action's own options."""
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=list(_LENGTHS),
        help=f"methods: numbers of tokens ({' '.join(map(str, _LENGTHS))})",
    )  # fmt: skip
    parser.add_argument(
        "--qubits", type=int, nargs="+",
        help="methods: numbers of qubits of a state (the mechanism's own)",
    )  # fmt: skip
    parser.add_argument(
        "--total_shots", type=int, default=100_000,
        help="methods: shots of all of a sequence's circuits together, at which errors are "
        "measured (100000)",
    )  # fmt: skip


def run(options: Any) -> int:
    """Print the table and the way with the fewest shots, or draw them."""
    from ketformer.circuits.methods import measurement_methods
    from ketformer.drawing.methods import draw_methods

    table = measurement_methods(
        options.subject or "overlap",
        lengths=options.lengths,
        qubits=options.qubits,
        precision=options.precision,
        total_shots=options.total_shots,
        seed=options.seed,
        hidden_size=options.hidden_size,
        num_heads=options.num_heads,
        n_conditions=options.n_conditions,
        **options.attention_options,
    )
    if options.out:
        draw_methods(table, Path(options.out))
    if options.json:
        print_json(table)
        return 0
    columns = (
        ("method", "method"), ("n", "n_qubits"), ("T", "length"), ("sign", "keeps_sign"),
        ("qubits", "qubits"), ("circuits", "circuits"), ("CNOTs", "two_qubit_gates"),
        ("shots", "shots"), ("error", "error"), ("shots, squares", "shots_square"),
        ("error, squares", "error_square"),
    )  # fmt: skip
    rows = [row | {"keeps_sign": "kept" if row["keeps_sign"] else "lost"} for row in table["rows"]]
    print_table(rows, columns)
    print(
        f"\nShots for an error of {table['precision']:g} in a score, which is "
        f"{table['scale']:.3g} times the overlap or its square; errors as measured with "
        f"{table['total_shots']:,} shots for all circuits together.\n{table['summary']}"
    )
    return 0

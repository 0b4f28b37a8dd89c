"""``ketformer circuit mitigation``."""

from __future__ import annotations

from typing import Any

from ketformer.cli.backends import (
    add_journal_argument,
    add_measurement_argument,
    chosen_journal,
)
from ketformer.cli.circuit_studies import opened
from ketformer.cli.common import Parser, print_json, print_table
from ketformer.errors import KetformerError

#: Shots of each circuit by default.
SHOTS = 4000


def add_arguments(parser: Parser) -> None:
    """Add the action's own options."""
    add_measurement_argument(parser, "mitigation")
    add_journal_argument(parser)


def run(options: Any) -> int:
    """Print errors before and after each kind of mitigation, and the extra circuits."""
    from ketformer.attention.measured import measure_by
    from ketformer.evaluation import mitigation_study

    if options.device is None:
        raise KetformerError("mitigation needs --device, such as fake_manila")
    its_run = opened(options)
    if options.measurement:
        measure_by(its_run.model, options.measurement)
    study = mitigation_study(
        its_run,
        options.device,
        shots=SHOTS if options.shots is None else options.shots,
        limit=options.limit or 2,
        seed=options.seed,
        journal=chosen_journal(options, its_run),
    )
    if options.json:
        print_json(study)
        return 0
    columns = (
        ("mitigation", "mitigation"), ("outcomes", "outcome_error"), ("scores", "score_error"),
        ("weights", "mean_weight_difference"), ("loss", "loss"), ("exact", "exact_loss"),
        ("circuits", "circuits"), ("extra", "extra_circuits"),
    )  # fmt: skip
    print_table(study["rows"], columns)
    print(
        f"\nRoot mean squared errors of expectations and scores on {study['device']}, "
        f"{study['shots']:,} shots for each circuit."
    )
    return 0

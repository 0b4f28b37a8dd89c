"""``ketformer circuit noise`` and ``gradients``: what circuits do to a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser, print_json, print_table
from ketformer.cli.devices import chosen_device
from ketformer.drawing.plots import draw_noise_study, draw_shot_search
from ketformer.errors import KetformerError

if TYPE_CHECKING:
    from ketformer.runs import Run

_LOSS = (("loss", "loss"), ("from", "loss_low"), ("to", "loss_high"), ("exact", "exact_loss"))
_WEIGHTS = ("weights", "mean_weight_difference")


def add_arguments(parser: Parser) -> None:
    """Add the actions' own options."""
    parser.add_argument(
        "--within", type=float | None, default=None,
        help="noise: search the shots that bring the loss so near the exact one, in nats",
    )  # fmt: skip
    parser.add_argument(
        "--allocation", type=str | None, default=None,
        help="noise --within: shots alike for all circuits (uniform, the default), or more for "
        "those that matter for the predictions (influence)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=int | None, default=None,
        help="noise: evaluations for each number of shots (5; with --within 8)",
    )  # fmt: skip


def noise(options: Any) -> int:
    """Print or draw what shots and noise do, or the shots for a wanted loss."""
    from ketformer.evaluation import noise_study

    if options.within is not None:
        return _shots_within(options)
    if options.allocation is not None or options.device is not None:
        raise KetformerError("noise: --allocation and --device need --within")
    chosen_device(options)  # refuses prices without a device
    study = noise_study(
        opened(options), limit=options.limit or 16, seed=options.seed, **_repeats(options)
    )
    if options.out:
        draw_noise_study(study, Path(options.out))
    if options.json:
        print_json(study)
        return 0
    print_table(study["shots"], (("shots", "shots"), _WEIGHTS, *_LOSS))
    print()
    print_table(study["noise"], (("CNOT error", "two_qubit"), _WEIGHTS, _LOSS[0], _LOSS[-1]))
    return 0


def _shots_within(options: Any) -> int:
    from ketformer.evaluation import shots_within

    search = shots_within(
        opened(options),
        options.within,
        limit=options.limit or 16,
        allocation=options.allocation or "uniform",
        seed=options.seed,
        costs=chosen_device(options),
        **_repeats(options),
    )
    if options.out:
        draw_shot_search(search, Path(options.out))
    if options.json:
        print_json(search)
        return 0
    columns = (
        ("shots", "shots"), ("allocation", "allocation"), *_LOSS, ("divergence", "divergence"),
    )  # fmt: skip
    print_table(search["tried"], columns)
    if "compared" in search:
        print()
        print_table(search["compared"], columns)
        print(f"\nLike {search['gain']:.2f} times the shots for all circuits alike.")
    print(
        f"\n{search['shots']:,} shots of each circuit bring the loss of one evaluation within "
        f"{search['within']:g} of {search['exact_loss']:.4f}: {search['circuits']:,} circuits, "
        f"{search['shots_in_all']:,} shots{_price(search)}."
    )
    return 0


def _price(search: dict[str, Any]) -> str:
    """What one evaluation takes on the device, if one was named."""
    if "device" not in search:
        return ""
    seconds, cost = search["device_seconds"], search["cost"]
    taken = ["an unknown time" if seconds is None else f"{seconds:,.0f} device seconds"]
    taken += [] if cost is None else [f"a cost of {cost:,.2f}"]
    return f"; on {search['device']} {' and '.join(taken)}"


def _repeats(options: Any) -> dict[str, Any]:
    return {} if options.repeats is None else {"repeats": options.repeats}


def gradients(options: Any) -> int:
    """Print how near gradient rules come to the exact gradient."""
    from ketformer.evaluation import gradient_study

    study = gradient_study(opened(options), limit=options.limit or 4, seed=options.seed)
    if options.json:
        print_json(study)
        return 0
    columns = (
        ("gradient", "gradient"), ("backend", "backend"), ("shots", "shots"),
        ("cosine", "cosine"), ("norm", "norm_ratio"), ("circuits", "circuits"),
    )  # fmt: skip
    print_table(study["rows"], columns)
    return 0


def opened(options: Any) -> Run:
    """The run that the command names.

    Raises:
        KetformerError: it names none, or one that cannot be read; or the limit is not positive.
    """
    if options.subject is None:
        raise KetformerError(f"{options.action} needs a run directory")
    if options.limit is not None and options.limit < 1:
        raise KetformerError(f"limit must be positive, got {options.limit}")
    return run_in(options.subject)


def run_in(path: str) -> Run:
    """The run in a directory."""
    # Brings in transformers, which takes seconds and which no mechanism needs.
    from ketformer.runs import open_run

    return open_run(path)

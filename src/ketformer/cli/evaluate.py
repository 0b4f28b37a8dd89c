"""``ketformer evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.backends import (
    add_backend_arguments,
    add_journal_argument,
    add_measurement_argument,
    chosen_backend,
    chosen_journal,
)
from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.errors import KetformerError
from ketformer.tasks.molecules.oracles import ORACLES
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.attention.measured import measure_by
    from ketformer.evaluation import (
        evaluate,
        evaluate_on_backend,
        evaluate_samples,
        save_evaluation,
    )
    from ketformer.runs import Run, open_run

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer evaluate runs/mine
  ketformer evaluate runs/mine --split validation --json
  ketformer evaluate runs/molecules --samples 30000 --moses true
  ketformer evaluate runs/molecules --targets 1000 --oracle HOMO=my_module:homo dipole=forest
  ketformer evaluate runs/molecules --constrained true
  ketformer evaluate runs/molecules --samples 0 --targets 1000 --guidance 1.5 --best_of 4
  ketformer evaluate runs/molecules --data held-out.csv --split all
  ketformer evaluate molecules.csv
  ketformer evaluate runs/mine --backend cudaq --shots 1000 --limit 64
  ketformer evaluate runs/molecules --backend shots --measurement tomography
  ketformer evaluate runs/mine --backend qiskit --backend_options.device fake_torino --shots 1000"""

_MOLECULES_ONLY = (
    "samples", "fcd", "targets", "moses", "oracle", "constrained", "guidance", "best_of",
)  # fmt: skip
_OF_RUNS = (
    "data", "split", "limit", "samples", "targets", "oracle", "constrained", "guidance", "best_of",
    "backend", "shots", "noise", "backend_options", "measurement", "journal",
)  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "run", type=str, help="run directory, or a file of molecules to measure as MOSES does"
    )
    parser.add_argument(
        "--data", type=str | None, default=None, help="data set or path (the run's)"
    )
    parser.add_argument(
        "--split", type=str | None, default=None,
        help="standard, published, or for molecules scaffold or official (their test part); for "
        "molecules all, as for a file held out as a whole; or train, validation, test or MOSES' "
        "test_scaffolds of the run's own split (test)",
    )  # fmt: skip
    parser.add_argument(
        "--limit",
        type=int | None,
        default=None,
        help="windows or molecules to use (all; on a backend 16)",
    )
    parser.add_argument(
        "--samples", type=int | None, default=None,
        help="molecules to sample for the generation metrics; 0 for none (10000)",
    )  # fmt: skip
    parser.add_argument(
        "--fcd", type=bool | None, default=None,
        help="Fréchet ChemNet distance of the samples, minutes (if fcd_torch is installed)",
    )  # fmt: skip
    parser.add_argument(
        "--targets", type=int | None, default=None,
        help="for conditional models: molecules to sample for each property, two deviations below "
        "and above its mean; 0 for none (0)",
    )  # fmt: skip
    parser.add_argument(
        "--oracle", type=str, nargs="+", default=None, metavar="[CONDITION=]ORACLE",
        help="with --targets: what gives molecules the conditions that RDKit cannot compute: "
        "module:function, from a list of SMILES to numbers; forest, fitted to the run's data; or "
        f"{', '.join(ORACLES)}",
    )  # fmt: skip
    parser.add_argument(
        "--constrained", type=bool | None, default=None,
        help="also sample with `generate --constrained true`, and show these metrics, with the "
        "FCD and the numbers of heavy atoms, beside the others; targets are sampled so too (false)",
    )  # fmt: skip
    parser.add_argument(
        "--guidance", type=float | None, default=None,
        help="for --targets: weight of the conditions, as in `generate` (1.0)",
    )  # fmt: skip
    parser.add_argument(
        "--best_of", type=int | None, default=None,
        help="for --targets: sample that many for each molecule, as in `generate` (1)",
    )  # fmt: skip
    parser.add_argument(
        "--moses", type=bool | None, default=None,
        help="MOSES' metrics of the samples, against its test sets; MOSES samples 30000 (if the "
        "run's data are moses)",
    )  # fmt: skip
    parser.add_argument(
        "--column", type=str | None, default=None, help="column of a file with the SMILES (smiles)"
    )
    add_backend_arguments(parser)
    add_measurement_argument(parser, "on a backend", "; kernel's: uncompute, product")
    add_journal_argument(parser)


def run(options: Any) -> int:
    """Measure, save the result in the run if it is about the run's own data, and print it."""
    if Path(options.run).is_file():
        return _on_file(options)
    if options.column is not None:
        raise KetformerError("--column is that of a file of molecules, not of a run")
    opened = open_run(options.run)
    given = [name for name in _MOLECULES_ONLY if options[name] is not None]
    if given and opened.task != "molecules":
        raise KetformerError(f"{options.run} is a text model; --{given[0]} does not apply to it")
    if options.backend:
        if given:
            raise KetformerError(f"--{given[0]} is not measured on a backend")
        return _on_backend(options, opened)
    needing = "shots", "noise", "backend_options", "measurement", "journal"
    if any(getattr(options, name) for name in needing):
        *others, last = (f"--{name}" for name in needing)
        raise KetformerError(f"{', '.join(others)} and {last} need a --backend")
    result = evaluate(
        opened,
        data=options.data,
        split=options.split,
        limit=options.limit,
        samples=10_000 if options.samples is None else options.samples,
        with_fcd=options.fcd,
        targets=options.targets or 0,
        constrained=bool(options.constrained),
        guidance=1.0 if options.guidance is None else options.guidance,
        best_of=1 if options.best_of is None else options.best_of,
        moses=options.moses,
        oracles=options.oracle or (),
    )
    if options.data is None and options.split is None and options.limit is None:
        save_evaluation(opened, result)
    if options.json:
        print_json(result)
        return 0
    flat = {k: v for k, v in result.items() if not isinstance(v, list | dict)}
    beside = {f"constrained {k}": v for k, v in result.get("constrained", {}).items()}
    flat |= {k: v for k, v in beside.items() if not isinstance(v, list | dict)}
    for what, sizes in (("", result), ("constrained ", result.get("constrained", {}))):
        for name, number in sizes.get("heavy_atoms", {}).items():
            flat[f"{what}heavy atoms, {name}"] = number
    for name, distance in result.get("wasserstein", {}).items():
        flat[f"wasserstein {name}"] = distance
    for name, held_out in result.get("oracles", {}).items():
        flat[f"mae of {held_out['oracle']} for {name}, held out"] = held_out["mae"]
    for row in result.get("target_errors", []):
        flat[f"mae of {row['property']} at {row['target']:.3g}"] = row["mae"]
        if row.get("failed"):
            flat[f"no value of {row['property']} at {row['target']:.3g}"] = row["failed"]
    print_facts(flat)
    if not result["causal"]:
        print(
            "\nThis model sees the tokens it should predict: only the loss with the prefix alone "
            "and its free-running output show how good it is."
        )
    return 0


def _on_file(options: Any) -> int:
    """Measure the molecules of a file as MOSES does."""
    if given := [name for name in _OF_RUNS if options[name] not in (None, {})]:
        raise KetformerError(f"{options.run} is a file; --{given[0]} does not apply to it")
    if options.moses is False:
        raise KetformerError(f"{options.run} is a file; all that is measured of it is MOSES'")
    result = evaluate_samples(options.run, column=options.column, with_fcd=options.fcd)
    if options.json:
        print_json(result)
    else:
        print_facts(result)
    return 0


def _on_backend(options: Any, opened: Run) -> int:
    """Measure with circuits, run one by one; only the journal is saved in the run."""
    if options.measurement:
        measure_by(opened.model, options.measurement)
    with chosen_backend(options) as backend:
        result = evaluate_on_backend(
            opened,
            backend,
            data=options.data,
            split=options.split,
            limit=options.limit,
            journal=chosen_journal(options, opened, backend),
        )
    if options.json:
        print_json(result)
    else:
        print_facts({**result, "job_ids": _first_and_last(result["job_ids"])})
    return 0


def _first_and_last(ids: list[str]) -> list[str]:
    """Enough of the ids of many jobs to find them in a service's list; JSON has them all."""
    return ids if len(ids) < 4 else [ids[0], f"{len(ids) - 2:,} more", ids[-1]]

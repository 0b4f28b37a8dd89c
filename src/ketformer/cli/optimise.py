"""``ketformer optimise``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.errors import KetformerError, Stopped
from ketformer.optimisation.options import Optimisation, usual_range
from ketformer.tasks.molecules.oracles import load_oracle
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from torch import device as Device

    from ketformer.comparison.variants import as_file_name
    from ketformer.generation.molecules import parse_conditions
    from ketformer.optimisation import optimise, top_auc
    from ketformer.optimisation.loop import Step
    from ketformer.report.optimisation import optimisation_page
    from ketformer.runs import open_run

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer optimise runs/molecules --oracle qed
  ketformer optimise runs/molecules --oracle logp --range 0 3 --budget 2000
  ketformer optimise runs/molecules --oracle my_module:activity --range 5 9 --out runs/ideas
  ketformer optimise runs/molecules --oracle celecoxib_rediscovery --bucket_size 0"""

_HOW = Optimisation()
_ROWS = 20  # of the table


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("run", type=str, help="run directory of a model of molecules")
    parser.add_argument(
        "--oracle", type=str, required=True,
        help="what scores a molecule: qed, logp, another property, an oracle of PMO such as "
        "celecoxib_rediscovery, or your own module:function (N SMILES to N numbers)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="folder of the results (RUN-ORACLE); if interrupted, the same command goes on",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=int, default=_HOW.budget,
        help="different molecules that the oracle may be asked about (10000)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=int, default=_HOW.patience,
        help="end when the best 100 have stayed the same for that many steps, after 1,000 "
        "molecules; 0: never (0)",
    )  # fmt: skip
    parser.add_argument(
        "--range", type=float, nargs=2, default=None, metavar=("BAD", "GOOD"),
        help="the oracle's value that is a score of 0, and the one that is a score of 1; GOOD may "
        "be the lower one (0 1; for logp 0 5, for sa 10 1)",
    )  # fmt: skip
    parser.add_argument(
        "--condition", type=str, nargs="+", default=[], metavar="NAME=NUMBER",
        help="requested properties for a conditional model, the same in every step",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=_HOW.seed, help="seed (42)")
    parser.add_argument(
        "--device", type=str | None, default=None, help="cpu or cuda (a GPU if there is one)"
    )
    learning = parser.add_argument_group("learning")
    learning.add_argument(
        "--batch", type=int, default=_HOW.batch, help="molecules sampled for each step (64)"
    )
    learning.add_argument(
        "--sigma", type=float, default=_HOW.sigma,
        help="nats that a score of 1 is worth against the run's own likelihood (128)",
    )  # fmt: skip
    learning.add_argument(
        "--learning_rate", type=float, default=_HOW.learning_rate,
        help=f"of Adam ({_HOW.learning_rate:g})",
    )  # fmt: skip
    learning.add_argument(
        "--replay", type=int, default=_HOW.replay,
        help="of the best molecules, how many are learnt from again in each step (24)",
    )  # fmt: skip
    learning.add_argument(
        "--memory", type=int, default=_HOW.memory,
        help="the best molecules that these are drawn from (100)",
    )  # fmt: skip
    learning.add_argument(
        "--augmentations", type=int, default=_HOW.augmentations,
        help="further updates in each step, on all of these written as random SMILES; 2 learns "
        "more from each call of the oracle (0)",
    )  # fmt: skip
    diversity = parser.add_argument_group("diversity")
    diversity.add_argument(
        "--bucket_size", type=int, default=_HOW.bucket_size,
        help="good molecules of one Murcko scaffold before it is not rewarded any more; 0: no "
        "limit (25)",
    )  # fmt: skip
    diversity.add_argument(
        "--min_score", type=float, default=_HOW.min_score,
        help="the score from which a molecule counts as a good one of its scaffold (0.4)",
    )  # fmt: skip


def run(options: Any) -> int:
    """Steer, and print what was found."""
    oracle = load_oracle(options.oracle)
    how = Optimisation(
        budget=options.budget,
        batch=options.batch,
        sigma=options.sigma,
        learning_rate=options.learning_rate,
        replay=options.replay,
        memory=options.memory,
        patience=options.patience,
        augmentations=options.augmentations,
        bucket_size=options.bucket_size,
        min_score=options.min_score,
        range=tuple(options.range) if options.range else usual_range(oracle),
        seed=options.seed,
        conditions=parse_conditions(options.condition),
    )
    opened = open_run(options.run)
    if options.device:
        opened.model.to(_device(options.device))
    name = as_file_name(f"{opened.path.name}-{options.oracle}")
    out = Path(options.out) if options.out else opened.path.parent / name
    try:
        with _Progress(how.budget) as progress:
            result = optimise(opened, oracle, out, how, each=progress)
    except KeyboardInterrupt:
        raise Stopped(f"{out}: stopped", signal.SIGINT, out) from None
    page = optimisation_page(result, out / "report.html")
    files = {kind: str(out / file) for kind, file in result["files"].items()}
    files["page"] = str(page)
    if options.json:
        unseen = ("curve", "trace")
        print_json({**{k: v for k, v in result.items() if k not in unseen}, "files": files})
        return 0
    for row in result["best"][:10]:
        print(f"{row['score']:.3f}  {row['smiles']}")
    print()
    shown = (
        "calls", "failures", "valid", "unique", "scaffolds", "top_1", "top_10", "top_100",
        "auc_top_10",
    )  # fmt: skip
    print_facts({key: result[key] for key in shown if key in result})
    if result["stopped"]:
        print(f"stopped early: {result['stopped']}")
    for kind, path in files.items():
        print(f"{kind:<5}  {path}")
    return 0


def _device(name: str) -> Device:
    import torch

    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        first = str(error).partition("\n")[0]
        raise KetformerError(f"--device {name}: {first}") from None


class _Progress:
    """A table on standard error that grows while the oracle is asked.

    In a terminal its last row is the present; elsewhere a row is printed when it is due.

    Args:
        budget: calls in all.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.due = 0.0
        self.rows: list[list[str]] = []
        self.console = Console(file=sys.stderr, highlight=False)
        self.live = Live(console=self.console, refresh_per_second=4)

    def __enter__(self) -> _Progress:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, step: Step) -> None:
        scores = step.history.scores
        if not scores:
            return
        passed = len(scores) >= self.due
        if not passed and not self.console.is_terminal:
            return
        best = sorted(scores)[-10:]
        cells = {
            "calls": f"{len(scores):,}",
            "best": f"{best[-1]:.3f}",
            "top 10": f"{sum(best) / len(best):.3f}",
            "top-10 AUC": f"{top_auc(scores, len(scores)):.3f}",
            "valid": f"{step.valid:.0%}",
            "unique": f"{step.unique:.0%}",
            "scaffolds": f"{step.history.scaffolds:,}",
            "failures": f"{len(step.history.failures):,}",
        }
        if not self.console.is_terminal:
            said = ", ".join(f"{name} {cell}" for name, cell in cells.items())
            print(said, file=sys.stderr)
        else:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for name in cells:
                table.add_column(name, justify="right")
            for row in [*self.rows, list(cells.values())]:
                table.add_row(*row)
            self.live.update(table)
        if passed:
            self.rows.append(list(cells.values()))
            self.due = len(scores) + self.budget / _ROWS

"""``ketformer generate``: the options of a shortlist and of sampling in shards, and advice."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser
from ketformer.errors import KetformerError
from ketformer.generation.options import BEST, share_of
from ketformer.tasks.molecules.descriptors import DESCRIPTORS
from ketformer.tasks.molecules.properties import PROPERTIES

if TYPE_CHECKING:
    from ketformer.generation import Sampled

_SHORTLIST = ("desalt", "filter", "rank", "known", "best")
#: These options, all of them for molecules only.
OPTIONS = (*_SHORTLIST, "jobs", "cluster", "shard", "merge")
_LOW_VALIDITY = 0.5


def add_shortlist_arguments(parser: Parser) -> None:
    """Add the options."""
    group = parser.add_argument_group(
        "shortlist of molecules", "each of these also writes NAME-shortlist.csv, .sdf and .png"
    )
    group.add_argument(
        "--filter", type=str | None, default=None, metavar="CRITERIA",
        help="what a molecule must meet, such as 'QED>0.5 SA<4 PAINS=0', in quotes; names: "
        f"{', '.join(DESCRIPTORS)}, request (distance from it), similarity (to --known)",
    )  # fmt: skip
    group.add_argument(
        "--rank", type=str, nargs="+", default=[], metavar="NAME[:high|:low]",
        help="what the best come first by, one or several of these names, e.g. request QED MW:low "
        "(the request, if there is one)",
    )  # fmt: skip
    group.add_argument(
        "--known", type=str | None, default=None, metavar="FILE",
        help="your compounds (csv, smi, sdf): the nearest one, its id and the similarity are "
        "columns, and new marks what is not in the file",
    )  # fmt: skip
    group.add_argument(
        "--desalt", type=bool | None, default=None,
        help="keep only the largest organic fragment of each molecule (false)",
    )  # fmt: skip
    group.add_argument(
        "--best", type=int | None, default=None, help=f"molecules listed at most ({BEST})"
    )
    group = parser.add_argument_group("molecules in several shards")
    group.add_argument(
        "--jobs", type=int | None, default=None,
        help="sample in that many shards at once, which share the cores, and merge them into "
        "--out, without repeats; if interrupted, the same command resumes, and another one is "
        "refused until the folder of the shards is removed (1)",
    )  # fmt: skip
    group.add_argument(
        "--cluster", type=str | None, default=None,
        help="sample the shards of --jobs on a Ray cluster (pip install 'ketformer[ray]'): its "
        "address, or auto for the one that this machine belongs to; its nodes must share --out",
    )  # fmt: skip
    group.add_argument(
        "--shard", type=str | None, default=None, metavar="3/8",
        help="sample only this part of --num, with random numbers of its own",
    )  # fmt: skip
    group.add_argument(
        "--merge", type=str, nargs="+", default=[], metavar="CSV",
        help="sample nothing; make --out from these tables, without repeats, and count anew",
    )  # fmt: skip


def check_shortlist_arguments(options: Any, out: Path | None) -> dict[str, Any] | None:
    """The arguments of :func:`~ketformer.generation.shortlist.plan_shortlist`, None if not asked.

    Raises:
        KetformerError: options that need ``--out`` without it, or that do not go together.
    """
    asked = [name for name in _SHORTLIST if options[name] not in (None, [])]
    if out is None and (needing := [*asked, *(["merge"] if options.merge else [])]):
        raise KetformerError(f"--{needing[0]} needs --out, beside which its files are written")
    if options.merge:
        for name in ("num", "shard", "condition", "temperature"):
            if options[name] not in (None, []):
                raise KetformerError(f"--merge samples nothing, so --{name} does not go with it")
    _check_jobs(options, out)
    if not asked:
        return None
    return {
        "desalt": bool(options.desalt),
        "filters": options.filter,
        "rank": options.rank,
        "known": options.known,
        "best": BEST if options.best is None else options.best,
    }


def _check_jobs(options: Any, out: Path | None) -> None:
    """Refuse ``--jobs`` and ``--cluster`` where they make no sense."""
    jobs = 1 if options.jobs is None else options.jobs
    if jobs < 1:
        raise KetformerError(f"jobs must be positive, got {jobs}")
    if options.cluster is not None and jobs == 1:
        raise KetformerError(
            "--cluster needs --jobs, the number of shards, which decides what is sampled"
        )
    if jobs > 1:
        for name in ("shard", "merge"):
            if options[name] not in (None, []):
                raise KetformerError(
                    f"--jobs makes shards and merges them, so --{name} does not go with it"
                )
        if out is None:
            raise KetformerError("--jobs needs --out, beside which the shards are kept")


def parse_shard(text: str | None, num: int) -> tuple[tuple[int, int] | None, int]:
    """The shard in ``3/8``, and how many of ``num`` molecules it samples.

    Raises:
        KetformerError: another form, no such shard, or fewer molecules than shards.
    """
    if text is None:
        return None, num
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    part, parts = (int(number) for number in found.groups()) if found else (1, 0)
    if part > parts:
        raise KetformerError(f"--shard is written 3/8, for the third of eight, got {text!r}")
    return (part, parts), share_of(num, part, parts)


def advise(sampled: Sampled) -> None:
    """Warn about low validity, and about requests that cannot be checked; say what to do."""
    validity = sampled.metrics["validity"]
    if validity is not None and validity < _LOW_VALIDITY:
        warnings.warn(
            f"only {validity:.0%} of the samples are valid molecules; train longer, or sample with "
            "--constrained true, --temperature 0.7 or --top_p 0.95",
            stacklevel=2,
        )
    if unchecked := [name for name in sampled.requested if name not in PROPERTIES]:
        warnings.warn(
            f"whether the molecules have the requested {', '.join(unchecked)} is not checked: "
            "RDKit computes no such property; ketformer evaluate RUN --oracle "
            f"{unchecked[0].removeprefix('column:')}=forest says how far off this model is",
            stacklevel=2,
        )

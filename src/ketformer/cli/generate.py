"""``ketformer generate``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.cli.generate_shortlist import (
    OPTIONS,
    add_shortlist_arguments,
    advise,
    check_shortlist_arguments,
    parse_shard,
)
from ketformer.errors import KetformerError
from ketformer.generation.options import MoleculeSampling, Sampling
from ketformer.utils.files import write_text
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.generation import (
        Sampled,
        generate_molecules,
        generate_text,
        write_molecules,
    )
    from ketformer.generation.molecules import known_molecules, parse_conditions
    from ketformer.generation.sampling import named_conditions
    from ketformer.generation.shards import forget_shards, generate_in_shards, merge_tables
    from ketformer.generation.shortlist import plan_shortlist, write_shortlist
    from ketformer.runs import Run, open_run

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer generate runs/mine --prompt "ROMEO:" --num 3
  ketformer generate runs/mine --prompt "ROMEO:" --temperature 0 --num_beams 4
  ketformer generate runs/molecules --num 10000 --out molecules.csv
  ketformer generate runs/molecules --num 1000 --condition LogP=2.0 TPSA=60 --out wanted.csv
  ketformer generate runs/molecules --num 10_000 --out ideas.csv --known mine.sdf \\
    --filter "QED>0.5 SA<4 PAINS=0" --rank QED
  ketformer generate runs/molecules --num 10_000_000 --jobs 8 --out many.csv
  ketformer generate runs/molecules --num 10_000_000 --shard 3/8 --out part3.csv
  ketformer generate runs/molecules --merge part*.csv --out all.csv
  ketformer generate runs/molecules --condition LogP=2.0 --guidance 1.5 --best_of 4
  ketformer generate runs/molecules --num 10000 --constrained true --out valid.csv
  ketformer generate runs/molecules --num 1000 --prompt "c1ccc(" --out begun.csv
  ketformer generate runs/fragments --scaffold "c1cc([*:1])ncc1" --out decorated.csv
  ketformer generate runs/fragments --fragment c1ccncc1 --fragment C1CCNCC1 --out linked.csv"""

_TEXT_ONLY = ("max_new_tokens", "num_beams")
_MOLECULES_ONLY = (
    "condition", "scaffold", "fragment", "special_tokens", "constrained", "guidance", "best_of",
    *OPTIONS,
)  # fmt: skip
_TEXT, _MOLECULES = Sampling(), MoleculeSampling()
_SHOWN = 10  # molecules printed without --out


def add_arguments(parser: Parser) -> None:
    """Add the verb's options; those of one task are refused for the other."""
    parser.add_argument("run", type=str, help="run directory")
    parser.add_argument(
        "--num", type=int | None, default=None,
        help="continuations (1) or molecules (1000), e.g. 10_000",
    )  # fmt: skip
    parser.add_argument(
        "--prompt", type=str | None, default=None,
        help="text to continue, or how every SMILES begins",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="also write them to this file; for molecules a CSV, with SDF and picture next to it; "
        "if interrupted, the same command resumes",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=float | None, default=None,
        help=f"divides the logits; 0 takes the most likely token ({_TEXT.temperature} for text, "
        f"{_MOLECULES.temperature} for molecules)",
    )  # fmt: skip
    parser.add_argument(
        "--top_k", type=int, default=0, help="sample from the k most likely tokens; 0: all"
    )
    parser.add_argument(
        "--top_p", type=float, default=1.0,
        help="sample from the most likely tokens that make up this probability (1.0)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=_TEXT.seed, help="sampling seed (42)")
    parser.add_argument("--use_cache", type=bool, default=True, help="use the KV cache (true)")
    text = parser.add_argument_group("text")
    text.add_argument(
        "--max_new_tokens", type=int | None, default=None,
        help=f"tokens to write after the prompt ({_TEXT.max_new_tokens})",
    )  # fmt: skip
    text.add_argument(
        "--num_beams", type=int | None, default=None, help="beam search; needs temperature 0 (1)"
    )
    molecules = parser.add_argument_group("molecules")
    molecules.add_argument(
        "--condition", type=str, nargs="+", default=[], metavar="NAME=NUMBER",
        help="requested properties, e.g. LogP=2.0 TPSA=60; the others stay unknown; a value "
        "outside what the training data hold gets a warning with their range",
    )  # fmt: skip
    molecules.add_argument(
        "--scaffold", type=str | None, default=None, metavar="SMILES",
        help="what every molecule contains; [*:1] marks where something is attached, else the "
        "model chooses; for runs trained with --tokenizer safe",
    )  # fmt: skip
    molecules.add_argument(
        "--fragment", type=str, action="append", default=[], metavar="SMILES",
        help="likewise; given twice or more, the fragments are linked, by a bond or through atoms",
    )  # fmt: skip
    molecules.add_argument(
        "--special_tokens", type=bool | None, default=None,
        help="let the model write [CLS] and padding, as the released code does (false)",
    )  # fmt: skip
    molecules.add_argument(
        "--constrained", type=bool | None, default=None,
        help="sample only tokens after which a valid molecule can still be written; all others "
        "keep their relative probabilities (false)",
    )  # fmt: skip
    molecules.add_argument(
        "--guidance", type=float | None, default=None,
        help="weight of the conditions, against the model without conditions: 1.5 follows them "
        "more closely at the cost of variety, 0 ignores them (1.0)",
    )  # fmt: skip
    molecules.add_argument(
        "--best_of", type=int | None, default=None,
        help="sample that many for each molecule and keep the one nearest to the conditions (1)",
    )  # fmt: skip
    add_shortlist_arguments(parser)


def run(options: Any) -> int:
    """Sample, print, and write the requested files."""
    opened = open_run(options.run)
    is_molecules = opened.task == "molecules"
    foreign = _TEXT_ONLY if is_molecules else _MOLECULES_ONLY
    if given := [name for name in foreign if options[name] not in (None, [])]:
        what = "molecule" if is_molecules else "text"
        raise KetformerError(f"{options.run} is a {what} model; --{given[0]} does not apply to it")
    return _molecules(opened, options) if is_molecules else _text(opened, options)


def _text(opened: Run, options: Any) -> int:
    chosen = {
        name: options[name]
        for name in ("max_new_tokens", "temperature", "num_beams")
        if options[name] is not None
    }
    sampling = Sampling(
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        use_cache=options.use_cache,
        **chosen,
    )
    num, prompt = 1 if options.num is None else options.num, options.prompt or ""
    streams = sys.stdout.isatty() and not options.json
    texts = generate_text(opened, prompt, num, sampling, show=_printer(num) if streams else None)
    if options.out:
        write_text(Path(options.out), "\n\n".join(texts) + "\n")
    if options.json:
        print_json({"run": options.run, "prompt": prompt, "texts": texts})
        return 0
    if streams:
        print()  # ends the first text, which is printed already
    for i in range(1 if streams else 0, num):
        print(_heading(i, num) + texts[i])
    return 0


def _printer(num: int) -> Callable[[str], None]:
    """Prints the first text part by part, so that whoever waits for it can read on."""
    parts = 0

    def show(part: str) -> None:
        nonlocal parts
        print(part if parts else _heading(0, num) + part, end="", flush=True)
        parts += 1

    return show


def _heading(i: int, num: int) -> str:
    return f"── {i + 1} ──\n" if num > 1 else ""


def _molecules(opened: Run, options: Any) -> int:
    out = Path(options.out) if options.out else None
    if out and out.suffix != ".csv":
        raise KetformerError(f"--out must be a .csv file, got {options.out}")
    asked = check_shortlist_arguments(options, out)
    shard, num = parse_shard(options.shard, 1000 if options.num is None else options.num)
    sampling = MoleculeSampling(
        temperature=1.0 if options.temperature is None else options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        use_cache=options.use_cache,
        special_tokens=bool(options.special_tokens),
        conditions=parse_conditions(options.condition),
        shard=shard,
        constrained=bool(options.constrained),
        guidance=1.0 if options.guidance is None else options.guidance,
        best_of=1 if options.best_of is None else options.best_of,
        prompt=options.prompt or "",
        scaffold=options.scaffold,
        fragments=tuple(options.fragment),
    )
    shards = 1 if options.jobs is None else options.jobs
    if options.merge and out:
        sampled = merge_tables([Path(table) for table in options.merge], out)
        requested = sampled.requested
        plan = plan_shortlist(opened, requested, **asked) if asked else None
    else:
        requested = named_conditions(opened, sampling.conditions)
        plan = plan_shortlist(opened, requested, **asked) if asked else None
        known = known_molecules(opened)
        if shards > 1 and out:
            sampled = generate_in_shards(
                opened, num, sampling, out, shards, known=known, cluster=options.cluster
            )
        else:
            sampled = generate_molecules(opened, num, sampling, known=known, table=out)
    advise(sampled)
    # Before the table is marked as finished: if killed, the same command goes on from here.
    shortlist = write_shortlist(plan, out) if plan and out else None
    files = write_molecules(sampled, out) if out else {}
    if shards > 1 and out:
        forget_shards(out)
    if shortlist:
        files |= shortlist.files
    if options.json:
        result = {
            "run": options.run,
            **{key: options[key] for key in ("prompt", "scaffold", "fragment") if options[key]},
            **sampled.metrics,
            "requested": sampled.errors,
            **({"shortlist": shortlist.facts} if shortlist else {}),
            **_steering(sampling, sampled),
            **({**files, "molecules_per_second": sampled.per_second} if files else {}),
        }
        print_json(result if files else {**result, "molecules": sampled.molecules})
        return 0
    if not files:
        print("\n".join(sampled.molecules[:_SHOWN]), end="\n\n")
    facts = {k: v for k, v in sampled.metrics.items() if not isinstance(v, dict)}
    if sampled.per_second:
        facts["per second"] = round(sampled.per_second)
    print_facts(facts)
    if sampled.constrained:
        chose = sampled.constrained.shares()
        print(
            f"constrained: {chose['tokens_refused']:.2%} of the tokens drawn led to no valid "
            f"molecule and were drawn again, in {chose['molecules_changed']:.2%} of the molecules"
        )
    if sampling.best_of > 1:
        drawn = sampling.best_of * sampled.metrics["sampled"]
        print(f"best of {sampling.best_of}: {drawn:,} were drawn")
    for name, error in sampled.errors.items():
        if error["count"]:
            print(
                f"{name}: requested {error['target']:g}, mean {error['mean']:.3g}, "
                f"mean absolute error {error['mae']:.3g}"
            )
    if shortlist:
        facts = {"considered": shortlist.considered, **shortlist.passed, "listed": shortlist.listed}
        print_facts(facts if shortlist.new is None else {**facts, "new": shortlist.new})
    wide = max(4, *map(len, files)) if files else 0
    for kind, path in files.items():
        print(f"{kind:<{wide}}  {path}")
    return 0


def _steering(sampling: MoleculeSampling, sampled: Sampled) -> dict[str, Any]:
    """What the samples owe to more than the model's own probabilities."""
    told: dict[str, Any] = {}
    if sampled.constrained:
        told["constrained"] = sampled.constrained.shares()
    if sampling.guidance != 1:
        told["guidance"] = sampling.guidance
    if sampling.best_of > 1:
        told["best_of"] = sampling.best_of
        told["drawn"] = sampling.best_of * sampled.metrics["sampled"]
    return told

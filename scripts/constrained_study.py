"""What constrained sampling costs and changes, on one run: time, validity, what it refuses.

Plain and constrained sampling take turns; the first constrained turn begins with an empty table of
what may follow, as every command does, and processor time is counted, so that other work on the
machine matters little.
Usage: python scripts/constrained_study.py RUN [--number 10000] [--turns 3]
       [--out results/constrained.json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ketformer.generation import MoleculeSampling, sample_molecules
from ketformer.generation.constraint import Refused, table_of
from ketformer.runs import Run, open_run, read_metrics
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.tasks.molecules.tokenizer import split_smiles
from ketformer.utils.files import write_json
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, print the summary and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "constrained.json")
    options = parser.parse_args()
    run = open_run(options.run)
    _sampled(run, options.number, seed=0, constrained=False)  # warms up
    turns = [_turn(run, options.number, seed) for seed in range(1, options.turns + 1)]
    result = {
        "attention": run.model.config.attention_name,
        "data": Path(run.settings.data).name,
        "parameters": run.model.num_parameters(),
        "steps": read_metrics(run.path)[-1]["step"],
        "weights_sha256": run.weights_sha256,
        "number": options.number,
        "turns": turns,
        "ratio": sum(t["constrained"]["seconds"] for t in turns)
        / sum(t["plain"]["seconds"] for t in turns),
        "machine": describe_machine(),
    }
    write_json(options.out, result)
    for turn in turns:
        print({**turn, "ratio": turn["constrained"]["seconds"] / turn["plain"]["seconds"]})
    print(f"{result['ratio']:.2f} times the time of plain sampling; written to {options.out}")


def _turn(run: Run, number: int, seed: int) -> dict[str, Any]:
    """Both ways of sampling, and the valid plain samples that the constraint would refuse."""
    plain, _ = _sampled(run, number, seed=seed, constrained=False)
    constrained, refused = _sampled(run, number, seed=seed, constrained=True)
    valid = plain.pop("valid")
    constrained.pop("valid")
    would = sum(_refused(run, smiles) for smiles in valid) / max(len(valid), 1)
    return {
        "plain": plain,
        "constrained": {**constrained, **refused.shares()},
        "valid_plain_refused": would,
    }


def _sampled(
    run: Run, number: int, *, seed: int, constrained: bool
) -> tuple[dict[str, Any], Refused]:
    refused, sampling = Refused(), MoleculeSampling(seed=seed, constrained=constrained)
    begun = time.process_time()
    smiles = [
        text for block in sample_molecules(run, number, sampling, refused=refused) for text in block
    ]
    seconds = time.process_time() - begun
    canonical = canonicalise(smiles, progress=False)
    valid = [text for text, found in zip(smiles, canonical, strict=True) if found]
    return {"seconds": seconds, "validity": len(valid) / number, "valid": valid}, refused


def _refused(run: Run, smiles: str) -> bool:
    """Whether a token of the SMILES is not allowed, given the length of the context."""
    grammar = table_of(run.tokenizer).grammar
    state, room = grammar.start, run.model.config.max_position_embeddings
    for token in split_smiles(smiles):
        following, room = grammar.step(state, token), room - 1
        if following is None or grammar.needs(following) > room:
            return True
        state = following
    return not grammar.ends(state)


if __name__ == "__main__":
    main()

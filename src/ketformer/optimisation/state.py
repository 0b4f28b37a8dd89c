"""What an interrupted optimisation goes on from: the oracle's answers, and the last state."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.optimisation.history import Call
from ketformer.optimisation.options import Optimisation
from ketformer.runs import Run
from ketformer.tasks.molecules.oracles import Oracle, Scores, score
from ketformer.utils.files import json_line, replacing, write_json
from ketformer.utils.locks import contents
from ketformer.utils.mappings import read_json

FACTS_FILE = "optimisation.json"
ANSWERS_FILE = "answers.jsonl"
STATE_FILE = "state.pt"


class Answers:
    """The oracle's answers, each written to disk at once, so that none is asked for again.

    Failures are not kept: the oracle may be mended.

    Args:
        path: the file.
        oracle: who is asked.
    """

    def __init__(self, path: Path, oracle: Oracle) -> None:
        self.path = path
        self.oracle = oracle
        self.known: dict[str, float] = {}
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    row = json.loads(line)
                except ValueError:  # the process was killed while it wrote this line
                    break
                self.known[row["smiles"]] = row["value"]
                whole += len(line)
            with path.open("r+b") as file:
                file.truncate(whole)

    def of(self, smiles: Sequence[str]) -> tuple[NDArray[np.float64], dict[int, str]]:
        """The value of each molecule, NaN where the oracle failed, and why by place."""
        places = [place for place, text in enumerate(smiles) if text not in self.known]
        asked = [smiles[place] for place in places]
        said = score(self.oracle, asked) if asked else Scores(self.oracle.name, np.empty(0))
        failures = {places[place]: why for place, why in said.failures.items()}
        with self.path.open("a", encoding="utf-8") as file:
            for text, value in zip(asked, said.values.tolist(), strict=True):
                if not math.isnan(value):
                    self.known[text] = value
                    file.write(json_line({"smiles": text, "value": value}))
        return np.array([self.known.get(text, math.nan) for text in smiles]), failures


@dataclass
class State:
    """Where an optimisation stands between two steps.

    Attributes:
        agent: the weights of the model that learns.
        optimizer: Adam's state.
        sampling: the state of the generator that samples.
        replay: the state of the generator that chooses what is replayed.
        steps: steps so far.
        stale: steps since the last new molecule.
        calls: what the oracle was asked.
        trace: a row for each step.
    """

    agent: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    sampling: torch.Tensor
    replay: torch.Tensor
    steps: int
    stale: int
    calls: list[Call]
    trace: list[dict[str, float]]

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        content = {**vars(self), "calls": [astuple(call) for call in self.calls]}
        with replacing(path) as part:
            torch.save(content, part)


def load_state(path: Path, device: torch.device) -> State | None:
    """The saved state; None if there is none.

    Raises:
        KetformerError: the file is broken.
    """
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location=device, weights_only=True)
        found["calls"] = [Call(*call) for call in found["calls"]]
        return State(**{**found, **{key: found[key].cpu() for key in ("sampling", "replay")}})
    except Exception as error:  # pickle, zipfile and torch raise many kinds
        raise KetformerError(
            f"{path}: cannot be read ({type(error).__name__}); choose another --out"
        ) from None


def begin(out: Path, run: Run, oracle: Oracle, how: Optimisation) -> dict[str, Any]:
    """Note what is optimised, or check that it is what the folder holds; return the facts.

    Only the budget may differ.

    Raises:
        KetformerError: the folder holds an optimisation of something else.
    """
    facts = {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "oracle": oracle.name,
        "device": run.model.device.type,
        **asdict(how),
        "range": list(how.range),
    }
    path = out / FACTS_FILE
    if not path.exists() and contents(out):
        raise KetformerError(f"{out} holds something else; choose another --out")
    if path.exists():
        before = read_json(path)
        # The same run may have been moved.
        differ = [key for key in facts if key not in ("run", "budget")]
        for key in differ:
            if before.get(key) != facts[key]:
                raise KetformerError(
                    f"{out} holds an optimisation with {key} {before.get(key)}, not {facts[key]}; "
                    "choose another --out"
                )
    write_json(path, facts)
    return facts

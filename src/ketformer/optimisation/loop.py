"""The optimisation itself: sample, ask the oracle, learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError, NotFiniteError, UnreadableError
from ketformer.generation.decoding import sample_sequences
from ketformer.generation.sampling import named_conditions, requested_conditions
from ketformer.optimisation.history import Call, History
from ketformer.optimisation.objective import log_likelihoods, reinvent_loss
from ketformer.optimisation.options import Optimisation
from ketformer.optimisation.output import RESULT_FILE, write_results
from ketformer.optimisation.state import (
    ANSWERS_FILE,
    STATE_FILE,
    Answers,
    State,
    begin,
    load_state,
)
from ketformer.runs import Run
from ketformer.tasks.molecules.chemistry import canonical_smiles
from ketformer.tasks.molecules.oracles import Oracle, Scores
from ketformer.tasks.molecules.scaffolds import scaffolds
from ketformer.tasks.molecules.tokenizer import decode_smiles, encode_smiles
from ketformer.utils.locks import in_use
from ketformer.utils.mappings import read_json

_SAVED_EVERY = 20  # steps
_PATIENCE = 100  # steps without a molecule that is new
_BEST = 100  # that have to change
_MANY = 1000  # calls before an end is considered
_HOPELESS = 10  # failures of the oracle without a single answer


@dataclass(frozen=True)
class Step:
    """What is shown after a step.

    Attributes:
        history: all calls so far.
        valid: the share of valid molecules among those sampled in this step.
        unique: the share of different molecules among the valid ones of this step.
    """

    history: History
    valid: float
    unique: float


def optimise(
    run: Run,
    oracle: Oracle,
    out: str | Path,
    how: Optimisation | None = None,
    *,
    each: Callable[[Step], None] = lambda step: None,
) -> dict[str, Any]:
    """Steer a model of molecules towards what an oracle scores high.

    A copy of the model learns by REINVENT's objective; the run itself is not changed. Each
    different canonical molecule counts once against the budget, also if the oracle fails on it:
    then it has a score of 0. If a call is interrupted, the same call goes on, asks the oracle
    about nothing that it has answered, and ends with the same result on the same machine; a call
    with a greater budget continues.

    Args:
        run: an opened run of molecules, with a causal model.
        oracle: from :func:`~ketformer.tasks.molecules.oracles.load_oracle`.
        out: folder of the results: ``molecules.csv`` with SDF and picture, ``curve.svg``,
            ``result.json``, and the steered model as a run in ``agent``.
        how: the options.
        each: called after each step.

    Returns:
        The content of ``result.json``.

    Raises:
        KetformerError: a run that cannot be steered, an oracle that fails on everything, or a
            folder that holds something else.
        NotFiniteError: the loss is not finite any more.
    """
    how, out = how or Optimisation(), Path(out)
    if run.task != "molecules":
        raise KetformerError(f"{run.path} is a model of text, not of molecules")
    if not run.model.is_causal:
        raise KetformerError(
            f"{run.path}: {run.model.config.attention_name} sees the future, so its likelihoods "
            "are not those of what it samples, and it can't be optimised"
        )
    how = replace(how, conditions=named_conditions(run, how.conditions))
    conditions = requested_conditions(run, how.conditions)
    with in_use(out):
        facts = begin(out, run, oracle, how)
        if (out / RESULT_FILE).exists():
            found = read_json(out / RESULT_FILE)
            if found.get("budget") == how.budget:
                return found
        work = _Work(run, oracle, out, how, conditions)
        stopped = work.go(each)
        _warn(oracle, work.history)
        facts["stopped"] = stopped
        return write_results(out, run, work.agent, work.history, facts, work.trace)


def _warn(oracle: Oracle, history: History) -> None:
    asked = [call.smiles for call in history.calls]
    values = np.array([call.value for call in history.calls])
    if said := Scores(oracle.name, values, history.failures).complaint(asked):
        warnings.warn(f"{said}; they have a score of 0", stacklevel=3)
    if history.beyond:
        low, high = history.how.range
        warnings.warn(
            f"{history.beyond:,} of {len(asked):,} values of {oracle.name} lie outside "
            f"{low:g} to {high:g}, so their scores are those of its ends; choose another --range "
            "if they should differ",
            stacklevel=3,
        )


def written_otherwise(smiles: str, seed: int) -> str:
    """A random SMILES of a molecule, always the same for a seed from 1 on."""
    from rdkit.Chem import MolFromSmiles, MolToRandomSmilesVect

    return str(MolToRandomSmilesVect(MolFromSmiles(smiles), 1, seed)[0])


class _Work:
    """An optimisation under way."""

    def __init__(
        self, run: Run, oracle: Oracle, out: Path, how: Optimisation, conditions: Tensor | None
    ) -> None:
        device = run.model.device
        self.run, self.oracle, self.how, self.conditions = run, oracle, how, conditions
        self.file = out / STATE_FILE
        self.prior = run.model
        self.agent = deepcopy(run.model).eval()  # sampled and learnt without dropout
        self.agent.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=how.learning_rate)
        self.sampling = torch.Generator(device).manual_seed(how.seed)
        self.replay = torch.Generator().manual_seed(how.seed)
        self.steps = self.stale = 0
        self.trace: list[dict[str, float]] = []
        self.history = History(how)
        self.answers = Answers(out / ANSWERS_FILE, oracle)
        tokenizer = run.tokenizer
        self.never = [int(i) for i in (tokenizer.bos_token_id, tokenizer.pad_token_id)]
        if (state := load_state(self.file, device)) is not None:
            self._restore(state)

    def go(self, each: Callable[[Step], None]) -> str | None:
        """Step until the budget is spent; return why it ended earlier."""
        while len(self.history.calls) < self.how.budget:
            if self.stale >= _PATIENCE:
                self._save()
                return f"no new molecule in {_PATIENCE} steps"
            if self._is_settled():
                self._save()
                return f"the best {_BEST} stayed the same for {self.how.patience} steps"
            if not self._step(each):
                return None  # the state is that of before this step
            if self.steps % _SAVED_EVERY == 0:
                self._save()
        self._save()
        return None

    def _is_settled(self) -> bool:
        """Whether none of the last steps found one of the best."""
        patience, scores = self.how.patience, self.history.scores
        if not patience or len(self.trace) <= patience or len(scores) < _MANY:
            return False
        before = int(self.trace[-1 - patience]["calls"])
        return sorted(scores[:before])[-_BEST:] == sorted(scores)[-_BEST:]

    def _step(self, each: Callable[[Step], None]) -> bool:
        """Sample and learn; False if the budget ended within the step, so nothing was learnt."""
        before = self.sampling.get_state()
        memory = self.history.memory()
        ids = sample_sequences(
            self.agent,
            self.how.batch,
            generator=self.sampling,
            conditions=None
            if self.conditions is None
            else self.conditions.expand(self.how.batch, -1),
            never=self.never,
        ).clone()  # a tensor made in inference mode cannot be learnt from
        texts = decode_smiles(self.run.tokenizer, ids.cpu())
        # A sequence that was sampled twice is learnt from once.
        rows = list({text: row for row, text in reversed(list(enumerate(texts)))}.values())[::-1]
        found = {row: canonical_smiles(texts[row]) for row in rows}
        of_text = {texts[row]: smiles for row, smiles in found.items()}
        fresh: dict[str, int] = {}
        for row, smiles in found.items():
            if smiles is not None and smiles not in self.history:
                fresh.setdefault(smiles, row)
        room = self.how.budget - len(self.history.calls)
        whole = len(fresh) <= room
        if not whole:
            self._save(before)
        self._ask(dict(list(fresh.items())[:room]), ids)
        valid = sum(of_text[text] is not None for text in texts)
        kinds = len(set(found.values()) - {None})
        step = Step(self.history, valid / len(texts), kinds / max(valid, 1))
        if whole:
            rewards = [
                self.history.reward(smiles) if smiles is not None else 0.0
                for smiles in found.values()
            ]
            self._learn(ids[rows], rewards, memory)
            self.steps += 1
            self.stale = 0 if fresh else self.stale + 1
            self.trace.append(
                {
                    "step": self.steps,
                    "calls": len(self.history.calls),
                    "score": sum(rewards) / len(rewards),
                    "valid": step.valid,
                    "unique": step.unique,
                }
            )
        each(step)
        return whole

    def _ask(self, fresh: dict[str, int], ids: Tensor) -> None:
        """Ask the oracle about new molecules, given with the rows that they were sampled in."""
        smiles = list(fresh)
        values, failures = self.answers.of(smiles)
        pad = self.run.tokenizer.pad_token_id
        for place, (text, scaffold) in enumerate(zip(smiles, scaffolds(smiles), strict=True)):
            row = ids[fresh[text]]
            self.history.add(
                Call(
                    text,
                    float(values[place]),
                    failures.get(place, ""),
                    scaffold,
                    row[row != pad].tolist(),
                )
            )
        asked = [call.smiles for call in self.history.calls]
        missed = self.history.failures
        if len(missed) == len(asked) >= _HOPELESS:
            said = Scores(self.oracle.name, values, missed).complaint(asked)
            raise KetformerError(f"{said}; there is nothing to learn from")

    def _learn(self, ids: Tensor, rewards: list[float], memory: list[int]) -> None:
        """Learn from what was sampled, and from a part of the memory before it."""
        places = self._replayed(memory)
        kept = [torch.tensor(self.history.calls[place].ids) for place in places]
        self._update([*ids, *kept], [*rewards, *(self.history.scores[place] for place in places)])
        for _ in range(self.how.augmentations):
            self._learn_otherwise_written()

    def _learn_otherwise_written(self) -> None:
        """Learn from the whole memory, each molecule as another SMILES of the same."""
        places = self.history.memory()
        seeds = torch.randint(1, 2**31 - 1, (len(places),), generator=self.replay)
        rows, scores = [], []
        for place, seed in zip(places, seeds.tolist(), strict=True):
            text = written_otherwise(self.history.calls[place].smiles, seed)
            try:  # without the begin token, which the context need not hold
                row = encode_smiles(self.run.tokenizer, [text])[0, 1:]
            except UnreadableError:  # its tokens are unknown
                continue
            if len(row) <= self.agent.config.max_position_embeddings:
                rows.append(row)
                scores.append(self.history.scores[place])
        if rows:
            self._update(rows, scores)

    def _update(self, rows: Sequence[Tensor], scores: Sequence[float]) -> None:
        """One step of Adam on sequences of tokens and their scores."""
        device = self.agent.device
        ids = torch.nn.utils.rnn.pad_sequence(
            [row.to(device) for row in rows],
            batch_first=True,
            padding_value=self.run.tokenizer.pad_token_id,
        )
        with torch.no_grad():
            prior = log_likelihoods(self.prior, ids, self.conditions, self.never)
        agent = log_likelihoods(self.agent, ids, self.conditions, self.never)
        loss = reinvent_loss(agent, prior, torch.tensor(scores, device=device), self.how.sigma)
        if not loss.isfinite():
            raise NotFiniteError(
                f"the loss became {loss.item():g} in step {self.steps + 1}; choose a smaller "
                "--learning_rate or --sigma"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _replayed(self, memory: list[int]) -> list[int]:
        """Places of the memory, drawn by their score; all of them if they are few."""
        if len(memory) <= self.how.replay:
            return memory
        if not self.how.replay:
            return []
        weights = torch.tensor([self.history.scores[place] for place in memory])
        drawn = torch.multinomial(weights, self.how.replay, generator=self.replay)
        return [memory[i] for i in drawn.tolist()]

    def _save(self, sampling: Tensor | None = None) -> None:
        """Save the state, with that of the sampling generator if it is another by now."""
        State(
            agent=self.agent.state_dict(),
            optimizer=self.optimizer.state_dict(),
            sampling=self.sampling.get_state() if sampling is None else sampling,
            replay=self.replay.get_state(),
            steps=self.steps,
            stale=self.stale,
            calls=self.history.calls,
            trace=self.trace,
        ).save(self.file)

    def _restore(self, state: State) -> None:
        if len(state.calls) > self.how.budget:
            raise KetformerError(
                f"{self.file.parent}: the oracle has been asked about {len(state.calls):,} "
                f"molecules already, more than --budget {self.how.budget:,}"
            )
        self.agent.load_state_dict(state.agent)
        self.optimizer.load_state_dict(state.optimizer)
        self.sampling.set_state(state.sampling)
        self.replay.set_state(state.replay)
        self.steps, self.stale, self.trace = state.steps, state.stale, state.trace
        self.history = History(self.how, state.calls)

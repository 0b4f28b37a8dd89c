"""Sampling molecules from a run, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.generation.best_of import distances, nearest_of
from ketformer.generation.constraint import Constraint, Refused, require_readable, table_of
from ketformer.generation.decoding import sample_sequences
from ketformer.generation.options import MoleculeSampling
from ketformer.generation.scaffolds import Beginnings
from ketformer.runs import Run
from ketformer.tasks.molecules.conditions import find_condition
from ketformer.tasks.molecules.quoting import nearest
from ketformer.tasks.molecules.tokenizer import decode_smiles, encode_smiles

#: Rows sampled together; their keys and values determine the memory needed.
BATCH = 2048


def sample_molecules(
    run: Run,
    num: int,
    sampling: MoleculeSampling | None = None,
    *,
    done: int = 0,
    generator: torch.Generator | None = None,
    refused: Refused | None = None,
) -> Iterator[list[str]]:
    """Sample SMILES batch by batch; mistakes are reported before the first batch.

    Args:
        run: an opened run of the molecule task.
        num: how many in all.
        sampling: how to sample.
        done: how many of these were sampled earlier, in whole batches.
        generator: random generator, in its state after those; by default made from the seed.
        refused: is told how often a constrained model was not followed.

    Raises:
        KetformerError: the run is not of molecules, does not have a requested condition, cannot
            begin with the prompt, the scaffold or the fragments, does not write SMILES that
            ``constrained`` can read, needs all conditions and so cannot be guided, or has no
            requested condition that ``best_of`` could compute.
    """
    sampling = sampling or MoleculeSampling()
    if num < 1:
        raise KetformerError(f"num must be positive, got {num}")
    if run.task != "molecules":
        raise KetformerError(f"{run.path} is a model of text, not of molecules")
    wanted = requested_conditions(run, sampling.conditions)
    prompt = prompt_ids(run, sampling.prompt)
    beginnings = None
    if sampling.parts:
        beginnings = Beginnings(run, sampling.parts, seed_of(sampling))
    if sampling.constrained:
        Constraint(run.tokenizer, 0, Refused(), prompt)  # refuses what it cannot read
        if sampling.parts:
            require_readable(table_of(run.tokenizer, joined=True).grammar, sampling.parts)
    if sampling.guidance != 1 and not run.model.config.condition_unknown:
        raise KetformerError(f"{run.path} needs every condition; --guidance needs it without too")
    if sampling.best_of > 1:
        distances([], run.model.config, named_conditions(run, sampling.conditions))
    generator = generator or generator_of(run, sampling)
    refused = refused or Refused()

    def batch(start: int, rows: int) -> list[str]:
        tokenizer = run.tokenizer
        never = [] if sampling.special_tokens else [tokenizer.bos_token_id, tokenizer.pad_token_id]
        ids = sample_sequences(
            run.model,
            rows,
            generator=generator,
            conditions=None if wanted is None else wanted.expand(rows, -1),
            prompt=prompt,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            never=never,
            guide=beginnings.guide(start, rows) if beginnings else None,
            use_cache=sampling.use_cache,
            guidance=sampling.guidance,
            constraint=(
                Constraint(tokenizer, rows, refused, prompt, joined=bool(beginnings))
                if sampling.constrained
                else None
            ),
        )
        return decode_smiles(tokenizer, ids.cpu())

    return _batches(run, range(done, num, BATCH), num, sampling, batch)


def generator_of(run: Run, sampling: MoleculeSampling) -> torch.Generator:
    """A freshly seeded generator on the model's device."""
    return torch.Generator(run.model.device).manual_seed(seed_of(sampling))


def seed_of(sampling: MoleculeSampling) -> int:
    """The seed, of each shard another one."""
    if not sampling.shard:
        return sampling.seed
    sequence = np.random.SeedSequence(sampling.seed, spawn_key=sampling.shard)
    return int(sequence.generate_state(1, np.uint64)[0])


def _batches(
    run: Run,
    starts: range,
    num: int,
    sampling: MoleculeSampling,
    batch: Callable[[int, int], list[str]],
) -> Iterator[list[str]]:
    for start in starts:
        rows = min(BATCH, num - start)
        draws = [batch(start, rows) for _ in range(sampling.best_of)]
        if sampling.best_of == 1:
            yield draws[0]
        else:
            conditions = named_conditions(run, sampling.conditions)
            yield nearest_of(draws, run.model.config, conditions)


def prompt_ids(run: Run, prompt: str) -> list[int]:
    """The token ids of the beginning of a SMILES, which may end anywhere between two tokens.

    Raises:
        KetformerError: it has a character that is not SMILES or a token that the run does not
            know, or it fills the whole context.
    """
    if not prompt:
        return []
    try:
        ids: list[int] = encode_smiles(run.tokenizer, [prompt])[0, 1:-1].tolist()
    except KetformerError as error:
        raise KetformerError(f"{run.path} cannot begin with this prompt: {error}") from None
    context = run.model.config.max_position_embeddings
    if len(ids) >= context:
        raise KetformerError(
            f"the prompt has {len(ids)} tokens, but {run.path} writes at most {context}, so "
            "there is none left to sample"
        )
    return ids


def named_conditions(run: Run, requested: Mapping[str, float]) -> dict[str, float]:
    """The requested values by the model's own names, which users may write in another case.

    Raises:
        KetformerError: a name that the model does not have, or one that is requested twice.
    """
    names = run.model.config.condition_names or []
    found = {name: find_condition(name, names) for name in requested}
    if unknown := sorted(name for name, own in found.items() if own is None):
        offered = f"its conditions: {', '.join(names)}" if names else "it was trained without any"
        raise KetformerError(
            f"{run.path} has no condition {', '.join(unknown)}; {offered}"
            f"{nearest(unknown[0], (own.removeprefix('column:') for own in names))}"
        )
    if len(set(found.values())) < len(found):
        raise KetformerError(f"a condition is requested twice: {', '.join(requested)}")
    return {str(found[name]): value for name, value in requested.items()}


def requested_conditions(run: Run, requested: Mapping[str, float]) -> Tensor | None:
    """The conditions ``[C]``, NaN where not requested; None if the model has no conditions.

    Raises:
        KetformerError: a name that the model does not have, a value that is not finite, or
            a missing condition in a model that needs them all.
    """
    requested = named_conditions(run, requested)
    names = run.model.config.condition_names or []
    for name, value in requested.items():
        if not abs(value) < float("inf"):
            raise KetformerError(f"condition {name} must be a finite number, got {value}")
    if not names:
        return None
    missing = [name for name in names if name not in requested]
    if missing and not run.model.config.condition_unknown:
        raise KetformerError(f"{run.path} needs every condition; missing: {', '.join(missing)}")
    values = [requested.get(name, float("nan")) for name in names]
    return torch.tensor(values, device=run.model.device)

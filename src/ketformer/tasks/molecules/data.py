"""Molecules ready for training: split, tokenised, with their conditions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.base import EVAL_TARGETS, Rows, Trained, count_kept
from ketformer.tasks.molecules.conditions import Condition, parse_names
from ketformer.tasks.molecules.dialect import RECOGNISED, Dialect
from ketformer.tasks.molecules.notations import find_notation, notation_of
from ketformer.tasks.molecules.properties import PROPERTIES, cached_properties
from ketformer.tasks.molecules.randomised import RandomisedRows, drawn_texts
from ketformer.tasks.molecules.reading import MOLECULE_SETS, Molecules, load_molecules
from ketformer.tasks.molecules.rows import MoleculeRows, compact_ids
from ketformer.tasks.molecules.splits import split_molecules
from ketformer.tasks.molecules.standardise import marks_of
from ketformer.tasks.molecules.tokenizer import smiles_tokenizer, vocabulary_of
from ketformer.tasks.molecules.varying import check_size, unvarying, where
from ketformer.utils.choices import Merge

# Room for random texts, in lengths of the longest that was looked at.
_SLACK = 1.1


class Known(NamedTuple):
    """The molecules of a data set, canonical, by what a model was trained on."""

    training: frozenset[str]
    held_out: frozenset[str]


@dataclass(frozen=True)
class MoleculeData:
    """Molecules ready for training.

    Attributes:
        source: the molecules as read.
        tokenizer: knows all their tokens.
        smiles: canonical SMILES of each part.
        ids: token ids ``[N, L]`` of each part, in the smallest type that holds them.
        conditions: ``[N, C]`` of each part in their own units, NaN where unknown.
        names: names of the conditions.
        means: means in the training part; 0 if conditions are not standardised.
        stds: standard deviations, likewise; or 1.
        ranges: smallest and largest value in the training part.
        left_out: names that ``all`` would bring in, but that do not vary there.
        count_padding: whether padding counts in the loss.
        room: the most tokens of a training row that is written anew at every epoch; None if
            rows stay as they are.
        seed: decides how they are written.
    """

    source: Molecules
    tokenizer: PreTrainedTokenizerFast
    smiles: dict[str, list[str]]
    ids: dict[str, Tensor]
    conditions: dict[str, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()
    left_out: tuple[str, ...] = ()
    count_padding: bool = False
    room: int | None = None
    seed: int = 42

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256``; rows kept, left out and changed; the spread of replicates."""
        source = self.source
        facts = {
            "name": source.name,
            "sha256": source.sha256,
            "rows": source.rows,
            "molecules": len(source.smiles),
            "broken": source.broken,
            "duplicates": source.duplicates,
            **({"removed": source.changed, "merged": source.merged} if source.changed else {}),
        }
        replicates = {
            key: asdict(spread) for key, spread in source.spreads.items() if spread.replicated
        }
        return {**facts, "replicates": replicates} if replicates else facts

    @property
    def known(self) -> Known:
        """All molecules, which a sample must differ from to be novel."""
        training = frozenset(self.smiles["train"])
        return Known(training, frozenset(self.source.smiles) - training)

    @property
    def model_keys(self) -> dict[str, Any]:
        """Vocabulary, special tokens, context, and the statistics of the conditions."""
        tokenizer = self.tokenizer
        keys = {
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": self.room or next(iter(self.ids.values())).shape[1],
        }
        if self.names:
            keys |= {
                "condition_names": list(self.names),
                "condition_means": list(self.means),
                "condition_stds": list(self.stds),
                "condition_ranges": [list(pair) for pair in self.ranges],
            }
        return keys

    def require_conditions(self) -> None:
        """Refuse molecules with an unknown condition, for a model that needs them all.

        Raises:
            KetformerError: naming the line, the molecule and the condition.
        """
        for part, values in self.conditions.items():
            if (unknown := values.isnan().nonzero()).numel():
                row, place = unknown[0].tolist()
                raise KetformerError(
                    f"{where(self.source, self.smiles[part][row])} has no {self.names[place]}, but "
                    "this model needs every condition; fill it in, leave the row out, or train "
                    "with --condition_unknown true"
                )

    def rows(self, part: str, *, count_padding: bool | None = None) -> MoleculeRows:
        """A part as padded rows."""
        return MoleculeRows(
            self.ids[part],
            self.tokenizer.pad_token_id,
            self.conditions.get(part),
            count_padding=self.count_padding if count_padding is None else count_padding,
        )

    def training_sets(self, context: int) -> tuple[Rows, Rows]:
        """The training part, and the validation part or an even selection from it."""
        longest = self.ids["train"].shape[1]
        if longest - 1 > context:
            raise KetformerError(
                f"the longest molecule has {longest - 2} tokens, {longest - 1} with [CLS]: "
                f"more than max_position_embeddings {context}"
            )
        validation = self.rows("validation")
        wanted = max(EVAL_TARGETS // longest, 1)
        if wanted < len(validation):
            chosen = torch.linspace(0, len(validation) - 1, wanted).long()
            validation = MoleculeRows(
                validation.ids[chosen],
                validation.pad_token_id,
                None if validation.conditions is None else validation.conditions[chosen],
                count_padding=validation.count_padding,
            )
        return self._training_rows(context), validation

    def _training_rows(self, context: int) -> MoleculeRows:
        if self.room is None:
            return self.rows("train")
        return RandomisedRows(
            self.smiles["train"],
            self.tokenizer,
            self.ids["train"],
            self.conditions.get("train"),
            length=min(self.room, context + 1),
            seed=self.seed,
            count_padding=self.count_padding,
        )


def prepare_molecules(
    data: str,
    *,
    split: str = "standard",
    train_fraction: float = 1.0,
    seed: int = 42,
    column: str | None = None,
    conditions: str | None = None,
    dialect: Dialect = RECOGNISED,
    replicates: Merge = "mean",
    standardise: str | None = None,
    standardise_conditions: bool = True,
    count_padding: bool = False,
    notation: str = "smiles",
    randomise: bool = False,
    tokenizer: PreTrainedTokenizerFast | None = None,
    trained: Trained | None = None,
    may_lack: Collection[str] = (),
    progress: bool = True,
) -> MoleculeData:
    """Load, split and tokenise molecules, with their conditions.

    The vocabulary holds the tokens of all parts, so that no part has an unknown token. Means
    and deviations are those of the training part.

    Args:
        data: a data set's name or a path.
        split: see :data:`~ketformer.tasks.molecules.splits.SPLITS`.
        train_fraction: how much of the training part is kept, a random choice of it.
        seed: seed of the standard and scaffold splits, and of random texts.
        column: the column with SMILES in a table.
        conditions: names of columns or properties, separated by commas; a column comes first,
            unless ``rdkit:`` or ``column:`` says which. ``all`` means those of the nine
            properties that vary in the training part, ``all,-MW`` leaves one out.
        dialect: how a file is written, where it is not recognised.
        replicates: how rows with the same molecule become one: ``mean``, ``median`` or ``first``.
        standardise: what to remove from each molecule besides atom maps, see
            :func:`~ketformer.tasks.molecules.standardise.marks_of`.
        standardise_conditions: subtract the training part's mean, divide by its standard
            deviation.
        count_padding: whether padding counts in the loss.
        notation: how molecules are written, see
            :data:`~ketformer.tasks.molecules.notations.NOTATIONS`.
        randomise: write each training molecule anew at every epoch.
        tokenizer: the tokenizer of a trained model, which has its own notation; it must know
            every token. Such a model keeps its conditions and their statistics, whether they
            vary here or not.
        trained: a model to train further, whose tokenizer is kept; the same holds for it.
        may_lack: conditions that are unknown if the file has no such column.
        progress: show bars on standard error.

    Raises:
        KetformerError: unknown data, column, split, condition or token, or a wrong
            ``train_fraction``.
    """
    known = trained.tokenizer if trained else tokenizer
    way = notation_of(known) if known else find_notation(notation)
    asked = parse_names(conditions)
    lenient = [condition for condition in asked if condition.resolved({}) in may_lack]
    source = load_molecules(
        data,
        column=column,
        numeric=[one.name for one in asked if one.needs_column and one not in lenient],
        optional=[
            one.name for one in asked if one.takes_column or (one.needs_column and one in lenient)
        ],
        dialect=dialect,
        replicates=replicates,
        marks=marks_of(standardise),
        progress=progress,
    )
    names = _names(asked, source.headings, may_lack)
    if len(set(names)) < len(names):
        raise KetformerError(f"conditions must be distinct names, got {', '.join(names)}")
    notes = source.notes if data not in MOLECULE_SETS else []  # what those hold is known
    for line in [*notes, *_preferred(asked, source.headings), *_lacking(asked, source.headings)]:
        warnings.warn(f"{source.name}: {line}", stacklevel=2)
    if source.broken:
        warnings.warn(
            f"{source.broken:,} of {source.rows:,} SMILES in {source.name} are broken and left "
            f"out; the first: {source.first_broken}",
            stacklevel=2,
        )
    if source.changed:
        counts = ", ".join(f"{mark} from {count:,}" for mark, count in source.changed.items())
        warnings.warn(
            f"{source.name}: removed {counts} of {source.rows:,} molecules; {source.merged:,} "
            "differed from another only in these and were merged",
            stacklevel=2,
        )
    keeps = tokenizer is not None or trained is not None
    texts = way.written(source.smiles, progress=progress)
    drawn = drawn_texts(way, source.smiles) if randomise and tokenizer is None else []
    if tokenizer is None:
        tokens = vocabulary_of([*texts, *drawn], way)
        make = partial(smiles_tokenizer, notation=way)
        tokenizer = trained.tokenizer_for(tokens, make, source.name) if trained else make(tokens)
    ids = compact_ids(tokenizer, texts)
    # Those drawn are a sample, so the longest of an epoch is longer.
    longest = max(ids.shape[1], *(len(way.split(text)) + 2 for text in drawn), 0)
    if source.parts and split != "official":
        warnings.warn(
            f"{source.name} has parts of its own, which --split {split} mixes; --split official "
            "keeps them",
            stacklevel=2,
        )
    parts = split_molecules(source.smiles, split, seed, source.parts, progress=progress)
    # They are in no order, so the first are a random choice.
    parts["train"] = parts["train"][: count_kept(len(parts["train"]), train_fraction)]
    values = _conditions(source, asked, progress)
    check_size(values, names, source)
    left_out = []
    if conditions and not keeps:
        training = values[parts["train"]]
        from_all = {name for name, one in zip(names, asked, strict=True) if one.from_all}
        left_out = unvarying(
            training, names, from_all, conditions, source, varied=standardise_conditions
        )
        kept = [i for i, name in enumerate(names) if name not in left_out]
        names, values = [names[i] for i in kept], values[:, kept]
    means, stds = [0.0] * len(names), [1.0] * len(names)
    ranges = []
    if names and not keeps:
        training = values[parts["train"]]
        lows, highs = np.nanmin(training, 0), np.nanmax(training, 0)
        ranges = list(zip(lows.tolist(), highs.tolist(), strict=True))
        if standardise_conditions:
            means, stds = np.nanmean(training, 0).tolist(), np.nanstd(training, 0).tolist()
    return MoleculeData(
        source=source,
        tokenizer=tokenizer,
        smiles={part: [source.smiles[i] for i in chosen] for part, chosen in parts.items()},
        ids={part: ids[torch.from_numpy(chosen)] for part, chosen in parts.items()},
        conditions={
            part: torch.from_numpy(values[chosen]).float() for part, chosen in parts.items()
        }
        if names
        else {},
        names=tuple(names),
        means=tuple(means),
        stds=tuple(stds),
        ranges=tuple(ranges),
        left_out=tuple(left_out),
        count_padding=count_padding,
        room=math.ceil(_SLACK * longest) if randomise else None,
        seed=seed,
    )


def _preferred(asked: Sequence[Condition], headings: Mapping[str, str]) -> list[str]:
    """Lines about columns that are taken although RDKit computes a property of that name."""
    return [
        f"{condition.computed} is the file's column {headings[condition.name]!r}; "
        f"rdkit:{condition.computed} would be RDKit's"
        for condition in asked
        if condition.takes_column and condition.name in headings
    ]


def _lacking(asked: Sequence[Condition], headings: Mapping[str, str]) -> list[str]:
    """Lines about columns that the file may lack, and does."""
    return [
        f"there is no column {condition.name!r}, which is unknown for every molecule"
        for condition in asked
        if condition.needs_column and condition.name not in headings
    ]


def _names(
    asked: Sequence[Condition], headings: Mapping[str, str], known: Collection[str]
) -> list[str]:
    """The conditions' names in a model; one that has them already writes them in its own way."""
    own = {name.casefold(): name for name in known}
    names = (condition.resolved(headings) for condition in asked)
    return [own.get(name.casefold(), name) for name in names]


def _conditions(source: Molecules, asked: Sequence[Condition], progress: bool) -> np.ndarray:
    """The values of the conditions ``[N, C]``, in the order asked for."""
    names = [condition.resolved(source.headings) for condition in asked]
    computed = [name for name in names if name in PROPERTIES]
    values = cached_properties(source.smiles, computed, progress=progress) if computed else None
    unknown = np.full(len(source.smiles), np.nan)
    columns = [
        source.columns.get(condition.name, unknown) if values is None or name not in computed
        else values[:, computed.index(name)]
        for condition, name in zip(asked, names, strict=True)
    ]  # fmt: skip
    return np.stack(columns, axis=1) if columns else np.empty((len(source.smiles), 0))

"""Molecules ready for training: split, tokenised, with their conditions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.base import EVAL_TARGETS, Rows
from ketformer.tasks.molecules.conditions import Condition, parse_names
from ketformer.tasks.molecules.dialect import RECOGNISED, Dialect
from ketformer.tasks.molecules.properties import PROPERTIES, cached_properties
from ketformer.tasks.molecules.reading import MOLECULE_SETS, Molecules, load_molecules
from ketformer.tasks.molecules.replicates import Merge
from ketformer.tasks.molecules.rows import MoleculeRows
from ketformer.tasks.molecules.splits import split_molecules
from ketformer.tasks.molecules.tokenizer import encode_smiles, smiles_tokenizer, vocabulary_of


@dataclass(frozen=True)
class MoleculeData:
    """Molecules ready for training.

    Attributes:
        source: the molecules as read.
        tokenizer: knows all their tokens.
        smiles: canonical SMILES of each part.
        ids: token ids ``[N, L]`` of each part.
        conditions: ``[N, C]`` of each part in their own units, NaN where unknown.
        names: names of the conditions.
        means: means in the training part; 0 if conditions are not standardised.
        stds: standard deviations, likewise; or 1.
        count_padding: whether padding counts in the loss.
    """

    source: Molecules
    tokenizer: PreTrainedTokenizerFast
    smiles: dict[str, list[str]]
    ids: dict[str, Tensor]
    conditions: dict[str, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    count_padding: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256``, the numbers of rows, kept and left out, and replicates."""
        source = self.source
        facts = {
            "name": source.name,
            "sha256": source.sha256,
            "rows": source.rows,
            "molecules": len(source.smiles),
            "broken": source.broken,
            "duplicates": source.duplicates,
        }
        replicates = {
            key: asdict(spread) for key, spread in source.spreads.items() if spread.replicated
        }
        return {**facts, "replicates": replicates} if replicates else facts

    @property
    def model_keys(self) -> dict[str, Any]:
        """Vocabulary, special tokens, context, and the statistics of the conditions."""
        tokenizer = self.tokenizer
        keys = {
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": next(iter(self.ids.values())).shape[1],
        }
        if self.names:
            keys |= {
                "condition_names": list(self.names),
                "condition_means": list(self.means),
                "condition_stds": list(self.stds),
            }
        return keys

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
        return self.rows("train"), validation


def prepare_molecules(
    data: str,
    *,
    split: str = "standard",
    seed: int = 42,
    column: str | None = None,
    conditions: str | None = None,
    dialect: Dialect = RECOGNISED,
    replicates: Merge = "mean",
    standardise: bool = True,
    count_padding: bool = False,
    tokenizer: PreTrainedTokenizerFast | None = None,
    progress: bool = True,
) -> MoleculeData:
    """Load, split and tokenise molecules, with their conditions.

    The vocabulary holds the tokens of all parts, so that no part has an unknown token. Means
    and deviations are those of the training part.

    Args:
        data: a data set's name or a path.
        split: see :data:`~ketformer.tasks.molecules.splits.SPLITS`.
        seed: seed of the standard split.
        column: the column with SMILES in a table.
        conditions: names of columns or properties, separated by commas; a column comes first,
            unless ``rdkit:`` or ``column:`` says which. ``all`` means the nine properties.
        dialect: how a file is written, where it is not recognised.
        replicates: how rows with the same molecule become one: ``mean``, ``median`` or ``first``.
        standardise: subtract the training part's mean, divide by its standard deviation.
        count_padding: whether padding counts in the loss.
        tokenizer: the tokenizer of a trained model; it must know every token.
        progress: show bars on standard error.

    Raises:
        KetformerError: unknown data, column, split, condition or token.
    """
    asked = parse_names(conditions)
    source = load_molecules(
        data,
        column=column,
        numeric=[condition.name for condition in asked if condition.needs_column],
        optional=[condition.name for condition in asked if condition.takes_column],
        dialect=dialect,
        replicates=replicates,
        progress=progress,
    )
    names = [condition.resolved(source.headings) for condition in asked]
    if len(set(names)) < len(names):
        raise KetformerError(f"conditions must be distinct names, got {', '.join(names)}")
    notes = source.notes if data not in MOLECULE_SETS else []  # what those hold is known
    for line in [*notes, *_preferred(asked, source.headings)]:
        warnings.warn(f"{source.name}: {line}", stacklevel=2)
    if source.broken:
        warnings.warn(
            f"{source.broken:,} of {source.rows:,} SMILES in {source.name} are broken and left "
            f"out; the first: {source.first_broken}",
            stacklevel=2,
        )
    tokenizer = tokenizer or smiles_tokenizer(vocabulary_of(source.smiles))
    ids = encode_smiles(tokenizer, source.smiles)
    parts = split_molecules(source.smiles, split, seed)
    values = _conditions(source, asked, progress)
    means, stds = [0.0] * len(names), [1.0] * len(names)
    if names and standardise:
        means, stds = _statistics(values[parts["train"]], names)
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
        count_padding=count_padding,
    )


def _preferred(asked: Sequence[Condition], headings: Mapping[str, str]) -> list[str]:
    """Lines about columns that are taken although RDKit computes a property of that name."""
    return [
        f"{condition.computed} is the file's column {headings[condition.name]!r}; "
        f"rdkit:{condition.computed} would be RDKit's"
        for condition in asked
        if condition.takes_column and condition.name in headings
    ]


def _conditions(source: Molecules, asked: Sequence[Condition], progress: bool) -> np.ndarray:
    """The values of the conditions ``[N, C]``, in the order asked for."""
    names = [condition.resolved(source.headings) for condition in asked]
    computed = [name for name in names if name in PROPERTIES]
    values = cached_properties(source.smiles, computed, progress=progress) if computed else None
    columns = [
        source.columns[condition.name] if values is None or name not in computed
        else values[:, computed.index(name)]
        for condition, name in zip(asked, names, strict=True)
    ]  # fmt: skip
    return np.stack(columns, axis=1) if columns else np.empty((len(source.smiles), 0))


def _statistics(values: np.ndarray, names: Sequence[str]) -> tuple[list[float], list[float]]:
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known) or not known.std() > 0:
            raise KetformerError(f"{name} does not vary in the training molecules")
    return np.nanmean(values, axis=0).tolist(), np.nanstd(values, axis=0).tolist()

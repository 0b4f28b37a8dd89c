"""From settings to data that a model can be trained and measured on, for both tasks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.checks import check_memory
from ketformer.settings import Settings
from ketformer.tasks.datasets import Text, load_text
from ketformer.tasks.molecules.properties import PROPERTIES, cached_properties
from ketformer.tasks.molecules.reading import Molecules, load_molecules
from ketformer.tasks.molecules.rows import MoleculeRows
from ketformer.tasks.molecules.splits import split_molecules
from ketformer.tasks.molecules.tokenizer import encode_smiles, smiles_tokenizer, vocabulary_of
from ketformer.tasks.text import (
    TextWindows,
    bpe_tokenizer,
    char_tokenizer,
    encode,
    split_text,
)

Rows = Dataset[dict[str, Tensor]]

# Validation during training looks at this many targets at most, evenly spread.
_EVAL_TARGETS = 1 << 16


class Prepared(Protocol):
    """What training needs of a task's data."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Of the data's tokens."""

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256`` of the data, for the manifest."""

    @property
    def model_keys(self) -> dict[str, Any]:
        """Configuration keys that the data decides."""

    def training_sets(self, context: int) -> tuple[Rows, Rows]:
        """Training and validation rows for a model with that context."""


@dataclass(frozen=True)
class TextData:
    """A text ready for training: where it came from, its tokenizer, its parts as token ids."""

    source: Text
    tokenizer: PreTrainedTokenizerFast
    parts: dict[str, Tensor]

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256``."""
        return {"name": self.source.name, "sha256": self.source.sha256}

    @property
    def model_keys(self) -> dict[str, Any]:
        """The size of the vocabulary."""
        return {"vocab_size": len(self.tokenizer)}

    def training_sets(self, context: int) -> tuple[Rows, Rows]:
        """Every window of the training part; windows of the validation part side by side."""
        limit = max(_EVAL_TARGETS // context, 1)
        return (
            TextWindows(self.parts["train"], context, stride=1),
            TextWindows(self.parts["validation"], context, stride=context, limit=limit),
        )


@dataclass(frozen=True)
class MoleculeData:
    """Molecules ready for training.

    Attributes:
        source: as they were read.
        tokenizer: of all their tokens.
        smiles: canonical SMILES of each part.
        ids: token ids ``[N, L]`` of each part.
        conditions: ``[N, C]`` of each part in their own units, NaN where unknown.
        names: of the conditions.
        means: of the training part; 0 if conditions are not to be standardised.
        stds: likewise, or 1.
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
        """``name`` and ``sha256``, and what became of the rows."""
        source = self.source
        return {
            "name": source.name,
            "sha256": source.sha256,
            "rows": source.rows,
            "molecules": len(source.smiles),
            "broken": source.broken,
            "duplicates": source.duplicates,
        }

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
        """The training part, and the validation part or an even choice of it."""
        longest = self.ids["train"].shape[1]
        if longest - 1 > context:
            raise KetformerError(
                f"the longest molecule has {longest - 2} tokens, {longest - 1} with [CLS]: "
                f"more than max_position_embeddings {context}"
            )
        validation = self.rows("validation")
        wanted = max(_EVAL_TARGETS // longest, 1)
        if wanted < len(validation):
            chosen = torch.linspace(0, len(validation) - 1, wanted).long()
            validation = MoleculeRows(
                validation.ids[chosen],
                validation.pad_token_id,
                None if validation.conditions is None else validation.conditions[chosen],
                count_padding=validation.count_padding,
            )
        return self.rows("train"), validation


def prepare(settings: Settings, *, progress: bool = True) -> TextData | MoleculeData:
    """Load, split and tokenise the data of either task.

    Raises:
        KetformerError: unknown data, split, tokenizer or condition, or broken data.
    """
    foreign = (
        {"column": None, "conditions": None, "count_padding": False}
        if settings.task == "text"
        else {"tokenizer": "char", "vocab_size": None}
    )
    for key, neutral in foreign.items():
        if getattr(settings, key) != neutral:
            raise KetformerError(f"{key} is not for a model of {settings.task}")
    if settings.task == "text":
        return prepare_text(settings)
    return prepare_molecules(settings, progress=progress)


def prepare_text(settings: Settings) -> TextData:
    """Load, split and tokenise a text.

    A character tokenizer knows the alphabet of the whole text, so that no part
    has an unknown character; a BPE is trained on the training part alone.

    Raises:
        KetformerError: unknown data, split or tokenizer.
    """
    source = load_text(settings.data)
    texts = split_text(source.text, settings.split)
    if settings.tokenizer == "char":
        tokenizer = char_tokenizer(source.text)
    elif settings.tokenizer == "bpe":
        tokenizer = bpe_tokenizer(texts["train"], settings.vocab_size or 1024)
    else:
        raise KetformerError(f"unknown tokenizer {settings.tokenizer!r}; known: char, bpe")
    parts = {name: encode(tokenizer, text) for name, text in texts.items()}
    return TextData(source, tokenizer, parts)


def prepare_molecules(
    settings: Settings,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    progress: bool = True,
) -> MoleculeData:
    """Load, split and tokenise molecules, and standardise what they are conditioned on.

    The vocabulary holds the tokens of all parts, so that none has an unknown one. Means
    and deviations are those of the training part.

    Args:
        settings: what to load.
        tokenizer: of a trained model; it must know every token.
        progress: show bars on standard error.

    Raises:
        KetformerError: unknown data, column, split, condition or token.
    """
    names = condition_names(settings.conditions)
    own = [name for name in names if name not in PROPERTIES]
    source = load_molecules(settings.data, column=settings.column, numeric=own, progress=progress)
    if source.broken:
        warnings.warn(
            f"{source.broken:,} of {source.rows:,} SMILES in {source.name} are broken and left "
            f"out; the first: {source.first_broken}",
            stacklevel=2,
        )
    tokenizer = tokenizer or smiles_tokenizer(vocabulary_of(source.smiles))
    ids = encode_smiles(tokenizer, source.smiles)
    parts = split_molecules(source.smiles, settings.split, settings.training.get("seed", 42))
    values = _conditions(source, names, progress)
    smiles = {part: [source.smiles[i] for i in chosen] for part, chosen in parts.items()}
    means, stds = [0.0] * len(names), [1.0] * len(names)
    if names and settings.standardise_conditions:
        means, stds = _statistics(values[parts["train"]], names)
    return MoleculeData(
        source=source,
        tokenizer=tokenizer,
        smiles=smiles,
        ids={part: ids[torch.from_numpy(chosen)] for part, chosen in parts.items()},
        conditions={
            part: torch.from_numpy(values[chosen]).float() for part, chosen in parts.items()
        }
        if names
        else {},
        names=tuple(names),
        means=tuple(means),
        stds=tuple(stds),
        count_padding=settings.count_padding,
    )


def condition_names(conditions: str | None) -> list[str]:
    """The names in ``LogP,TPSA``; ``all`` is the nine properties that need no column."""
    if not conditions:
        return []
    if conditions == "all":
        return list(PROPERTIES)
    names = [name.strip() for name in conditions.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise KetformerError(f"conditions must be distinct names with commas, got {conditions!r}")
    return names


def build_model(settings: Settings, data: Prepared) -> KetformerForCausalLM:
    """A freshly initialised model for the data.

    Raises:
        KetformerError: a setting does not fit, or the model would be too large for this machine.
    """
    config = KetformerConfig(**{**data.model_keys, **settings.model})
    check_memory(config)
    return KetformerForCausalLM(config)


def _conditions(source: Molecules, names: Sequence[str], progress: bool) -> np.ndarray:
    """``[N, C]`` in the order of ``names``."""
    computed = [name for name in names if name in PROPERTIES]
    values = cached_properties(source.smiles, computed, progress=progress) if computed else None
    columns = [
        source.columns[name] if values is None or name not in computed
        else values[:, computed.index(name)]
        for name in names
    ]  # fmt: skip
    return np.stack(columns, axis=1) if columns else np.empty((len(source.smiles), 0))


def _statistics(values: np.ndarray, names: Sequence[str]) -> tuple[list[float], list[float]]:
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known) or not known.std() > 0:
            raise KetformerError(f"{name} does not vary in the training molecules")
    return np.nanmean(values, axis=0).tolist(), np.nanstd(values, axis=0).tolist()

"""From settings to a model and the data to train and evaluate it on, for both tasks."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.checks import check_memory
from ketformer.runs.settings import Settings
from ketformer.tasks.base import Prepared
from ketformer.tasks.molecules.conditions import without_conditions
from ketformer.tasks.molecules.data import MoleculeData, prepare_molecules
from ketformer.tasks.molecules.dialect import Dialect
from ketformer.tasks.text.data import TextData, prepare_text


def prepare(settings: Settings, *, progress: bool = True) -> TextData | MoleculeData:
    """Load, split and tokenise the data of either task.

    Raises:
        KetformerError: unknown data, split, tokenizer or condition, or broken data.
    """
    foreign = (
        {
            "column": None,
            "conditions": None,
            "count_padding": False,
            "delimiter": None,
            "decimal": None,
            "randomise_smiles": False,
            "replicates": "mean",
            "standardise": None,
        }
        if settings.task == "text"
        else {"vocab_size": None}
    )
    for key, neutral in foreign.items():
        if getattr(settings, key) != neutral:
            raise KetformerError(f"{key} does not apply to a model of {settings.task}")
    if settings.task == "molecules":
        return molecules_of(settings, progress=progress)
    return prepare_text(
        settings.data,
        split=settings.split,
        train_fraction=settings.train_fraction,
        tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size,
        progress=progress,
        encoding=settings.encoding,
    )


def molecules_of(
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    progress: bool = True,
) -> MoleculeData:
    """The molecules that settings name, for a trained model if its tokenizer is given.

    Raises:
        KetformerError: see :func:`~ketformer.tasks.molecules.data.prepare_molecules`.
    """
    return prepare_molecules(
        settings.data,
        split=settings.split,
        train_fraction=settings.train_fraction,
        seed=settings.training.get("seed", 42),
        column=settings.column,
        conditions=settings.conditions,
        dialect=Dialect(settings.delimiter, settings.decimal, settings.encoding),
        replicates=settings.replicates,
        standardise=settings.standardise,
        standardise_conditions=settings.standardise_conditions,
        count_padding=settings.count_padding,
        notation=settings.tokenizer,
        randomise=settings.randomise_smiles,
        tokenizer=tokenizer,
        progress=progress,
    )


def as_prepared(settings: Settings, data: Prepared) -> Settings:
    """The settings with the conditions that the data were prepared with."""
    if not isinstance(data, MoleculeData) or not data.left_out:
        return settings
    names = without_conditions(str(settings.conditions), data.left_out)
    return settings.override({"conditions": names})


def build_model(settings: Settings, data: Prepared) -> KetformerForCausalLM:
    """A freshly initialised model for the data.

    Raises:
        KetformerError: a setting does not fit, or the model would be too large for this machine.
    """
    config = KetformerConfig(**{**data.model_keys, **settings.model})
    if isinstance(data, MoleculeData) and not config.condition_unknown:
        data.require_conditions()
    check_memory(config)
    return KetformerForCausalLM(config)

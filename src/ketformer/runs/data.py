"""From settings to a model and the data to train and evaluate it on, for both tasks."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.checks import check_memory
from ketformer.runs.settings import Settings
from ketformer.tasks.base import Prepared, Trained
from ketformer.tasks.molecules.conditions import parse_names, without_conditions
from ketformer.tasks.molecules.data import MoleculeData, prepare_molecules
from ketformer.tasks.molecules.dialect import Dialect
from ketformer.tasks.molecules.splits import ALL
from ketformer.tasks.text.data import TextData, prepare_text


def prepare(
    settings: Settings, trained: Trained | None = None, *, progress: bool = True
) -> TextData | MoleculeData:
    """Load, split and tokenise the data of either task.

    Args:
        settings: what to train on what.
        trained: a model to train further.
        progress: show bars on standard error.

    Raises:
        KetformerError: unknown data, split, tokenizer or condition, or broken data; or another run
            to begin with, where models are trained from scratch.
    """
    if settings.init is not None and trained is None:
        raise KetformerError(
            "init is for train alone: elsewhere every model starts with weights of its own"
        )
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
        if settings.split == ALL:
            raise KetformerError("--split all holds nothing out, so it is for evaluate alone")
        return molecules_of(settings, trained=trained, progress=progress)
    return prepare_text(
        settings.data,
        split=settings.split,
        train_fraction=settings.train_fraction,
        tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size,
        progress=progress,
        encoding=settings.encoding,
        trained=trained,
    )


def molecules_of(
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    trained: Trained | None = None,
    progress: bool = True,
) -> MoleculeData:
    """The molecules that settings name, for a trained model if its tokenizer is given.

    One that began with another run may have conditions that its own data lack.

    Raises:
        KetformerError: see :func:`~ketformer.tasks.molecules.data.prepare_molecules`.
    """
    may_lack: tuple[str, ...] = ()
    if trained is not None:
        may_lack = trained.conditions
    elif settings.init is not None and tokenizer is not None:
        may_lack = tuple(one.resolved({}) for one in parse_names(settings.conditions))
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
        trained=trained,
        may_lack=may_lack,
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

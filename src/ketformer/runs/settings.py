"""Settings of a training run, with changes from the command line.

What the options are is read from the sources of the classes that have them, so that neither help
nor a mistake needs transformers or torch.
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal

import jsonargparse

from ketformer.attention import ATTENTION
from ketformer.attention.layers import Mechanisms, distinct, nested, parse_mechanisms
from ketformer.attention.options import name_of_type
from ketformer.errors import KetformerError
from ketformer.models.feed_forward import FEED_FORWARD
from ketformer.quantum.backends.registry import BACKENDS
from ketformer.tasks.datasets import found_from_anywhere
from ketformer.tasks.metric import Task
from ketformer.utils.choices import Activation, Gradient, Merge, Positions
from ketformer.utils.declared import class_docstring, field_helps, field_types
from ketformer.utils.docstrings import docstring_arguments, first_sentence

#: Shown by ``train --help``; every other option of TrainingArguments works as well.
COMMON_TRAINING_OPTIONS = (
    "max_steps", "num_train_epochs", "learning_rate", "lr_scheduler_type", "warmup_steps",
    "per_device_train_batch_size", "gradient_accumulation_steps", "weight_decay",
    "max_grad_norm", "seed", "save_steps", "eval_steps", "logging_steps", "bf16",
    "gradient_checkpointing", "torch_compile", "fsdp", "report_to", "use_cpu",
)  # fmt: skip

# Trainer options that Ketformer sets itself.
_OURS = {
    "output_dir", "remove_unused_columns", "label_names", "prediction_loss_only",
    "resume_from_checkpoint", "disable_tqdm", "do_train", "do_eval", "do_predict",
    "dataloader_pin_memory", "use_cache", "parallelism_config",
}  # fmt: skip

# Configuration keys that come from the data or the call, not from the training settings.
_NOT_SET = {
    "vocab_size", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "condition_names",
    "condition_means", "condition_stds", "condition_ranges",
}  # fmt: skip


_MODEL = "ketformer.models.configuration:KetformerConfig"
_TRAINING = "transformers.training_args:TrainingArguments"

#: What an option of a mechanism, a backend or Trainer can be.
Scalar = bool | int | float | str | None
Plain = Scalar | list[Scalar] | dict[str, Scalar]


@dataclass(frozen=True)
class Settings:
    """The resolved settings of a training run.

    Attributes:
        model: configuration keys of :class:`~ketformer.KetformerConfig`.
        training: options of transformers' ``TrainingArguments``.
        name: the preset's name or the file's stem.
        task: ``text`` or ``molecules``.
        data: a data set's name or a path.
        init: a run to begin with, for fine-tuning: its weights, its tokenizer, its architecture.
        add_tokens: with ``init``: add the tokens that it does not know, rather than refuse them.
        lora_rank: with ``init``: train low-rank adapters of this rank (LoRA, through PEFT) and
            freeze the rest; they are merged into the weights that are saved.
        lora_alpha: the adapters' scale times their rank; 2 × ``lora_rank`` by default.
        lora_layers: linear layers of the blocks that have an adapter, e.g. ``qkv_proj,out_proj``;
            all of them by default.
        early_stopping_patience: end the training after this many evaluations in a row without a
            lower validation loss; the weights with the lowest are kept.
        split: ``standard`` or ``published``; for molecules also ``scaffold`` or ``official``.
        train_fraction: how much of the training part to train on, e.g. 0.01: the beginning of a
            text, a random choice of molecules.
        tokenizer: for text: ``char`` or ``bpe``; for molecules: ``smiles``,
            ``safe``, fragments that begin with the scaffold, or ``selfies``.
        vocab_size: number of tokens of a BPE; the data decides it for the other tokenizers.
        encoding: of a file, e.g. ``utf-16`` or ``cp1252``; recognised if not given.
        column: for molecules: the column with SMILES in a table, or its number from 1 if the
            table has no header.
        delimiter: for molecules: what separates the fields of a table: one character, ``tab`` or
            ``space``; recognised if not given.
        decimal: for molecules: the decimal mark, ``.`` or ``,``; recognised if not given.
        replicates: for molecules: what becomes of the known values of rows with the same
            molecule: ``mean``, ``median`` or ``first``.
        conditions: for molecules: numeric columns of the file to condition on, or properties,
            e.g. ``LogP,TPSA`` (in YAML also a list). A column comes before a property of that
            name; ``rdkit:LogP`` and ``column:LogP`` say which. ``all`` means the nine that can
            be computed, less those that do not vary; ``all,-MW`` leaves one out.
        standardise: for molecules: what to remove from each besides atom maps before equal ones
            are merged: salts, charges, isotopes, stereo, e.g. ``salts,charges`` (in YAML also a
            list); ``all`` means all four.
        standardise_conditions: subtract the training set's mean and divide by its standard
            deviation.
        randomise_smiles: for molecules: write each training molecule as another random SMILES at
            every epoch.
        count_padding: for molecules: count padding in the loss, as arXiv 2502.19214 does.
        backend: run every circuit of the attention on this backend instead of computing its
            result in closed form. Slow, like hardware.
        backend_options: options of the backend: shots, seed and its own.
        noise: error probabilities on a backend: one_qubit, two_qubit, readout.
        gradient: gradient method on a backend: parameter_shift, spsa or adjoint.
    """

    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    name: str = "run"
    task: Task = "text"
    data: str = "tinyshakespeare"
    init: str | None = None
    add_tokens: bool = False
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_layers: str | None = None
    early_stopping_patience: int | None = None
    split: str = "standard"
    train_fraction: float = 1.0
    tokenizer: str = "char"
    vocab_size: int | None = None
    encoding: str | None = None
    column: str | None = None
    delimiter: str | None = None
    decimal: Literal[".", ","] | None = None
    replicates: Merge = "mean"
    conditions: str | None = None
    standardise: str | None = None
    standardise_conditions: bool = True
    randomise_smiles: bool = False
    count_padding: bool = False
    backend: str | None = None
    backend_options: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    gradient: Gradient = "parameter_shift"

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            raise KetformerError(f"data must be a name or a path, got {self.data!r}")
        # A run may be used from another folder than it was trained in.
        object.__setattr__(self, "data", found_from_anywhere(self.data))
        if self.init is not None:
            object.__setattr__(self, "init", os.path.abspath(self.init))
        elif self.add_tokens:
            raise KetformerError("add_tokens adds to the tokenizer of another run: it needs init")
        if self.task == "molecules" and self.tokenizer == Settings.tokenizer:
            object.__setattr__(self, "tokenizer", "smiles")  # the default of molecules

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``settings.yaml`` holds them."""
        return asdict(self)

    @property
    def attention(self) -> Mechanisms:
        """The mechanism of all layers, or of each."""
        from ketformer.models import KetformerConfig

        found: Mechanisms = self.model.get("attention", KetformerConfig.attention)
        return found

    def packages(self) -> list[str]:
        """The other packages that its model and backend come from, as ``name==version``."""
        found = [ATTENTION.package_of(name) for name in distinct(self.attention)]
        found.append(FEED_FORWARD.package_of(self.model.get("feed_forward", "")))
        found.append(BACKENDS.package_of(self.backend or ""))
        return sorted({package for package in found if package})

    def override(self, changes: Mapping[str, Any]) -> Settings:
        """A copy with flat ``key: value`` changes sorted into its parts.

        A different ``attention`` starts from its default options. That of a hybrid may be a text:
        ``overlap,classical``, one mechanism for each layer. A different ``feed_forward`` starts
        from its default options and width. An ``ansatz`` that is an OpenQASM file is read.

        Raises:
            KetformerError: an unknown key, a value of the wrong type, or an unreadable file.
        """
        from ketformer.attention import with_files_read
        from ketformer.models import KetformerConfig

        own, model, training = {}, dict(self.model), dict(self.training)
        checked = checked_settings(changes)
        if "attention" in checked:
            checked["attention"] = parse_mechanisms(checked["attention"])
            if checked["attention"] != model.get("attention"):
                model.pop("attention_options", None)
        if checked.get("attention_options"):
            checked["attention_options"] = with_files_read(nested(checked["attention_options"]))
        before = model.get("feed_forward", KetformerConfig.feed_forward)
        if checked.get("feed_forward", before) != before:
            for key in ("feed_forward_options", "intermediate_size"):
                model.pop(key, None)
        for key, value in checked.items():
            if key in own_keys():
                own[key] = value
            elif key in model_keys():
                model[key] = value
            else:
                training[key] = value
        return Settings(**{**self.to_dict(), **own, "model": model, "training": training})


def add_settings_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Add all settings as ``--key`` options; Trainer's rarer ones have no help line.

    Options that are not given are absent from the result, unlike those given as ``null``.
    """
    for group in _parser()._action_groups[2:]:  # after those of argparse
        own = parser.add_argument_group(group.title, group.description)
        for action in group._group_actions:  # to make one takes far longer than to copy it
            own._add_action(copy(action))


def model_keys() -> tuple[str, ...]:
    """Configuration keys that belong to this model and not to every transformers model."""
    return tuple(_model_types())


def own_keys() -> tuple[str, ...]:
    """The settings that belong neither to the model nor to Trainer."""
    return tuple(f.name for f in fields(Settings) if f.name not in {"model", "training", "name"})


@lru_cache
def _own_types() -> dict[str, Any]:
    hints = typing.get_type_hints(Settings)
    return {key: _plain(hints[key]) for key in own_keys()}


@lru_cache
def _model_types() -> dict[str, Any]:
    names = {"Activation": Activation, "Mechanisms": Mechanisms, "Positions": Positions}
    hints = field_types(_MODEL, names)
    return {key: _plain(hint) for key, hint in hints.items() if key not in _NOT_SET}


@lru_cache
def _training_types() -> dict[str, Any]:
    hints = field_types(_TRAINING, {})
    hints["fsdp"] = bool | str | None  # declared as a string, the deprecated form of a bool
    return {key: _plain(hint) for key, hint in hints.items() if key not in _OURS}


def _plain(hint: Any) -> Any:
    """The type, restricted to plain values where it allows anything.

    Where a type allows anything, jsonargparse imports the class that a ``class_path`` names.
    """
    if hint is dict or hint == dict[str, Any]:
        return dict[str, Plain]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_plain, typing.get_args(hint)))]  # noqa: UP007
    return hint


@lru_cache
def _parser() -> jsonargparse.ArgumentParser:
    """All settings, in a group for each part of :class:`Settings`."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    help_of = docstring_arguments(Settings.__doc__)
    help_of["backend"] += f" One of {', '.join(BACKENDS)}."
    _add_group(parser.add_argument_group("data"), _own_types(), help_of)
    help_of = docstring_arguments(class_docstring(_MODEL))
    help_of["attention"] = (
        f"one of {', '.join(ATTENTION)}; or a hybrid, one for each layer: overlap,classical"
    )
    help_of["feed_forward"] = f"the feed-forward layer of every block: {', '.join(FEED_FORWARD)}"
    _add_group(parser.add_argument_group("model"), _model_types(), help_of)
    training = parser.add_argument_group(
        "training", "any other option of transformers' TrainingArguments works as well"
    )
    told = field_helps(_TRAINING)
    common = {key: first_sentence(told.get(key, "")) for key in COMMON_TRAINING_OPTIONS}
    types = _training_types()
    ordered = {key: types[key] for key in (*common, *types)}
    _add_group(training, ordered, {key: common.get(key, argparse.SUPPRESS) for key in types})
    return parser


def _add_group(group: Any, types: Mapping[str, Any], help_of: Mapping[str, str]) -> None:
    for key, kind in types.items():
        group.add_argument(f"--{key}", type=kind, default=argparse.SUPPRESS, help=help_of.get(key))


def checked_settings(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with their types checked and strings such as ``3e-3`` read as numbers."""
    types = _own_types() | _model_types() | _training_types()
    for key in changes:
        if key not in types:
            close = difflib.get_close_matches(key, types, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KetformerError(f"unknown setting {key!r}{hint}")
    parse = _parser().parse_object
    try:
        checked = parse(dict(changes), defaults=False).as_dict()
    except jsonargparse.ArgumentError:  # one by one takes longer, and says which
        checked = {}
        for key, value in changes.items():
            try:
                checked |= parse({key: value}, defaults=False).as_dict()
            except jsonargparse.ArgumentError:
                kind = name_of_type(types[key])
                raise KetformerError(f"setting {key!r} must be {kind}, got {value!r}") from None
    for key, value in changes.items():
        if isinstance(checked[key], float) and not math.isfinite(checked[key]):
            raise KetformerError(f"setting {key!r} must be finite, got {value!r}")
    return {key: checked[key] for key in changes}

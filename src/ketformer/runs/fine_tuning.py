"""Training that begins with another run: its weights, its tokenizer and its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.carry_over import carry_over
from ketformer.models.checks import check_memory
from ketformer.runs.directory import SETTINGS_FILE, Run, open_run
from ketformer.runs.settings import Settings, model_keys
from ketformer.runs.settings_file import read_settings
from ketformer.tasks.base import Prepared, Trained
from ketformer.tasks.molecules.conditions import Condition, as_asked, find_condition, parse_names
from ketformer.tasks.molecules.data import MoleculeData

# What may differ from the first run: it changes the training, not the weights.
_FREE = ("embd_pdrop", "attn_pdrop", "resid_pdrop", "mlp_pdrop", "condition_pdrop")
# What says how the first run's file is written, or which part of it counts.
_OF_THE_FILE = ("column", "delimiter", "decimal", "encoding", "split", "train_fraction")
_ON_HARDWARE = ("backend", "backend_options", "noise", "gradient")


def settings_of_fine_tuning(init: str | Path, given: Mapping[str, Any]) -> Settings:
    """The settings of a run that begins with another one, without a preset.

    They are those of the first run, but for its data if others are given, and for the training:
    500 steps of 32 sequences, at a tenth of its learning rate (or all of it for adapters), with a
    cosine and a short warm-up;
    the weights with the least validation loss are kept.

    Args:
        init: the first run.
        given: what will be changed in them, as for :meth:`Settings.override`.

    Raises:
        KetformerError: it is no run.
    """
    path = Path(init)
    if not path.is_dir():
        raise KetformerError(f"no run directory {str(path)!r} to begin with")
    first = read_settings(path / SETTINGS_FILE)
    usual = Settings()
    reset = [*_ON_HARDWARE, *(_OF_THE_FILE if "data" in given else ())]
    training = {
        "max_steps": 500,
        "per_device_train_batch_size": 32,
        # Adapters are small beside what they are added to, and need a higher rate.
        "learning_rate": first.training.get("learning_rate", 5e-5)
        / (1 if given.get("lora_rank") else 10),
        "lr_scheduler_type": "cosine",
        "warmup_steps": 25,
        "weight_decay": first.training.get("weight_decay", 0.0),
        "load_best_model_at_end": True,
    }
    if "num_train_epochs" in given and "max_steps" not in given:
        del training["max_steps"]
        training |= {"eval_strategy": "epoch", "save_strategy": "epoch"}
    return replace(
        first,
        **{key: getattr(usual, key) for key in reset},
        init=str(path),
        add_tokens=False,
        training=training,
    )


def first_run(settings: Settings) -> tuple[Settings, Run]:
    """The run to begin with, and the settings with its architecture and its conditions.

    Its conditions are kept; others in the settings are added to them.

    Raises:
        KetformerError: it is no finished run, or something in the settings contradicts it.
    """
    first = open_run(str(settings.init))
    before = first.settings
    own = ["task", *(("tokenizer", "vocab_size") if before.task == "text" else ())]
    for key in own:
        now, then = getattr(settings, key), getattr(before, key)
        if now not in (None, then):
            raise _contradiction(key, then, now, first)
    return replace(
        settings,
        vocab_size=before.vocab_size,
        model=_architecture(first, settings.model),
        conditions=_conditions(first.model.config.condition_names or [], settings.conditions),
    ), first


def trained(first: Run, settings: Settings) -> Trained:
    """What the first run brings to the data."""
    names = tuple(first.model.config.condition_names or ())
    return Trained(str(first.path), first.tokenizer, names, settings.add_tokens)


@dataclass(frozen=True)
class Beginning:
    """A model that begins with another run.

    Attributes:
        model: with its weights.
        facts: for the manifest: ``run``, ``weights_sha256``, ``added_tokens``,
            ``added_conditions`` and ``unknown_conditions``, those that no training molecule has.
        grown: names of the weights that are new or have rows of new tokens or conditions.
    """

    model: KetformerForCausalLM
    facts: dict[str, Any]
    grown: frozenset[str]


def begin_with(first: Run, settings: Settings, data: Prepared) -> Beginning:
    """The first run's model for these data.

    Conditions that it has keep their means and deviations; those of new ones are the data's.

    Raises:
        KetformerError: the data lack a condition that the model needs, or a new one does not vary
            in them; or the mechanism cannot take it on.
    """
    config = first.model.config
    had = len(config.condition_names or [])
    added: list[str] = []
    unknown: list[str] = []
    keys = {**data.model_keys, **settings.model}
    if isinstance(data, MoleculeData):
        if data.names:
            keys |= _statistics(config, data, standardise=settings.standardise_conditions)
            added = list(data.names[had:])
            values = data.conditions["train"]
            unknown = [n for n, known in zip(data.names, _known(values), strict=True) if not known]
        if not keys["condition_unknown"]:
            data.require_conditions()
    made = KetformerConfig(**keys)
    check_memory(made)
    model = KetformerForCausalLM(made)
    ids = first.tokenizer.get_vocab()
    tokens = sorted(data.tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    grown = carry_over(first.model, model, [ids.get(token) for token, _ in tokens])
    facts = {
        "run": str(first.path),
        "weights_sha256": first.weights_sha256,
        "added_tokens": [token for token, _ in tokens if token not in ids],
        "added_conditions": added,
        "unknown_conditions": unknown,
    }
    return Beginning(model, facts, frozenset(grown))


def _architecture(first: Run, given: Mapping[str, Any]) -> dict[str, Any]:
    """The model's keys, those of the first run but for what may change."""
    config = first.model.config
    own = {key: getattr(config, key) for key in model_keys()}
    free = {key: given[key] for key in _FREE if key in given}
    longer = given.get("max_position_embeddings") or 0
    if config.positions != "learned" and longer > config.max_position_embeddings:
        free["max_position_embeddings"] = longer
    if not config.condition_names and "condition_unknown" in given:
        free["condition_unknown"] = given["condition_unknown"]
    made = {**own, **free}
    kept = {key: value for key, value in given.items() if value is not None and key not in free}
    options = [key for key in kept if key.endswith("_options")]  # last: read with their mechanism
    for key in [*(key for key in kept if key not in options), *options]:
        value = kept[key]
        if key in options:
            value = getattr(KetformerConfig(**{**own, key: value}), key)
        if value != own[key]:
            raise _contradiction(key, own[key], kept[key], first)
    return made


def _contradiction(key: str, then: Any, now: Any, first: Run) -> KetformerError:
    return KetformerError(
        f"{key} is {then} in {first.path}, whose weights training is to begin with, not {now}; "
        f"leave out --{key}, or train without --init"
    )


def _conditions(names: list[str], asked: str | None) -> str | None:
    """The first run's conditions, and then those that are asked for besides."""
    new = [one for one in parse_names(asked) if not _is_among(one, names)]
    texts = [f"{one.source}:{one.name}" if one.source else one.name for one in new]
    return ",".join(filter(None, [as_asked(names), *texts])) or None


def _is_among(condition: Condition, names: list[str]) -> bool:
    if condition.source:
        return condition.resolved({}).casefold() in {name.casefold() for name in names}
    return find_condition(condition.name, names) is not None


def _statistics(
    config: KetformerConfig, data: MoleculeData, *, standardise: bool
) -> dict[str, Any]:
    """The configuration's keys about conditions: of old ones its own, of new ones the data's."""
    values = data.conditions["train"].double().numpy()
    had, names = len(config.condition_names or []), list(data.names)
    lows, highs = np.full(len(names), np.nan), np.full(len(names), np.nan)
    means, stds = np.zeros(len(names)), np.ones(len(names))
    for i, (name, column) in enumerate(zip(names, values.T, strict=True)):
        known = column[~np.isnan(column)]
        if len(known):
            lows[i], highs[i] = known.min(), known.max()
        if i < had:
            continue
        if not len(known) or (standardise and lows[i] == highs[i]):
            raise KetformerError(
                f"{name} does not vary in the training molecules of {data.source.name}; leave it "
                "out of --conditions"
            )
        if standardise:
            means[i], stds[i] = known.mean(), known.std()
    if had:
        means[:had], stds[:had] = config.condition_means, config.condition_stds
    keys = {
        "condition_names": names,
        "condition_means": means.tolist(),
        "condition_stds": stds.tolist(),
    }
    if had and not config.condition_ranges:
        return keys
    if had:
        before = np.array(config.condition_ranges)
        lows[:had] = np.fmin(lows[:had], before[:, 0])
        highs[:had] = np.fmax(highs[:had], before[:, 1])
    return {**keys, "condition_ranges": np.stack([lows, highs], 1).tolist()}


def _known(values: Any) -> list[bool]:
    """Whether any molecule has a value, for each condition of ``[N, C]``."""
    found: list[bool] = (~values.isnan()).any(0).tolist()
    return found

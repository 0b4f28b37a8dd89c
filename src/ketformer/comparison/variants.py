"""The rows of a comparison: mechanisms of equal size, and their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ketformer.attention import ATTENTION, attention_options
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import Settings

# Controls for every mechanism with a circuit: what each is, and the options that make it.
_ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "no_entanglement": ("the circuit without two-qubit gates", {"entanglement": "none"}),
    "random_circuit": ("the circuit at random angles, not trained", {"train_circuit": False}),
}


def controls() -> dict[str, str]:
    """Every control by name, with its description.

    Controls in the registry are mechanisms themselves; the others change options of each
    mechanism with a circuit.
    """
    own = {name: vars(cls).get("control", "") for name, cls in ATTENTION.loaded()}
    return {
        **{name: told for name, told in own.items() if told},
        **{name: told for name, (told, _) in _ABLATIONS.items()},
    }


@dataclass(frozen=True)
class Variant:
    """One row of a comparison: a name and the settings that make it.

    Attributes:
        name: name of the row and of its run directories.
        changes: changes to the settings that all rows share.
        control: description of the control, if the row is one.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    control: str | None = None


def rows_of(
    attentions: Sequence[str], settings: Settings, chosen: Sequence[str] = ()
) -> list[Variant]:
    """One row for each mechanism, then the requested controls.

    Args:
        attentions: registry names, each once.
        settings: the settings they share.
        chosen: names of :func:`controls`, or ``all`` of them.

    Raises:
        KetformerError: a name is repeated or unknown, or a control changes circuits and no
            mechanism has one.
    """
    if len(set(attentions)) != len(attentions):
        raise KetformerError("each attention can be compared only once")
    known = controls()
    if unknown := sorted({*chosen} - {*known, "all"}):
        raise KetformerError(
            f"unknown control {', '.join(unknown)}; known: {', '.join(known)}, or all"
        )
    rows = [Variant(name, {"attention": name}) for name in attentions]
    for control, told in known.items():
        if control not in chosen and "all" not in chosen:
            continue
        if control not in _ABLATIONS:
            if control not in attentions:
                rows.append(Variant(control, {"attention": control}, told))
            continue
        _, ablation = _ABLATIONS[control]
        ablated = [name for name in attentions if ablation.keys() <= attention_options(name).keys()]
        if not ablated and control in chosen:
            raise KetformerError(f"{control}: none of {', '.join(attentions)} has a circuit")
        for name in ablated:
            own = settings.override({"attention": name}).model.get("attention_options", {})
            changes = {"attention": name, "attention_options": {**own, **ablation}}
            rows.append(Variant(f"{name}_{control}", changes, f"{name}: {told}"))
    return rows


def matched(
    variants: Sequence[Variant], settings: Settings, data_keys: Mapping[str, Any]
) -> list[Variant]:
    """Match each row's number of parameters to the first's by its feed-forward width.

    Args:
        variants: the rows; the first is the reference and stays unchanged.
        settings: the settings they share.
        data_keys: configuration keys set by the data, at least the vocabulary size.

    Raises:
        KetformerError: a row cannot be matched within 2 %.
    """
    resized: list[Variant] = []
    target = 0
    for variant in variants:
        own = settings.override(variant.changes)
        width = KetformerConfig(**{**data_keys, **own.model}).intermediate_size or 0
        here = _count(own, data_keys, width)
        if not resized:
            target = here
            resized.append(variant)
            continue
        slope = _count(own, data_keys, width + 1) - here
        width = max(width + round((target - here) / slope), 1)
        size = _count(own, data_keys, width)
        if abs(size - target) > 0.02 * target:
            raise KetformerError(
                f"{variant.name} has {size:,} parameters at best, {variants[0].name} has "
                f"{target:,}: not within 2 %; pass --match false to compare them anyway"
            )
        changes = {**variant.changes, "intermediate_size": width}
        resized.append(Variant(variant.name, changes, variant.control))
    return resized


def _count(settings: Settings, data_keys: Mapping[str, Any], width: int) -> int:
    """The number of parameters at a feed-forward width."""
    keys = {**data_keys, **settings.model, "intermediate_size": width}
    with torch.device("meta"):
        return int(KetformerForCausalLM(KetformerConfig(**keys)).num_parameters())

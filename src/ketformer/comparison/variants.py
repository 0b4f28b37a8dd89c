"""The rows of a comparison: mechanisms of equal size, and their controls."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ketformer.attention import ATTENTION, attention_class, attention_options
from ketformer.attention.options import check_option_types
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import Settings
from ketformer.runs.settings import model_keys

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

    @property
    def folder(self) -> str:
        """The name as a part of file names."""
        return as_file_name(self.name)


def as_file_name(arm: str) -> str:
    """``overlap:n_qubits=4`` as ``overlap-n_qubits=4``: no character that file systems refuse."""
    return re.sub(r"[^\w=.+-]+", "-", arm)


def rows_of(arms: Sequence[str], settings: Settings, chosen: Sequence[str] = ()) -> list[Variant]:
    """One row for each arm, then the requested controls.

    Args:
        arms: registry names, each with or without options of its own: ``overlap``,
            ``overlap:n_qubits=4,entanglement=none``.
        settings: the settings they share.
        chosen: names of :func:`controls`, or ``all`` of them.

    Raises:
        KetformerError: an arm is repeated, its name, an option or a value is wrong, or a control
            changes circuits and no mechanism has one.
    """
    rows = [_row_of(arm, settings) for arm in arms]
    for i, row in enumerate(rows):
        if any(row.changes == earlier.changes for earlier in rows[:i]):
            raise KetformerError(f"{row.name!r}: each arm can be compared only once")
    attentions = [row.changes["attention"] for row in rows]
    known = controls()
    if unknown := sorted({*chosen} - {*known, "all"}):
        raise KetformerError(
            f"unknown control {', '.join(unknown)}; known: {', '.join(known)}, or all"
        )
    arms_given = list(rows)
    for control, told in known.items():
        if control not in chosen and "all" not in chosen:
            continue
        if control not in _ABLATIONS:
            if control not in attentions:
                rows.append(Variant(control, {"attention": control}, told))
            continue
        _, ablation = _ABLATIONS[control]
        ablated = [
            row
            for row in arms_given
            if ablation.keys() <= attention_options(row.changes["attention"]).keys()
        ]
        if not ablated and control in chosen:
            raise KetformerError(f"{control}: none of {', '.join(attentions)} has a circuit")
        for row in ablated:
            own = settings.override(row.changes).model.get("attention_options", {})
            changes = {**row.changes, "attention_options": {**own, **ablation}}
            rows.append(Variant(f"{row.name}_{control}", changes, f"{row.name}: {told}"))
    return rows


def chosen_rows(wanted: Sequence[str] | None, known: Sequence[str]) -> set[str]:
    """The wanted rows of a fixed table, all of them by default.

    Raises:
        KetformerError: a row is unknown.
    """
    if unknown := sorted({*(wanted or ())} - {*known}):
        raise KetformerError(f"unknown row {', '.join(unknown)}; known: {', '.join(known)}")
    return set(known if wanted is None else wanted)


def _row_of(arm: str, settings: Settings) -> Variant:
    """``name:option=value,...`` as a row; an option is the mechanism's or the model's."""
    name, _, listed = arm.partition(":")
    offered = attention_options(name)
    changes: dict[str, Any] = {"attention": name}
    own: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in listed.split(","))):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not text:
            raise KetformerError(f"{arm!r}: options are written name:option=value, got {part!r}")
        if key in offered:
            own[key] = option_value(text)
        elif key in set(model_keys()) - {"attention", "attention_options"}:
            changes[key] = option_value(text)
        else:
            close = difflib.get_close_matches(key, [*offered, *model_keys()], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KetformerError(
                f"{arm!r}: neither {name} nor the model has an option {key!r}{hint}"
            )
    if own:
        check_option_types(name, attention_class(name), own)
        given = settings.override({"attention": name}).model.get("attention_options") or {}
        changes["attention_options"] = {**given, **own}
    settings.override(changes)  # refuses a value of the wrong type
    return Variant(arm, changes)


def option_value(text: str) -> Any:
    """A number, true, false or null as JSON has them; anything else is a word."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str | list | dict) else value


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

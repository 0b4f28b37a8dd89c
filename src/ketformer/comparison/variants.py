"""The rows of a comparison: mechanisms of equal size, and their controls.

Only what builds a model imports torch: the names of rows and controls need none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ketformer.attention import ATTENTION, attention_class, attention_options
from ketformer.attention.layers import (
    Mechanisms,
    distinct,
    is_hybrid,
    name_of,
    options_by_name,
    parse_mechanisms,
)
from ketformer.attention.options import check_option_types, listed_options
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.runs.settings import Settings, model_keys

if TYPE_CHECKING:
    from ketformer.attention import Mixer


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


def mechanisms_of(arm: str) -> Mechanisms:
    """The registry name in ``overlap:n_qubits=4``, or those in ``overlap+classical``."""
    name = arm.partition(":")[0]
    return name if "," in name else parse_mechanisms(name)  # arms are not separated by commas


def as_file_name(arm: str) -> str:
    """``overlap:n_qubits=4`` as ``overlap-n_qubits=4``: no character that file systems refuse."""
    return re.sub(r"[^\w=.+-]+", "-", arm)


class _Ablation(NamedTuple):
    """A control that changes options of a row.

    Attributes:
        told: what it is.
        options: the options that make it.
        of: whether it is made of a row (an arm, or a control of the registry) with its settings.
        lacking: what to say where no row has it.
    """

    told: str
    options: dict[str, Any]
    of: Callable[[Variant, Settings], bool]
    lacking: str


def _is_arm(row: Variant, _: Settings | None = None) -> bool:
    return row.control is None


_ABLATIONS = {
    "no_entanglement": _Ablation(
        "the circuit without two-qubit gates",
        {"entanglement": "none"},
        _is_arm,
        "none of {} has a circuit",
    ),
    "random_circuit": _Ablation(
        "the circuit at random angles, not trained",
        {"train_circuit": False},
        _is_arm,
        "none of {} has a circuit whose own angles are trained",
    ),
    "token_shift": _Ablation(
        "half of the channels that it sees are the previous token's",
        {"token_shift": True},
        lambda row, _: _is_arm(row) or row.changes["attention"] == "classical",
        "none of {} has the option token_shift",
    ),
    "trained_temperature": _Ablation(
        "a temperature trained for each head",
        {"learnable_temperature": True},
        lambda row, _: row.changes["attention"] in ("classical", "classical_qk_norm"),
        "it belongs to classical or classical_qk_norm, but only {} is compared",
    ),
    "local_start": _Ablation(
        "attention begins local, as with states: queries and keys begin with a part in common",
        {"local_start": 2.0},
        lambda row, settings: (
            row.changes["attention"] == "classical" and settings.model.get("positions") == "rotary"
        ),
        "it belongs to classical with rotary positions, not to {}",
    ),
}
_MATCHED_START = "matched_start"
# Starts that differ by a smaller share count as equal: seeds differ by as much.
_EQUAL_STARTS = 0.1


def controls() -> dict[str, str]:
    """Every control by name, with its description.

    Controls in the registry are mechanisms themselves; the others change options of the rows.
    """
    return {
        **dict(ATTENTION.declaring("control")),
        **{name: ablation.told for name, ablation in _ABLATIONS.items()},
        _MATCHED_START: "scores begun with the same spread as the mechanism's, and as classical's",
    }


def rows_of(arms: Sequence[str], settings: Settings, chosen: Sequence[str] = ()) -> list[Variant]:
    """One row for each arm, then the requested controls that are not among them.

    Args:
        arms: registry names, each with or without options of its own: ``overlap``,
            ``overlap:n_qubits=4,entanglement=none``; or hybrids, a name for each layer:
            ``overlap+classical``.
        settings: the settings they share.
        chosen: names of :func:`controls`, or ``all`` that apply.

    Raises:
        KetformerError: an arm is repeated, its name, an option or a value is wrong, or a control
            is named that applies to none of them.
    """
    rows = [row_of(arm, settings) for arm in arms]
    for i, row in enumerate(rows):
        if any(row.changes == earlier.changes for earlier in rows[:i]):
            raise KetformerError(f"{row.name!r}: each arm can be compared only once")
    known = controls()
    if unknown := sorted({*chosen} - {*known, "all"}):
        raise KetformerError(
            f"unknown control {', '.join(unknown)}; known: {', '.join(known)}, or all"
        )
    present = [row.changes["attention"] for row in rows]
    wanted = [name for name in known if name in chosen or "all" in chosen]
    rows += [
        Variant(name, {"attention": name}, known[name])
        for name in wanted
        if name in ATTENTION
        and name not in present
        and (name in chosen or is_offered(Variant(name, {"attention": name}), settings))
    ]
    bases, trained = list(rows), [trained_settings(row, settings) for row in rows]
    for name in wanted:
        if name in ATTENTION:
            continue
        try:
            if name == _MATCHED_START:
                made = _matched_starts(bases, settings)
            else:
                made = _ablated(bases, settings, name)
        except NotOfferedError:
            if name in chosen:
                raise
            continue
        for row in made:
            if (model := trained_settings(row, settings)) not in trained:
                rows.append(row)
                trained.append(model)
    return rows


def _ablated(bases: Sequence[Variant], settings: Settings, control: str) -> list[Variant]:
    """A row for each base to which the control applies."""
    told, options, of, lacking = _ABLATIONS[control]
    made = (
        _with_options(row, settings, control, options, told)
        for row in bases
        if not is_hybrid(row.changes["attention"])
        and of(row, settings)
        and options.keys() <= attention_options(row.changes["attention"]).keys()
    )
    found = [row for row in made if is_offered(row, settings)]
    if not found:
        names = ", ".join(name_of(row.changes["attention"]) for row in bases)
        raise NotOfferedError(f"{control}: {lacking.format(names)}")
    return found


def is_offered(row: Variant, settings: Settings) -> bool:
    """Whether its mechanism has these positions, and what the options leave out, such as gates."""
    import torch

    try:
        with torch.device("meta"):
            new_attention(settings.override(row.changes).model, seed=0)
    except NotOfferedError:
        return False
    return True


def _matched_starts(bases: Sequence[Variant], settings: Settings) -> list[Variant]:
    """Classical begun like each other arm, and each begun as small as classical, if it can be."""
    plain = Variant("classical", {"attention": "classical"})
    classical = next((row for row in bases if row.changes["attention"] == "classical"), plain)
    others = [row for row in bases if _is_arm(row) and row.changes["attention"] != "classical"]
    arms = [row for row in others if not is_hybrid(row.changes["attention"])]
    if not arms:
        told = "hybrids are compared, with their" if others else "classical is compared, with its"
        raise NotOfferedError(f"{_MATCHED_START}: only {told} own start")
    usual = _spread_at_start(classical, settings)
    rows: list[Variant] = []
    trouble: KetformerError | None = None
    for arm in arms:
        name = _MATCHED_START if len(arms) == 1 else f"{_MATCHED_START}_{arm.name}"
        try:
            spread = _spread_at_start(arm, settings)
        except NotOfferedError as error:  # it has no softmax of scores
            trouble = error
            continue
        if abs(spread - usual) <= _EQUAL_STARTS * usual:
            continue
        pairs = [(classical, name, usual, spread, arm)]
        if usual < spread:
            pairs.append((arm, "small_start", spread, usual, classical))
        for row, label, own, other, like in pairs:
            told = f"scores begin with the spread of {like.name}, {other:g} instead of {own:g}"
            begun = _with_options(row, settings, label, {"initial_spread": other}, told)
            try:
                _spread_at_start(begun, settings)
            except KetformerError as error:  # it has no weights that set it, or none do
                trouble = error
            else:
                rows.append(begun)
    if trouble and not rows:
        raise NotOfferedError(f"{_MATCHED_START}: {trouble}")
    return rows


def _with_options(
    row: Variant, settings: Settings, control: str, options: Mapping[str, Any], told: str
) -> Variant:
    """The row with other options of its mechanism, as a control."""
    own = settings.override(row.changes).model.get("attention_options") or {}
    changes = {**row.changes, "attention_options": {**own, **options}}
    return Variant(f"{row.name}_{control}", changes, f"{row.name}: {told}")


def trained_settings(row: Variant, settings: Settings) -> dict[str, Any]:
    """The settings of a row, defaults of its mechanism included: equal for equal models."""
    whole = settings.override(row.changes).to_dict()
    model = whole["model"]
    given = options_by_name(model["attention"], model.get("attention_options"))
    options = {name: attention_options(name) | own for name, own in given.items()}
    return {**whole, "model": {**model, "attention_options": options}}


def _spread_at_start(row: Variant, settings: Settings) -> float:
    """The spread of its scores in a new model, to three digits."""
    from ketformer.attention.spread import spread_of_scores

    attention = new_attention(settings.override(row.changes).model, seed=0)
    return float(f"{spread_of_scores(attention):.3g}")


def new_attention(model: Mapping[str, Any], seed: int) -> Mixer:
    """The mechanism of a new model with these configuration keys, as its first block has it."""
    import torch

    from ketformer.attention import Mixer
    from ketformer.models import KetformerConfig, KetformerForCausalLM

    config = KetformerConfig(**{**model, "num_hidden_layers": 1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = KetformerForCausalLM(config).modules()
    return next(module for module in modules if isinstance(module, Mixer))


def chosen_rows(wanted: Sequence[str] | None, known: Sequence[str]) -> set[str]:
    """The wanted rows of a fixed table, all of them by default.

    Raises:
        KetformerError: a row is unknown.
    """
    if unknown := sorted({*(wanted or ())} - {*known}):
        raise KetformerError(f"unknown row {', '.join(unknown)}; known: {', '.join(known)}")
    return set(known if wanted is None else wanted)


def row_of(arm: str, settings: Settings) -> Variant:
    """``name:option=value,...`` as a row; an option is the mechanism's or the model's."""
    from ketformer.models import KetformerConfig

    name = arm.partition(":")[0]
    mechanisms = mechanisms_of(arm)
    offered = {key for each in distinct(mechanisms) for key in attention_options(each)}
    changes: dict[str, Any] = {"attention": mechanisms}
    own: dict[str, Any] = {}
    for key, value in listed_options(arm).items():
        if key in offered and is_hybrid(mechanisms):
            raise KetformerError(
                f"{arm!r}: an arm that is a hybrid has its mechanisms' own defaults; {key} can be "
                "given to a mechanism that all layers share"
            )
        if key in offered:
            own[key] = value
        elif key in set(model_keys()) - {"attention", "attention_options"}:
            changes[key] = value
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
    model = settings.override(changes).model  # refuses a value of the wrong type
    try:
        KetformerConfig(**model)
    except KetformerError as error:
        raise KetformerError(f"{arm!r}: {error}") from None
    return Variant(arm, changes)


def matched(
    variants: Sequence[Variant], settings: Settings, data_keys: Mapping[str, Any]
) -> list[Variant]:
    """Match each row's number of parameters to the first's by its feed-forward width.

    A row whose feed-forward layer is of fixed size stays as it is, and must match already.

    Args:
        variants: the rows; the first is the reference and stays unchanged.
        settings: the settings they share.
        data_keys: configuration keys set by the data, at least the vocabulary size.

    Raises:
        KetformerError: a row cannot be matched within 2 %.
    """
    from ketformer.models import KetformerConfig

    resized: list[Variant] = []
    target = 0
    for variant in variants:
        own = settings.override(variant.changes)
        config = KetformerConfig(**{**data_keys, **own.model})
        width = config.intermediate_size
        here = _count(own, data_keys, width)
        if not resized:
            target = here
            resized.append(variant)
            continue
        size, changes, best = here, variant.changes, f"with feed_forward {config.feed_forward}"
        if width is not None:  # else the layer is of fixed size
            slope = _count(own, data_keys, width + 1) - here
            width = max(width + round((target - here) / slope), 1)
            size, best = _count(own, data_keys, width), "at best"
            changes = {**changes, "intermediate_size": width}
        if abs(size - target) > 0.02 * target:
            raise KetformerError(
                f"{variant.name} has {size:,} parameters {best}, {variants[0].name} has "
                f"{target:,}: not within 2 %; pass --match false to compare them anyway"
            )
        resized.append(replace(variant, changes=changes))
    return resized


def _count(settings: Settings, data_keys: Mapping[str, Any], width: int | None) -> int:
    """The number of parameters at a feed-forward width."""
    import torch

    from ketformer.models import KetformerConfig, KetformerForCausalLM

    keys = {**data_keys, **settings.model, "intermediate_size": width}
    with torch.device("meta"):
        return int(KetformerForCausalLM(KetformerConfig(**keys)).num_parameters())

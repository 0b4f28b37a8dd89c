"""The rows of a leaderboard, each judged beside its twins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ketformer.attention import attention_class
from ketformer.circuits.mechanisms import mechanism
from ketformer.circuits.resources import per_token
from ketformer.comparison.rules import judge
from ketformer.comparison.statistics import holm, paired
from ketformer.comparison.variants import row_of
from ketformer.comparison.verdicts import LOSSES, REFERENCE, twins_of_others
from ketformer.errors import KetformerError
from ketformer.runs import Settings
from ketformer.tasks.metric import CURVES


def standings(rows: Sequence[Mapping[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """The rows as a leaderboard has them, the lowest loss first.

    Args:
        rows: those of a comparison, classical attention among them.
        settings: the settings that they share.

    Raises:
        KetformerError: as for :func:`~ketformer.comparison.leaderboards.joined`.
    """
    entries = [_entry(row, settings) for row in rows]
    adjusted = _adjusted(entries, settings)
    judged = [entry.shown() | _judged(entry, entries, adjusted, settings) for entry in entries]
    return sorted(judged, key=lambda row: row["loss"]["mean"])


@dataclass(frozen=True, eq=False)
class _Entry:
    """A row of a comparison.

    Attributes:
        row: as the comparison has it.
        arm: what its name changes in the settings, but for positions.
        positions: how positions are known.
        loss: with the prefix alone.
        circuits: circuits and two-qubit gates of a layer for each token.
    """

    row: Mapping[str, Any]
    arm: Mapping[str, Any]
    positions: str
    loss: Mapping[str, Any]
    circuits: tuple[float, float]

    @property
    def name(self) -> str:
        """Its arm."""
        return str(self.row["name"])

    @property
    def is_classical(self) -> bool:
        """Whether it is classical attention or a control of the registry."""
        name = self.row["attention"]
        return name == REFERENCE or bool(attention_class(name).control)

    def shown(self) -> dict[str, Any]:
        """What the board shows of every row."""
        kept = ("name", "attention", "parameters", "learning_rate", "relative_inference_time")
        circuits, gates = self.circuits
        return {
            **{key: self.row.get(key) for key in kept},
            "is_classical": self.is_classical,
            "positions": self.positions,
            "loss": self.loss,
            "circuits": circuits,
            "two_qubit_gates": gates,
        }


def _entry(row: Mapping[str, Any], settings: Settings) -> _Entry:
    loss = LOSSES[settings.task][1]
    if row[loss]["mean"] is None:
        raise KetformerError(f"{row['name']} has no {loss} for every seed")
    changes = row_of(row["name"], settings).changes
    model = settings.override(changes).model
    built = mechanism(
        row["attention"],
        hidden_size=model["hidden_size"],
        num_heads=model["num_attention_heads"],
        **(row["attention_options"] or {}),
    )
    context = len(row[CURVES[settings.task][1]])
    return _Entry(
        row,
        _without_positions(changes),
        model.get("positions", "learned"),
        row[loss],
        per_token(built, context),
    )


def _without_positions(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if key != "positions"}


def _twins(entry: _Entry, entries: Sequence[_Entry], settings: Settings) -> list[_Entry]:
    """The rows that its mechanism names as its twins, with the same positions."""
    declared = attention_class(entry.row["attention"]).twins
    arms = [row_of(twin, settings).changes for twin in declared]
    return [o for o in entries if o.positions == entry.positions and o.arm in arms]


def _reference(entry: _Entry, entries: Sequence[_Entry]) -> _Entry:
    """Classical attention with the same positions."""
    for other in entries:
        if other.positions == entry.positions and other.arm == {"attention": REFERENCE}:
            return other
    raise KetformerError(
        f"{entry.name} has {entry.positions} positions, and no row is {REFERENCE} with these"
    )


def _adjusted(entries: Sequence[_Entry], settings: Settings) -> dict[str, float | None]:
    """Of each row that is judged, the p of its gain, by Holm's rule for the number of them."""
    found = {}
    for entry in entries:
        if not entry.is_classical and entry not in _twins(entry, entries, settings):
            usual = _reference(entry, entries).loss["values"]
            found[entry.name] = paired(entry.loss["values"], usual)["p_value"]
    return dict(zip(found, holm(list(found.values())), strict=True))


def _judged(
    entry: _Entry,
    entries: Sequence[_Entry],
    adjusted: Mapping[str, float | None],
    settings: Settings,
) -> dict[str, Any]:
    """The best twin and the verdict; nothing for a row that is classical or itself a twin."""
    if entry.name not in adjusted:
        return {}
    reference, twins = _reference(entry, entries), _twins(entry, entries, settings)
    others = twins_of_others(attention_class(entry.row["attention"]).twins)
    no_controls = [{"attention": REFERENCE}, *(row_of(twin, settings).changes for twin in others)]
    general = [
        other
        for other in entries
        if other.positions == entry.positions
        and other.is_classical
        and other.arm not in no_controls
    ]
    verdict = judge(
        (entry.name, entry.loss["values"]),
        (reference.name, reference.loss["values"]),
        {
            c.name: (c.row["control"] or "", c.loss["values"])
            for c in dict.fromkeys(twins + general)
        },
        p=adjusted[entry.name],
        leak="" if entry.row["causal"] else f"{entry.name} leaks: it sees the tokens to predict.",
    )
    found: dict[str, Any] = {"twin": None, "difference": None, "verdict": verdict.to_dict()}
    if twins:
        best = min(twins, key=lambda twin: twin.loss["mean"])
        values = [a - b for a, b in zip(entry.loss["values"], best.loss["values"], strict=True)]
        test = paired(entry.loss["values"], best.loss["values"])
        found |= {"twin": best.name, "difference": {**test, "values": values}}
    return found

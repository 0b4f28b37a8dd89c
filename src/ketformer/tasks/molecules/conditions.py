"""What a condition is: a property that RDKit computes, or a column of the user's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.properties import PROPERTIES
from ketformer.tasks.molecules.quoting import matching, nearest

#: Stands for the nine properties that RDKit computes.
ALL = "all"
_LEFT_OUT = "-"
_SOURCES = ("rdkit", "column")


@dataclass(frozen=True)
class Condition:
    """A condition as the user asks for it.

    Attributes:
        source: ``rdkit``, ``column``, or empty: the file's column, or else RDKit's property.
        name: as written, without the source.
        computed: the property of that name, in upper or lower case; None if there is none.
        from_all: whether ``all`` brought it in.
    """

    source: str
    name: str
    computed: str | None
    from_all: bool = False

    @property
    def needs_column(self) -> bool:
        """Whether it is a column and nothing else."""
        return self.source == "column" or self.computed is None

    @property
    def takes_column(self) -> bool:
        """Whether it is a column if the file has one of that name."""
        return not self.source and not self.needs_column

    def resolved(self, headings: Mapping[str, str]) -> str:
        """Its name in a model, which says where its values come from.

        A column that is called like a property is ``column:LogP``, so that nothing takes its
        values for what RDKit computes.

        Args:
            headings: the columns read, as the file writes them, by the name asked for.
        """
        heading = None if self.source == "rdkit" else headings.get(self.name)
        if heading is None and self.source == "column":
            heading = self.name  # the file lacks it
        if heading is None:
            return self.computed or self.name
        return f"column:{heading}" if heading in PROPERTIES else heading


def parse_names(conditions: str | None) -> list[Condition]:
    """The conditions in ``LogP,column:TPSA``.

    ``all`` means the nine properties that RDKit computes. ``-TPSA`` leaves out the one that
    ``all`` brought in, or else the one given by that name.

    Raises:
        KetformerError: an empty name, RDKit computes no such property, or what is to be left out
            is not there.
    """
    if not conditions:
        return []
    given = [name.strip() for name in conditions.split(",")]
    without = [name for name in given if name.startswith(_LEFT_OUT)]
    asked: list[Condition] = []
    for name in given:
        if name == ALL:
            asked += [Condition("rdkit", own, own, from_all=True) for own in PROPERTIES]
        elif name not in without:
            asked.append(_parsed(name))
    if not all(condition.name for condition in asked) or _LEFT_OUT in given:
        raise KetformerError(
            f"conditions must be distinct names, separated by commas, got {conditions!r}"
        )
    gone = [one for name in without for one in _left_out(name, asked, conditions)]
    return [condition for condition in asked if condition not in gone]


def without_conditions(conditions: str, names: Iterable[str]) -> str:
    """Conditions without some that ``all`` brought in, as in ``all,-TPSA``."""
    return ",".join([conditions, *(f"{_LEFT_OUT}{name}" for name in names)])


def as_asked(names: Iterable[str]) -> str | None:
    """What to ask for to have a model's own conditions again, whatever else a file holds."""
    return ",".join(map(_explicit, names)) or None


def find_condition(name: str, names: Sequence[str]) -> str | None:
    """The condition of a model that a user means: regardless of case, and of the source."""
    bare = [other.removeprefix("column:") for other in names]
    asked = name.partition(":")[2] if name.casefold().startswith("rdkit:") else name
    found = matching(name, names) or matching(asked, bare)
    return names[found[0]] if len(found) == 1 else None


def _left_out(text: str, asked: Sequence[Condition], conditions: str) -> list[Condition]:
    """Those that ``-LogP`` leaves out."""
    wanted = text.removeprefix(_LEFT_OUT).strip()
    out = _parsed(wanted)
    sources = (out.source,) if out.source else ("", *_SOURCES)
    there = [condition for condition in asked if condition.source in sources]
    for some in ([condition for condition in there if condition.from_all], there):
        if places := matching(out.name, [condition.name for condition in some]):
            return [some[i] for i in places]
    raise KetformerError(
        f"conditions {conditions!r} do not have {wanted} to leave out"
        f"{nearest(out.name, (condition.name for condition in asked))}"
    )


def _explicit(name: str) -> str:
    if name.startswith("column:"):
        return name
    return f"rdkit:{name}" if name in PROPERTIES else f"column:{name}"


def _parsed(text: str) -> Condition:
    source, colon, name = text.partition(":")
    source = source.strip().casefold()
    if not colon or source not in _SOURCES:
        source, name = "", text
    known = matching(name.strip(), list(PROPERTIES))
    if source == "rdkit" and not known:
        raise KetformerError(
            f"RDKit's properties have no {name.strip()!r}; known: {', '.join(PROPERTIES)}"
            f"{nearest(name, PROPERTIES)}"
        )
    return Condition(source, name.strip(), list(PROPERTIES)[known[0]] if known else None)

"""What a condition is: a property that RDKit computes, or a column of the user's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.properties import PROPERTIES
from ketformer.tasks.molecules.quoting import matching, nearest

_SOURCES = ("rdkit", "column")


@dataclass(frozen=True)
class Condition:
    """A condition as the user asks for it.

    Attributes:
        source: ``rdkit``, ``column``, or empty: the file's column, or else RDKit's property.
        name: as written, without the source.
        computed: the property of that name, in upper or lower case; None if there is none.
    """

    source: str
    name: str
    computed: str | None

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
        if heading is None:
            return self.computed or self.name
        return f"column:{heading}" if heading in PROPERTIES else heading


def parse_names(conditions: str | None) -> list[Condition]:
    """The conditions in ``LogP,column:TPSA``; ``all`` means the nine that RDKit computes.

    Raises:
        KetformerError: an empty name, or RDKit computes no such property.
    """
    if not conditions:
        return []
    if conditions == "all":
        return [Condition("rdkit", name, name) for name in PROPERTIES]
    asked = [_parsed(name) for name in conditions.split(",")]
    if not all(condition.name for condition in asked):
        raise KetformerError(
            f"conditions must be distinct names, separated by commas, got {conditions!r}"
        )
    return asked


def as_asked(names: Iterable[str]) -> str | None:
    """What to ask for to have a model's own conditions again, whatever else a file holds."""
    return ",".join(map(_explicit, names)) or None


def find_condition(name: str, names: Sequence[str]) -> str | None:
    """The condition of a model that a user means: regardless of case, and of the source."""
    bare = [other.removeprefix("column:") for other in names]
    asked = name.partition(":")[2] if name.casefold().startswith("rdkit:") else name
    found = matching(name, names) or matching(asked, bare)
    return names[found[0]] if len(found) == 1 else None


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

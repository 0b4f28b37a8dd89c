"""The cells of a column as numbers: decimal marks, units, and what stands for no value."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.quoting import shortened

# Each digit matches in one way only, so that a long cell causes no backtracking.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = re.compile(r"[<>≤≥~≈\s+-]*([0-9.,]*[0-9])")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_UNIT = re.compile(r"[^\W\d_][^\d]*|[%‰°µ][^\d]*")
_QUALIFIED = re.compile(r"[<>≤≥~≈]")
_UNCERTAINTY = re.compile(r"\s*(±|\+/-|\+-)\s*[0-9.,eE+-]+\s*")
# What spreadsheets, databases and laboratories write where there is no value.
_MISSING = frozenset(
    {"na", "n/a", "#n/a", "#na", "n.a.", "n.a", "nan", "<na>", "null", "none", "nil", "missing"}
    | {"nd", "n.d.", "n.d", "n/d", "not determined", "not available", "not tested", "unknown"}
    | {"-", "--", "–", "—", "?", "."}
)
_SWAPPED = str.maketrans(",.", ".,")
_EXAMPLES = 3  # of each kind, with their lines


def decimal_mark(
    path: Path, columns: Mapping[str, Sequence[str]], lines: Sequence[int], given: str | None
) -> str:
    """The decimal mark of a file's columns, ``.`` or ``,``: the one given, or the one they show.

    Args:
        path: for messages.
        columns: the cells of each.
        lines: the line of each cell.
        given: the user's choice.

    Raises:
        KetformerError: no such mark, or the cells may be read in either way.
    """
    if given is not None:
        if given not in (".", ","):
            raise KetformerError(f"decimal must be . or , got {given!r}")
        return given
    comma = point = ""
    certain = False
    for name, cells in columns.items():
        for line, cell in zip(lines, cells, strict=True):
            if point and "," not in cell and cell.count(".") < 2:
                continue  # it would show nothing new
            mark, sure = _mark(cell)
            certain |= sure
            if mark == "," and (sure or not comma):
                comma = f"line {line}: {name} is {shortened(cell.strip())}"
            elif mark == "." and not point:
                point = f"line {line}: {name} is {shortened(cell.strip())}"
    if comma and point:
        raise KetformerError(f"{path}: {comma}, but {point}; name the decimal mark with --decimal")
    if comma and not certain:
        raise KetformerError(
            f"{path}: {comma}, with a decimal comma or a comma between thousands; name the "
            "decimal mark with --decimal"
        )
    return "," if comma else "."


def _mark(cell: str) -> tuple[str, bool]:
    """The decimal mark in a cell, ``""`` if it has none, and whether it can be no other."""
    if not ("," in cell or "." in cell) or not (head := _DIGITS.match(cell)):
        return "", False
    digits = head[1]
    last = max(",.", key=digits.rfind)
    if digits.count(last) == 1:
        return last, last == "," and not _THOUSANDS.fullmatch(digits)
    other = "." if last == "," else ","  # the last one separates thousands
    english = digits if other == "." else digits.translate(_SWAPPED)
    return (other, other == ",") if _THOUSANDS.fullmatch(english) else ("", False)


def read_numbers(
    path: Path, name: str, cells: Sequence[str], lines: Sequence[int], decimal: str
) -> tuple[list[float], list[str]]:
    """The numbers of a column, NaN where a cell has none, and lines about other cells.

    A value with an uncertainty counts as the value. If all values have one unit, they are in
    that unit. Qualified values (``> 10``), words that stand for no value (``NA``), and other
    texts are unknown.

    Args:
        path: for messages.
        name: the column.
        cells: as written.
        lines: the line of each cell.
        decimal: ``.`` or ``,``.

    Raises:
        KetformerError: more texts than numbers.
    """
    values: list[float] = []
    odd: dict[str, list[int]] = defaultdict(list)
    units: dict[str, list[tuple[int, float]]] = defaultdict(list)
    plain = 0
    for row, cell in enumerate(cells):
        text = cell.strip()
        value = number(text, decimal) if text else math.nan
        if value is None and text.startswith("\N{MINUS SIGN}"):
            value = number(f"-{text[1:]}", decimal)
        if value is not None:
            plain += not math.isnan(value)
        elif text.casefold() in _MISSING:
            odd["missing"].append(row)
        elif _QUALIFIED.match(text):
            odd["qualified"].append(row)
        else:
            value, unit, uncertain = _parts(text, decimal)
            if value is None:
                odd["text"].append(row)
            elif unit:
                units[unit].append((row, value))
                value = None
            else:
                plain += 1
            if uncertain:
                odd["uncertain"].append(row)
        values.append(math.nan if value is None else value)
    unit = next(iter(units)) if len(units) == 1 and not plain else ""
    for row, value in (pair for pairs in units.values() for pair in pairs):
        if unit:
            values[row] = value
            plain += 1
        else:
            odd["with a unit"].append(row)
    texts = sorted(odd["text"] + odd["with a unit"])
    if len(texts) > plain:
        raise KetformerError(
            f"{path}: line {lines[texts[0]]}: {name} is {shortened(cells[texts[0]])}, not a number"
        )
    notes = [f"{name}: all {len(units[unit]):,} values are in {unit}"] if unit else []
    if uncertain_rows := odd.pop("uncertain", []):
        examples = _examples(uncertain_rows, cells, lines)
        notes.append(
            f"{name}: values taken without their uncertainty: {len(uncertain_rows):,} {examples}"
        )
    if any(odd.values()):
        kinds = [
            f"{len(rows):,} {kind} {_examples(sorted(rows), cells, lines)}"
            for kind, rows in odd.items()
            if rows
        ]
        notes.append(
            f"{name}: {sum(map(len, odd.values())):,} of {len(cells):,} values are no plain number "
            f"and count as unknown: {', '.join(kinds)}"
        )
    return values, notes


def number(text: str, decimal: str) -> float | None:
    """The number in a cell; None if it is not a plain finite number."""
    if decimal == ",":
        text = text.translate(_SWAPPED)
    if "," in text:
        if not _THOUSANDS.fullmatch(text):
            return None
        text = text.replace(",", "")
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def _parts(text: str, decimal: str) -> tuple[float | None, str, bool]:
    """A value, its unit and whether an uncertainty follows it; None if there is no value."""
    head = re.match(r"[+-]?[0-9.,]+([eE][+-]?[0-9]+)?", text)
    if head is None or (value := number(head[0], decimal)) is None:
        return None, "", False
    rest = text[head.end() :]
    uncertain = _UNCERTAINTY.match(rest)
    rest = rest[uncertain.end() :] if uncertain else rest.strip()
    if rest and not _UNIT.fullmatch(rest):
        return None, "", False
    return value, rest, uncertain is not None


def _examples(rows: Sequence[int], cells: Sequence[str], lines: Sequence[int]) -> str:
    shown = [f"{shortened(cells[row].strip())} in line {lines[row]}" for row in rows[:_EXAMPLES]]
    return f"({', '.join(shown)}{', …' if len(rows) > _EXAMPLES else ''})"

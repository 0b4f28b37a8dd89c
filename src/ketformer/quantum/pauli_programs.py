"""What the native kernel does for the Pauli strings of each head, as tables of numbers.

See ``native/pauli_strings.inc``; the layout is that of ``struct shape`` in ``native/kernels.c``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, reduce
from operator import or_
from typing import NamedTuple

from ketformer.quantum.pauli import PauliStrings

#: Amplitudes that the kernel takes together. Their bits are wanted all or not at all.
_CHUNK = 8
#: The most sums of a batch, unless one group alone has more.
_ROOM = 2048
_PLUS, _MINUS = 1, 2


class _String(NamedTuple):
    row: int
    phase: int  # bits with Y or Z
    sign: int


class _Group(NamedTuple):
    """Strings that flip the same bits."""

    flip: int
    wanted: int  # bits of which some string has a phase
    strings: list[_String]

    @property
    def room(self) -> int:
        return 1 << self.wanted.bit_count()


def string_programs(heads: Sequence[PauliStrings], is_complex: bool) -> tuple[list[int], list[int]]:
    """The programs of each head's strings on real or on complex states.

    Returns:
        The numbers of all programs; and four for each head: the begin and end of its program, the
        bits that its strings act on, and how many sums they need room for.
    """
    numbers: list[int] = []

    @cache
    def added(strings: PauliStrings) -> tuple[int, int, int, int]:
        """Heads with the same strings share a program."""
        begin, rooms = len(numbers), [0]
        for batch in _batches(_groups(strings, is_complex)):
            rooms.append(sum(group.room for group in batch))
            numbers.extend(_batch(batch, rooms[-1]))
        support = reduce(or_, (_bits(string, "XYZ") for string in strings.strings))
        return begin, len(numbers), support, max(rooms)

    of_heads = [number for strings in heads for number in added(strings)]
    return numbers, of_heads


def _groups(strings: PauliStrings, is_complex: bool) -> list[_Group]:
    groups: dict[int, list[_String]] = {}
    for row, string in enumerate(strings.strings):
        n_y = string.count("Y")
        # As in `PauliStrings.tables`.
        sign = (-1) ** (n_y // 2)
        if n_y % 2:
            if not is_complex:
                continue  # 0 on real states
            # It joins real parts with imaginary ones, as a Y of the qubit that tells them apart.
            string = "Y" + string
        phase = _bits(string, "YZ")
        groups.setdefault(_bits(string, "XY"), []).append(_String(row, phase, sign))
    found = []
    for flip, members in groups.items():
        wanted = reduce(or_, (member.phase for member in members))
        found.append(_Group(flip, wanted | (_CHUNK - 1 if wanted & (_CHUNK - 1) else 0), members))
    return found


def _batches(groups: list[_Group]) -> list[list[_Group]]:
    batches: list[list[_Group]] = []
    room = 0
    for group in groups:
        if not batches or room + group.room > _ROOM:
            batches.append([])
            room = 0
        batches[-1].append(group)
        room += group.room
    return batches


def _batch(groups: list[_Group], room: int) -> list[int]:
    headers: list[int] = []
    folds: list[int] = []
    entries: list[int] = []
    first = n_strings = 0
    for flip, wanted, strings in groups:
        # b and b ^ flip have the same product. Those within a chunk are all computed.
        half = 1 << flip.bit_length() >> 1 if flip >= _CHUNK else 0
        headers += [flip, half, wanted, first]
        twice = 2 if half else 1
        places = [_closed_up(string.phase, wanted) for string in strings]
        folds += _folds(first, wanted.bit_count(), set(places))
        for string, place in zip(strings, places, strict=True):
            entries += [string.row, first + place, twice * string.sign, 2 * string.sign]
        first += 1 << wanted.bit_count()
        n_strings += len(strings)
    return [len(groups), len(folds) // 3, n_strings, room, *headers, *folds, *entries]


def _folds(first: int, bits: int, places: set[int]) -> Iterable[int]:
    """Those of a Walsh-Hadamard transform that lead to the wanted places, the widest first."""
    if not bits:
        return ()
    half = 1 << bits - 1
    sums = {place for place in places if place < half}
    differences = {place - half for place in places - sums}
    kind = (_PLUS if sums else 0) | (_MINUS if differences else 0)
    below = [_folds(first, bits - 1, sums)] if sums else []
    below += [_folds(first + half, bits - 1, differences)] if differences else []
    return [kind, first, half, *(number for part in below for number in part)]


def _bits(string: str, letters: str) -> int:
    """A 1 for each of the letters."""
    return int("".join("1" if c in letters else "0" for c in string), 2)


def _closed_up(number: int, mask: int) -> int:
    """The bits of ``number`` selected by ``mask``, packed together."""
    places = [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    return sum((number >> bit & 1) << place for place, bit in enumerate(places))

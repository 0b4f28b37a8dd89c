"""Pictures of molecules, and of the atoms that an attention layer attends to."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ketformer.drawing.attention import AttentionMap
from ketformer.drawing.canvas import BOND, GLYPH, Canvas, Colour, save_picture
from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import parse
from ketformer.utils.files import picture_kind

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_CELL, _DRAWING = 220, 160  # pixels: width of a grid cell, height of the drawing in it
_WIDE, _HIGH = 440, 320  # pixels: size of a single molecule
_LINE = 17  # pixels: height of a line of text

# A bracket atom of the SMILES grammar (so "[CLS]" does not match), or an atom without brackets.
_ATOM = re.compile(
    r"\[\d*(?:[A-Z][a-z]?|se|as|te|[bcnops*])(?:@{1,2}|@(?:TH|AL|SP|TB|OH)\d+)?(?:H\d*)?"
    r"(?:\++\d*|-+\d*)?(?::\d+)?\]|Cl|Br|[BCNOPSFIbcnops*]"
)


def molecule_grid(
    path: str | Path,
    smiles: Sequence[str],
    captions: Sequence[str] | None = None,
    columns: int = 5,
    limit: int = 50,
) -> Path:
    """Draw molecules in rows, as PNG or SVG by the suffix, and return the path.

    Args:
        path: the picture to write; its folder is created.
        smiles: N SMILES; invalid ones are skipped.
        captions: N texts to put under the drawings; a line break starts a new line, and a
            line too long for its column is wrapped.
        columns: how many molecules to put side by side.
        limit: draw at most this many molecules, the first ones.

    Raises:
        KetformerError: neither PNG nor SVG, no valid molecule, or a number below 1.
    """
    path = Path(path)
    return save_picture(path, _grid(picture_kind(path), smiles, captions, columns, limit))


def grid_svg(
    smiles: Sequence[str],
    captions: Sequence[str] | None = None,
    columns: int = 5,
    limit: int = 20,
) -> str:
    """The grid of :func:`molecule_grid` as an ``<svg>`` element to embed in an HTML page.

    It shrinks with the page, and has a white background for dark pages.
    """
    return _grid("svg", smiles, captions, columns, limit).decode()


def atom_weights(attention: AttentionMap, head: int | None = None) -> NDArray[np.floating]:
    """How much attention each atom receives from the positions that can see it.

    That is the mean of its column over the rows from its own position on, so early atoms,
    which more positions can see, are not favoured.

    Args:
        attention: T tokens and their weights.
        head: index of a head; None for the mean over the heads.

    Returns:
        ``[n_atoms]``, in the order of the atoms in the SMILES.

    Raises:
        KetformerError: no such head, an invalid SMILES, or atoms that do not match the tokens.
    """
    matrix = attention.of_head(head)
    atoms = [i for i, token in enumerate(attention.tokens) if _ATOM.fullmatch(token)]
    count = _as_written(attention.text).GetNumAtoms()
    if len(atoms) != count:
        raise KetformerError(f"{attention.text!r} has {count} atoms, its tokens have {len(atoms)}")
    length = len(matrix)
    received = np.tril(matrix).sum(axis=0) / (length - np.arange(length))
    return np.asarray(received[atoms])


def coloured_atoms(path: str | Path, attention: AttentionMap, head: int | None = None) -> Path:
    """Draw the molecule with each atom coloured by :func:`atom_weights`; return the path.

    The scale goes from 0 to the largest weight in this molecule.

    Args:
        path: the PNG or SVG to write; its folder is created.
        attention: tokens and weights.
        head: index of a head; None for the mean over the heads.

    Raises:
        KetformerError: as in :func:`atom_weights`, or neither PNG nor SVG.
    """
    path = Path(path)
    return save_picture(path, _coloured(picture_kind(path), attention, head))


def atoms_svg(attention: AttentionMap, head: int | None = None) -> str:
    """The picture of :func:`coloured_atoms` as an ``<svg>`` element to embed in an HTML page."""
    return _coloured("svg", attention, head).decode()


def _coloured(kind: str, attention: AttentionMap, head: int | None) -> bytes:
    weights = atom_weights(attention, head)
    top = float(weights.max()) or 1.0
    title = [*_wrapped(attention.text, int(_WIDE / GLYPH)), attention.name_head(head)]
    start = _LINE * len(title) + 8
    below = start + _HIGH
    canvas = Canvas(kind, (_WIDE, below + 3 * _LINE), (_WIDE, _HIGH))
    colours = {atom: _shade(weight / top) for atom, weight in enumerate(weights.tolist())}
    canvas.draw(_as_written(attention.text), 0, start, 1.6 * BOND, colours)
    for line, text in enumerate(title, start=1):
        canvas.write(_WIDE / 2, line * _LINE + 4, text)
    left, steps, step_width = 100, 120, 2
    for step in range(steps):
        colour = _shade(step / (steps - 1))
        canvas.fill(left + step * step_width, below, step_width, 12, colour)
    ends = left, _WIDE / 2, left + steps * step_width
    for centre, text in zip(ends, ("0", "mean attention received", f"{top:.2g}"), strict=True):
        canvas.write(centre, below + 12 + _LINE, text)
    return canvas.finish()


def _grid(
    kind: str, smiles: Sequence[str], captions: Sequence[str] | None, columns: int, limit: int
) -> bytes:
    if columns < 1 or limit < 1:
        raise KetformerError(f"columns and limit must be positive, got {columns} and {limit}")
    shown: list[tuple[Mol, list[str]]] = []
    for text, caption in zip(smiles, captions or [""] * len(smiles), strict=True):
        if len(shown) == limit:
            break
        molecule = parse(text)
        if molecule is not None:
            lines = [part for line in caption.splitlines() for part in _wrapped(line)]
            shown.append((molecule, lines))
    if not shown:
        raise KetformerError("no valid molecule to draw")
    columns = min(columns, len(shown))
    row = _DRAWING + _LINE * max(len(lines) for _, lines in shown) + 12
    size = _CELL * columns, row * -(-len(shown) // columns)
    canvas = Canvas(kind, size, (_CELL, _DRAWING))
    for place, (molecule, lines) in enumerate(shown):
        x, y = place % columns * _CELL, place // columns * row
        canvas.draw(molecule, x, y)
        for number, line in enumerate(lines, start=1):
            canvas.write(x + _CELL / 2, y + _DRAWING + number * _LINE, line)
    return canvas.finish()


def _as_written(smiles: str) -> Mol:
    molecule = parse(smiles, keep_hydrogens=True)
    if molecule is None:
        raise KetformerError(f"{smiles!r} is not a valid SMILES")
    return molecule


def _wrapped(text: str, width: int = int((_CELL - 8) / GLYPH)) -> list[str]:
    # A SMILES has no spaces, and its hyphens are charges, so it is cut where the line is full.
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _shade(share: float) -> Colour:
    """The colour of a weight from 0 to 1, from a light range on which letters are readable."""
    import matplotlib

    red, green, blue, _ = matplotlib.colormaps["Blues"](0.06 + 0.6 * share)
    return red, green, blue

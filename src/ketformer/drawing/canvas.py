"""The canvas that molecules are drawn on, saved as PNG or SVG."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.utils.files import replacing

if TYPE_CHECKING:
    from rdkit.Chem import Mol

BOND = 26.0  # pixels: length of a bond if there is room
_INK, _INK_SIZE = 0.2, 12  # text: grey level, and size in pixels
GLYPH = 7.3  # pixels: mean width of a letter at that size, rounded up

Colour = tuple[float, float, float]
Colours = dict[int, Colour]  # colours of atoms, by atom index


class Canvas:
    """A white PNG or SVG canvas, measured in pixels; molecules fill panels of equal size."""

    def __init__(self, kind: str, size: tuple[int, int], panel: tuple[int, int]) -> None:
        from rdkit.Chem.Draw import rdMolDraw2D

        self._vector, self._size = kind == "svg", size
        drawer = rdMolDraw2D.MolDraw2DSVG if self._vector else rdMolDraw2D.MolDraw2DCairo
        self._drawer: Any = drawer(*size, *panel)
        self._texts: list[str] = []
        if not self._vector:  # an SVG gets a background with rounded corners at the end
            self._drawer.ClearDrawing()
        options: Any = self._drawer.drawOptions()
        options.clearBackground = False  # otherwise each molecule clears its neighbours
        options.padding, options.bondLineWidth, options.minFontSize = 0.06, 1.5, 9
        options.atomHighlightsAreCircles, options.highlightRadius = True, 0.4

    def draw(
        self, molecule: Mol, x: int, y: int, bond: float = BOND, colours: Colours | None = None
    ) -> None:
        """Draw into the panel at (x, y), with bonds of length ``bond`` if they fit."""
        from rdkit.Chem.Draw import rdMolDraw2D

        self._drawer.drawOptions().fixedBondLength = bond
        self._drawer.SetOffset(x, y)
        self._drawer.DrawMolecule(
            rdMolDraw2D.PrepareMolForDrawing(molecule),
            highlightAtoms=list(colours or {}),
            highlightAtomColors=colours or {},
            highlightBonds=[],
        )
        self._drawer.SetOffset(0, 0)

    def write(self, centre: float, base: float, text: str) -> None:
        """Write a line of text centred on ``centre``, with its baseline at ``base``."""
        from rdkit.Geometry import Point2D

        if self._vector:  # RDKit would write outlines, which are large and cannot be searched
            self._texts.append(f'<text x="{centre:g}" y="{base:g}">{html.escape(text)}</text>')
            return
        self._drawer.SetFontSize(_INK_SIZE)
        self._drawer.SetColour((_INK, _INK, _INK))
        self._drawer.DrawString(text, Point2D(centre, base - _INK_SIZE / 3), 0, True)

    def fill(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle."""
        from rdkit.Geometry import Point2D

        self._drawer.SetFillPolys(True)
        self._drawer.SetColour(colour)
        self._drawer.DrawRect(Point2D(x, y), Point2D(x + width, y + height), True)

    def finish(self) -> bytes:
        """Finish the picture and return its bytes."""
        self._drawer.FinishDrawing()
        drawn = self._drawer.GetDrawingText()
        if not self._vector:
            return bytes(drawn)
        width, height = self._size
        body = drawn[drawn.index("<!-- END OF HEADER -->") : drawn.rindex("</svg>")]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" '
            f'style="max-width:min(100%,{width}px);height:auto">\n'
            f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>\n{body}'
            f'<g font-family="sans-serif" font-size="{_INK_SIZE}" text-anchor="middle" '
            f'fill="#333333">\n{"".join(self._texts)}</g>\n</svg>'
        ).encode()


def save_picture(path: Path, content: bytes) -> Path:
    """Write the picture atomically and return its path; the folder is created."""
    with replacing(path) as part:
        part.write_bytes(content)
    return path

"""SDF files as rows: the SMILES of each structure, and its data fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from ketformer.tasks.molecules.chemistry import map_chunks
from ketformer.tasks.molecules.quoting import shortened

_END = re.compile(r"^\$\$\$\$.*\n?", re.MULTILINE)
_FIELD = re.compile(r"^>[^<\n]*<([^>\n]+)>[^\n]*\n((?:[^\n]*\S[^\n]*\n?)*)", re.MULTILINE)

#: Line, SMILES, fields and title of a structure.
Entry = tuple[int, str, dict[str, str], str]


def read_sdf(text: str, progress: bool, label: str) -> list[Entry]:
    """Line, SMILES, data fields and title of each structure, in parallel.

    A structure that RDKit cannot read has a text in place of its SMILES that is none: its number
    and title.

    Args:
        text: the file.
        progress: show a bar on stderr, for more than 2,000 structures.
        label: label of the bar.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    blocks: list[tuple[int, int, str]] = []
    line, start = 1, 0
    for end in chain((found.span() for found in _END.finditer(text)), [(len(text), len(text))]):
        if (block := text[start : end[0]]).strip():
            blocks.append((len(blocks) + 1, line, block))
        line += text.count("\n", start, end[1])
        start = end[1]
    return list(chain.from_iterable(map_chunks(_entries, blocks, None, progress, label)))


def _entries(blocks: Sequence[tuple[int, int, str]]) -> list[Entry]:
    from rdkit.Chem import MolFromMolBlock, MolToSmiles
    from rdkit.rdBase import BlockLogs

    entries = []
    with BlockLogs():
        for place, line, block in blocks:
            structure, _, fields = block.partition("M  END")
            title = structure.partition("\n")[0].strip()
            try:
                molecule = MolFromMolBlock(structure + "M  END\n")
                smiles = MolToSmiles(molecule) if molecule is not None else ""
            except RuntimeError:  # a broken invariant inside RDKit
                smiles = ""
            # A blank keeps a title that is a SMILES by chance from being read as one.
            smiles = smiles or f"structure {place} {shortened(title)}"
            found = {name: value.strip() for name, value in _FIELD.findall(fields)}
            entries.append((line, smiles, found, title))
    return entries

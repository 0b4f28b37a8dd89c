"""Small wheels that are laid out as those of MOSES and of QM9's properties."""

import csv
import gzip
import hashlib
import io
import zipfile
from dataclasses import replace

from ketformer.tasks.datasets import DATASETS

#: What the parts of the small MOSES hold. The last of train is written another way in test.
PARTS = {
    "train": ["CCO", "CCN", "c1ccccc1C", "CC(=O)O", "OCC"],
    "test": ["CCCO", "C(C)N", "c1ccccc1CC"],
    "test_scaffolds": ["C1CC1C", "C1CC1CC"],
}


def moses_files(parts=PARTS, **others):
    """The members of a small MOSES wheel: ``{name: content}``."""
    packed = {
        f"moses/dataset/data/{part}.csv.gz": gzip.compress(
            "".join(f"{line}\n" for line in ("SMILES", *smiles)).encode()
        )
        for part, smiles in parts.items()
    }
    return {**packed, **others}


def qm9_files(rows):
    """The members of a small QM9 wheel; rows of SMILES, HOMO, LUMO, gap, dipole, polarizability."""
    files = {}
    for part in (1, 2, 3):
        table = io.StringIO()
        out = csv.writer(table)
        names = "SMILES HOMO_au LUMO_au HOMO_LUMO_gap_au Dipole_debye Polarizability_bohr3"
        out.writerow(["XYZ_file", *names.split(), "XYZ_Ang"])
        out.writerows([f"{part}.xyz", *row, "[[0.0,1.0]]"] for row in rows[part - 1 :: 3])
        files[f"qm9pack/data/qm9_part{part}.csv"] = table.getvalue().encode()
    return files


def put_wheel(monkeypatch, folder, name, files):
    """A wheel in the folder that ``KETFORMER_DATA`` names, with its hash as the known one."""
    folder.mkdir(exist_ok=True)
    path = folder / DATASETS[name].filename
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], sha256=digest))
    monkeypatch.setenv("KETFORMER_DATA", str(folder))
    return path

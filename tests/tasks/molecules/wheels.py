"""Small wheels that are laid out as those of MOSES and of QM9's properties."""

import csv
import gzip
import hashlib
import io
import pickle
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors
from rdkit.Chem.QED import qed
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol
from rdkit.Contrib.SA_Score.sascorer import calculateScore

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


# --- MOSES' statistics and filters ---------------------------------------------------------------

#: Its files of patterns, laid out as they are: a header in one, none and padding in the other.
FILTERS = {
    "moses/metrics/mcf.csv": b'names,smarts\nMCF1,[#6]=[#16]\nMCF2,"[#6](-[#7])-,=[#9]"\n',
    "moses/metrics/wehi_pains.csv": b'"c1(-[#1]):n:n:n:n:1"   ,"<regId=toy(1)>"\n',
}


def bits_of(molecule):
    """A molecule's Morgan fingerprint, as RDKit's."""
    return GetMorganGenerator(radius=2, fpSize=1024).GetFingerprint(molecule)


def statistics_of(smiles, chemnet):
    """What MOSES stores of a test set; ``chemnet`` is ``{"mu": …, "sigma": …}``."""
    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    fragments, scaffolds = Counter(), Counter()
    for molecule in molecules:
        fragments.update(Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(molecule)).split("."))
        scaffold = GetScaffoldForMol(molecule)
        if scaffold.GetRingInfo().NumRings() > 1:
            scaffolds[Chem.MolToSmiles(scaffold)] += 1
    calculators = {
        "logP": Crippen.MolLogP, "SA": calculateScore, "QED": qed, "weight": Descriptors.MolWt,
    }  # fmt: skip
    return {
        "FCD": chemnet,
        "SNN": {"fps": np.array([list(bits_of(mol)) for mol in molecules], dtype=np.uint8)},
        "Frag": {"frag": fragments},
        "Scaf": {"scaf": scaffolds},
        **{
            name: {"values": [calculate(mol) for mol in molecules]}
            for name, calculate in calculators.items()
        },
    }


def stats_file(statistics):
    """The members with the statistics of each part, pickled as an old NumPy does."""
    files = {}
    for part, stored in statistics.items():
        npy, npz = io.BytesIO(), io.BytesIO()
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(npy, header)
        content = pickle.dumps(np.array(stored, dtype=object), protocol=2)
        npy.write(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
        with zipfile.ZipFile(npz, "w") as archive:
            archive.writestr("stats.npy", npy.getvalue())
        files[f"moses/dataset/data/{part}_stats.npz"] = npz.getvalue()
    return files


#: The test set and the scaffold test set of tests/test_metrics.py in molsets 0.3.1.
TEST = ["Oc1ccccc1-c1cccc2cnccc12", "COc1cccc(NC(=O)Cc2coc3ccc(OC)cc23)c1"]
TEST_SCAFFOLDS = [
    "COCc1nnc(NC(=O)COc2ccc(C(C)(C)C)cc2)s1", "O=C(C1CC2C=CC1C2)N1CCOc2ccccc21",
    "Nc1c(Br)cccc1C(=O)Nc1ccncn1",
]  # fmt: skip


def small_moses(monkeypatch, folder, chemnet=None, parts=None):
    """A small MOSES with the statistics of these sets; ``chemnet`` gives those of ChemNet."""
    nothing = {"mu": np.zeros(512), "sigma": np.zeros((512, 512))}
    sets = {"test": TEST, "test_scaffolds": TEST_SCAFFOLDS}
    statistics = {
        part: statistics_of(smiles, chemnet(smiles) if chemnet else nothing)
        for part, smiles in sets.items()
    }
    files = moses_files(parts or {"train": ["CNC", "CCO"], **sets})
    return put_wheel(monkeypatch, folder, "moses", {**files, **FILTERS, **stats_file(statistics)})

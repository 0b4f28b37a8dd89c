"""SMILES of joined fragments: the same molecule to RDKit, with its scaffold first."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from rdkit import Chem
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol

from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.fragments import draw_fragments, write_fragments
from ketformer.tasks.molecules.tokenizer import decode_smiles, encode_smiles
from ketformer.tasks.saved_tokenizer import load_tokenizer

from .druglike import DRUGS, canonical, drug_like

seeds = st.integers(0, 2**32 - 1)
NUMBER = re.compile(r"%\d\d")


@settings(max_examples=150, deadline=None)
@given(drug_like, seeds)
def test_it_is_the_same_molecule_however_it_is_cut(smiles, seed):
    assert canonical(write_fragments(smiles)) == smiles
    draw = np.random.default_rng(seed)
    for _ in range(3):
        assert canonical(draw_fragments(smiles, draw)) == smiles


@settings(max_examples=60, deadline=None)
@given(drug_like, seeds)
def test_numbers_come_in_order_and_join_two_pieces_each(smiles, seed):
    for text in (write_fragments(smiles), draw_fragments(smiles, np.random.default_rng(seed))):
        found = NUMBER.findall(text)
        distinct = list(dict.fromkeys(found))
        assert distinct == [f"%{10 + i}" for i in range(len(distinct))]
        assert sorted(found) == sorted(distinct * 2)
        for piece in text.split("."):
            assert len(set(NUMBER.findall(piece))) == len(NUMBER.findall(piece))


@settings(max_examples=100, deadline=None)
@given(drug_like)
def test_the_first_piece_is_the_murcko_scaffold(smiles):
    text = write_fragments(smiles)
    molecule = Chem.MolFromSmiles(smiles)
    # Bonds next to a double bond with a configuration are not cut, nor is there one to cut here.
    assume("%" in text and not re.search(r"[/\\]", smiles) and "." not in smiles)
    first = Chem.MolFromSmiles(NUMBER.sub("(*)", text.split(".")[0]))
    atoms = sum(atom.GetAtomicNum() > 0 for atom in first.GetAtoms())
    scaffold = GetScaffoldForMol(molecule)
    assert atoms == scaffold.GetNumAtoms()
    assert first.GetRingInfo().NumRings() == molecule.GetRingInfo().NumRings()


def test_every_ring_system_and_every_two_pieces_come_first_in_some_text():
    smiles, draw = canonical("Cc1ccc(NC(=O)C2CC2)nc1"), np.random.default_rng(0)
    texts = [draw_fragments(smiles, draw) for _ in range(300)]
    first = {canonical(NUMBER.sub("", text.split(".")[0])) for text in texts}
    assert {"c1ccncc1", "C1CC1", "NC=O", "C"} <= first
    assert len(set(texts)) > 200
    apart = [text for text in texts if text.count(".") > 1]
    joined = [set(NUMBER.findall(a)) & set(NUMBER.findall(b)) for a, b, *_ in
              (text.split(".") for text in apart)]  # fmt: skip
    assert not all(joined)
    assert any(joined)


@pytest.mark.parametrize(
    ("smiles", "text"),
    [
        ("CCCC", "CCCC"),
        ("c1ccccc1", "c1ccccc1"),
        ("Cc1ccccc1", "c1%10ccccc1.C%10"),
        ("CC(=O)Oc1ccccc1C(=O)O", "c1%10ccccc1%11.O%10C(C)=O.C%11(=O)O"),
        ("Cn1cccc1", "n1%10cccc1.C%10"),
        ("O=C1CCCCC1", "O=C1CCCCC1"),
    ],
)
def test_examples(smiles, text):
    assert write_fragments(smiles) == text


# --- As a tokenizer ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("safe") / "drugs.smi"
    file.write_text("\n".join([*DRUGS, *("C" * n + "c1ccncc1" for n in range(1, 25))]))
    return prepare_molecules(str(file), notation="safe", randomise=True, progress=False)


def test_rows_begin_with_the_scaffold_and_spell_the_molecule(data):
    texts = decode_smiles(data.tokenizer, data.ids["train"])
    assert [canonical(text) for text in texts] == data.smiles["train"]
    assert texts == [write_fragments(smiles) for smiles in data.smiles["train"]]


def test_random_rows_spell_the_same_molecules(data):
    rows = data.training_sets(1000)[0]
    for epoch in (0, 1):
        rows.begin_epoch(epoch)
        targets = rows.batch(list(range(len(rows))))["shift_labels"]
        targets = targets.masked_fill(targets < 0, data.tokenizer.eos_token_id)
        texts = decode_smiles(data.tokenizer, targets)
        assert [canonical(text) for text in texts] == data.smiles["train"]


def test_a_saved_tokenizer_knows_that_it_writes_fragments(data, tmp_path):
    data.tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.get_vocab() == data.tokenizer.get_vocab()
    assert again.bos_token == "<safe>"
    ids = encode_smiles(again, ["Cc1ccncc1"])
    assert decode_smiles(again, ids) == [write_fragments("Cc1ccncc1")]
    assert again("c1%10ccncc1.")["input_ids"][0] == again.bos_token_id

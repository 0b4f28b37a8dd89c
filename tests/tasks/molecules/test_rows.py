"""Padded rows of molecules: a byte a token, and the same batches."""

import pytest
import torch

from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.tasks.molecules.rows import MoleculeRows, compact_ids
from ketformer.tasks.molecules.tokenizer import encode_smiles, smiles_tokenizer, vocabulary_of


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_compact_ids_are_the_ids_of_the_tokenizer(monkeypatch, block):
    monkeypatch.setattr("ketformer.tasks.molecules.rows._BLOCK", block)
    smiles = embedded_smiles(3)
    tokenizer = smiles_tokenizer(vocabulary_of(smiles))
    whole, compact = encode_smiles(tokenizer, smiles), compact_ids(tokenizer, smiles)
    assert compact.dtype == torch.uint8
    assert torch.equal(compact.long(), whole)
    for padded in (False, True):
        some, others = (
            MoleculeRows(ids, tokenizer.pad_token_id, count_padding=padded).batch([5, 0, 40])
            for ids in (compact, whole)
        )
        for key, values in some.items():
            assert values.dtype == torch.int64
            assert torch.equal(values, others[key])

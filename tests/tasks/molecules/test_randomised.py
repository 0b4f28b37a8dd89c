"""Random SMILES: the same molecules, written anew at every epoch, and always alike by the seed."""

import numpy as np
import pytest
import torch

from ketformer.errors import KetformerError
from ketformer.tasks.base import WholeBatches
from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.notations import NOTATIONS, find_notation
from ketformer.tasks.molecules.tokenizer import decode_smiles

from .druglike import DRUGS as EVERY, canonical

DRUGS = EVERY[:8]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight drugs and enough alkanes that all three parts have some, to be written at random."""
    file = tmp_path_factory.mktemp("drugs") / "drugs.smi"
    chains = ["C" * n + "(C)" * (n > 2) + "O" * (n % 3) for n in range(1, 33)]
    file.write_text("\n".join([*DRUGS, *chains]))
    return prepare_molecules(str(file), randomise=True, seed=5, progress=False)


def training_rows(data, context=1000):
    return data.training_sets(context)[0]


def texts_of(data, batch):
    """What the targets of a batch spell."""
    targets = batch["shift_labels"]
    return decode_smiles(
        data.tokenizer, targets.masked_fill(targets < 0, data.tokenizer.eos_token_id)
    )


def written(data, rows, epoch):
    """The training molecules as they are written in an epoch."""
    rows.begin_epoch(epoch)
    return texts_of(data, rows.batch(list(range(len(rows)))))


def test_every_epoch_writes_the_same_molecules_in_another_way(data):
    rows = training_rows(data)
    epochs = [written(data, rows, epoch) for epoch in range(4)]
    for texts in epochs:
        assert [canonical(text) for text in texts] == data.smiles["train"]
    long = [i for i, text in enumerate(data.smiles["train"]) if len(text) > 15]
    assert all(len({texts[i] for texts in epochs}) > 2 for i in long)


def test_targets_follow_their_inputs(data):
    rows = training_rows(data)
    batch = rows.batch([3, 1, 4])
    inputs, targets = batch["input_ids"], batch["shift_labels"]
    assert (inputs[:, 0] == data.tokenizer.bos_token_id).all()
    real = targets[:, :-1] >= 0
    assert (inputs[:, 1:][real] == targets[:, :-1][real]).all()
    assert ((targets == data.tokenizer.eos_token_id).sum(1) == 1).all()


def test_a_text_depends_on_seed_epoch_and_row_alone(data):
    first, second = training_rows(data), training_rows(data)
    expected = [written(data, first, epoch) for epoch in (0, 1, 2)]
    second.begin_epoch(2)  # resumed there; two processes take every other row, in any order
    for taken in ([4, 2, 0], [5, 3, 1]):
        assert texts_of(data, second.batch(taken)) == [expected[2][i] for i in taken]
    second.seed += 1
    assert written(data, second, 2) != expected[2]


def test_in_the_validation_part_molecules_stay_canonical(data):
    validation = data.training_sets(1000)[1]
    texts = texts_of(data, validation.batch(list(range(len(validation)))))
    assert texts == data.smiles["validation"]


def test_what_does_not_fit_stays_canonical(data):
    longest = data.ids["train"].shape[1]
    rows = training_rows(data, context=longest - 1)
    for epoch in range(5):
        rows.begin_epoch(epoch)
        assert rows.batch(list(range(len(rows))))["input_ids"].shape[1] < longest
    rows._known = frozenset()  # as if no drawn text had known tokens
    assert written(data, rows, 0) == data.smiles["train"]


def test_there_is_room_for_random_texts(data):
    assert data.model_keys["max_position_embeddings"] > data.ids["train"].shape[1]
    assert training_rows(data).length == data.room


def test_padding_counts_on_request(data):
    object.__setattr__(data, "count_padding", True)
    try:
        batch = training_rows(data).batch([0, 1])
    finally:
        object.__setattr__(data, "count_padding", False)
    assert batch["shift_labels"].shape == (2, data.room - 1)
    assert (batch["shift_labels"] >= 0).all()


@pytest.mark.parametrize("smiles", DRUGS)
def test_a_random_smiles_is_the_same_molecule(smiles):
    draw = np.random.default_rng(3)
    texts = {NOTATIONS["smiles"].draw(canonical(smiles), draw) for _ in range(20)}
    assert len(texts) > 10
    assert {canonical(text) for text in texts} == {canonical(smiles)}


def test_an_unknown_notation_is_named():
    with pytest.raises(
        KetformerError, match="no tokenizer 'bpe' for molecules; there are smiles, safe, selfies"
    ):
        find_notation("bpe")


def test_a_worker_that_lives_on_hears_of_the_next_epoch(data):
    rows = training_rows(data)
    loader = torch.utils.data.DataLoader(
        WholeBatches(rows),
        batch_size=len(rows),
        num_workers=1,
        persistent_workers=True,
        collate_fn=dict,
    )
    found = []
    for epoch in (0, 1):
        rows.begin_epoch(epoch)
        (batch,) = loader
        found.append(texts_of(data, batch))
    assert found == [written(data, rows, epoch) for epoch in (0, 1)]

"""QM9 as it is read, and the three released checkpoints on its true validation set.

In one file, so that RDKit reads QM9 only once.
"""

import numpy as np
import pytest
import torch

from ketformer.evaluation.molecules import molecule_losses
from ketformer.generation import MoleculeSampling, generate_molecules
from ketformer.models.published import PUBLISHED_CONDITIONS, from_published
from ketformer.runs import load_settings, open_run
from ketformer.runs.data import molecules_of
from ketformer.runs.import_checkpoint import import_checkpoint
from ketformer.tasks.molecules import reading
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.rows import MoleculeRows
from ketformer.tasks.molecules.splits import split_molecules
from ketformer.tasks.molecules.tokenizer import (
    QM9_VOCABULARY,
    decode_smiles,
    encode_smiles,
    smiles_tokenizer,
    vocabulary_of,
)
from tasks.molecules.test_reading import assert_equal

SEQUENCE = "quantum_sequence_epoch_17.pt"
CONTROL = "classical_eq_sequence_epoch_16.pt"
CONDITIONS = "quantum_conditions_epoch_20.pt"


@pytest.fixture(scope="module")
def qm9(shared_file, tmp_path_factory):
    """QM9 with the released split, read with an empty cache."""
    folder = shared_file("data", "qm9.csv").parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KETFORMER_DATA", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield molecules_of(load_settings("overlap-qm9"), progress=False)


@pytest.fixture
def published(shared_file):
    """``published(filename)``: the model and what its file records."""
    return lambda filename: from_published(shared_file("published", filename))


@pytest.mark.parametrize(
    ("filename", "kind", "parameters", "recorded_loss"),
    [
        (SEQUENCE, "overlap sequence", 47_704, 0.63440),
        (CONTROL, "classical_eq sequence", 47_704, 0.63882),
        (CONDITIONS, "overlap conditions", 48_307, 0.39707),
    ],
)
def test_a_released_file_has_its_parameters_and_records(
    published, filename, kind, parameters, recorded_loss
):
    model, recorded = published(filename)
    assert recorded["kind"] == kind
    assert model.num_parameters() == parameters
    assert recorded["epoch"] == len(recorded["val_losses"]) - 1  # counted from 0
    assert recorded["val_losses"][-1] == pytest.approx(recorded_loss, abs=5e-6)
    assert recorded["training_configuration"]["seed"] == 42


def test_qm9_is_read_whole_and_a_second_time_from_the_cache(qm9, monkeypatch):
    read = qm9.source
    assert (read.rows, read.broken, read.duplicates) == (133_885, 0, 87)
    assert len(set(read.smiles)) == len(read.smiles) == 133_798
    assert read.smiles[:4] == ["C", "N", "O", "C#C"]
    monkeypatch.setattr(reading, "standardised", None)  # RDKit's part
    assert_equal(load_molecules("qm9"), read)

    tokenizer = smiles_tokenizer(vocabulary_of(read.smiles))
    assert tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) == QM9_VOCABULARY
    ids = encode_smiles(tokenizer, read.smiles)
    assert ids.shape == (133_798, 24)
    assert decode_smiles(tokenizer, ids) == read.smiles

    sizes = [len(part) for part in split_molecules(read.smiles, "published").values()]
    assert sizes == [127_109, 6_689, 6_689]


def test_the_vocabulary_and_the_split_are_those_of_the_release(qm9):
    """The released split indexes the permutation with itself."""
    assert len(qm9.source.smiles) == 133_798
    assert (len(qm9.smiles["train"]), len(qm9.smiles["validation"])) == (127_109, 6_689)
    known = qm9.tokenizer.get_vocab()
    assert sorted(known, key=known.get) == list(QM9_VOCABULARY)
    assert len(known) == 33
    p = torch.randperm(133_798, generator=torch.Generator().manual_seed(42))
    last = p[p][127_109:].tolist()
    assert qm9.smiles["validation"] == [qm9.source.smiles[i] for i in last]


@pytest.mark.parametrize(("filename", "recorded_loss"), [(SEQUENCE, 0.63440), (CONTROL, 0.63882)])
def test_a_sequence_model_has_its_recorded_loss(published, qm9, filename, recorded_loss):
    model, recorded = published(filename)
    losses = molecule_losses(model, qm9.rows("validation", count_padding=True))
    assert losses["loss_as_published"] == pytest.approx(recorded_loss, abs=1e-4)
    assert losses["loss_as_published"] == pytest.approx(recorded["val_losses"][-1], rel=3e-5)
    # Padding, 31.4 % of the targets, is easy: without it the loss is higher.
    share = 1 - losses["targets"] / (6_689 * 23)
    assert share == pytest.approx(0.314, abs=0.001)
    assert losses["loss"] > 1.3 * losses["loss_as_published"]


def test_the_conditional_model_has_its_recorded_loss_up_to_rdkits_changes(published, qm9):
    """RDKit counts hydrogen bond acceptors and rings differently than when it was trained."""
    assert tuple(PROPERTIES) == PUBLISHED_CONDITIONS
    model, _ = published(CONDITIONS)
    values = compute_properties(qm9.smiles["validation"], PUBLISHED_CONDITIONS, progress=False)
    rows = MoleculeRows(
        qm9.ids["validation"],
        qm9.tokenizer.pad_token_id,
        torch.from_numpy(values.astype(np.float32)),
        count_padding=True,
    )
    loss = molecule_losses(model, rows)["loss_as_published"]
    assert loss == pytest.approx(0.39707, rel=0.013)
    rows.conditions = rows.conditions.roll(1, dims=0)  # those of another molecule
    assert molecule_losses(model, rows)["loss_as_published"] > 1.5 * loss


@pytest.mark.slow
def test_the_released_weights_write_as_many_molecules_as_was_measured(shared_file, qm9, tmp_path):
    """100,000 at temperature 1, special tokens allowed.

    The authors found 56,195 distinct valid ones, 52.6 % novel. In 16 runs, 68.5 % of our 1.6
    million samples were valid.
    """
    import_checkpoint(shared_file("published", SEQUENCE), tmp_path / "run")
    sampled = generate_molecules(
        open_run(tmp_path / "run"),
        100_000,
        MoleculeSampling(special_tokens=True),
        known=qm9.known,
        progress=False,
    )
    assert sampled.metrics["validity"] == pytest.approx(0.685, abs=0.005)
    assert sampled.metrics["unique"] == pytest.approx(56_195, abs=500)
    assert sampled.metrics["novelty_to_training"] == pytest.approx(0.526, abs=0.01)

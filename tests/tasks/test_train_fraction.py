"""Training on a part of the training part, with the other parts left as they are."""

import pytest

from ketformer.errors import KetformerError
from ketformer.runs import load_settings, open_run
from ketformer.runs.data import prepare

PARTS = ("validation", "test")


def prepared(file, **changes):
    return prepare(load_settings(str(file)).override(changes), progress=False)


def test_a_text_keeps_its_beginning_and_its_alphabet(tiny):
    whole, part = prepared(tiny), prepared(tiny, train_fraction=0.25)
    ids = whole.parts["train"]
    assert part.parts["train"].tolist() == ids[: round(len(ids) / 4)].tolist()
    assert len(part.tokenizer) == len(whole.tokenizer)
    for name in PARTS:
        assert part.parts[name].tolist() == whole.parts[name].tolist()


def test_byte_pairs_are_learned_from_what_is_trained_on(tiny):
    options = {"tokenizer": "bpe", "vocab_size": 300}
    whole, part = prepared(tiny, **options), prepared(tiny, train_fraction=0.02, **options)
    assert part.tokenizer.get_vocab() != whole.tokenizer.get_vocab()


def test_molecules_keep_a_choice_that_grows(tiny_molecules):
    whole = prepared(tiny_molecules).smiles
    fractions = [prepared(tiny_molecules, train_fraction=f).smiles for f in (0.1, 0.5)]
    for fraction, smiles in zip((0.1, 0.5), fractions, strict=True):
        assert smiles["train"] == whole["train"][: round(fraction * len(whole["train"]))]
        assert [smiles[name] for name in PARTS] == [whole[name] for name in PARTS]


def test_the_statistics_of_conditions_are_those_of_what_is_trained_on(tiny_molecules):
    data = prepared(tiny_molecules, train_fraction=0.1, conditions="MW")
    values = data.conditions["train"]
    assert len(values) == len(data.smiles["train"])
    assert data.means == pytest.approx(values.mean(0).tolist(), rel=1e-5)


@pytest.mark.parametrize("fraction", ["0", "-0.1", "1.01"])
def test_a_wrong_fraction_is_one_line(ketformer, tiny, fraction):
    result = ketformer("train", tiny, "--train_fraction", fraction, "--out", "run")
    assert result.code == 2
    assert "train_fraction must be above 0 and at most 1" in result.err.splitlines()[-1]


def test_too_little_for_a_window_is_one_line(tiny):
    data = prepared(tiny, train_fraction=1e-9)
    with pytest.raises(KetformerError, match="the text has 1 tokens, but a context"):
        data.training_sets(8)


def test_the_card_and_the_manifest_say_it(ketformer, tiny, honest):
    assert ketformer("train", tiny, "--train_fraction", "0.5", "--out", "half").code == 0
    run = open_run("half")
    assert run.manifest["data"]["train_fraction"] == 0.5
    assert "0.5 of the training part" in run.path.joinpath("README.md").read_text()
    assert "train_fraction" not in open_run(honest).manifest["data"]

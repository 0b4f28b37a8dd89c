"""``generate --scaffold`` and ``--fragment``: what is asked for is in the molecules."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from rdkit import Chem

from commands import rows_of, write_molecule_settings
from ketformer.errors import KetformerError
from ketformer.generation import MoleculeSampling, sample_molecules
from ketformer.generation.constraint import require_readable
from ketformer.generation.decoding import sample_sequences
from ketformer.generation.scaffolds import Beginnings, parts_of, tokens_needed
from ketformer.runs import open_run
from ketformer.tasks.molecules.chemistry import canonical_smiles
from ketformer.tasks.molecules.fragments import NUMBERS
from ketformer.tasks.molecules.grammar_fragments import FragmentGrammar
from ketformer.tasks.molecules.substructure import contain

NUMBER = re.compile(r"%\d\d")
SIDES = ("C", "OC", "N", "F", "CC", "C(=O)N")
RINGS = ("c1cc({a})ccc1{b}", "c1cc({a})ncc1{b}", "C1CC({a})N({b})CC1", "C1C({a})C1{b}")
SCAFFOLDS = st.sampled_from(["c1ccncc1", "C1CC1", "c1ccccc1", "CC(=O)N", "c1ccc(C2CC2)cc1"])
POINTED = st.sampled_from(["c1cc([*:1])ncc1[*:2]", "*C1CC1", "[*:3]CCN[*:1]", "*c1ccccc1*"])
FRAGMENTS = st.lists(st.one_of(SCAFFOLDS, POINTED), min_size=2, max_size=3).filter(
    lambda parts: sum(max(part.count("*"), 1) for part in parts) <= 4
)


@pytest.fixture(scope="module")
def fragments(tmp_path_factory):
    """A run on fragments of 96 molecules, written anew at every epoch; it has learned little."""
    folder = tmp_path_factory.mktemp("fragments")
    smiles = [
        ring.format(a=a, b=b) for ring in RINGS for i, a in enumerate(SIDES) for b in SIDES[i:]
    ]
    smiles += [
        RINGS[i].format(a="C", b=RINGS[j].replace("1", "2").format(a="C", b="O"))
        for i in range(4)
        for j in range(3)
    ]
    (folder / "pieces.smi").write_text("\n".join(smiles))
    options = {
        "tokenizer": "safe",
        "randomise_smiles": True,
        "model": {
            "attention": "classical",
            "attention_options": {},
            "hidden_size": 32,
            "max_position_embeddings": 80,
        },
        "training": {"max_steps": 60, "save_steps": 60, "eval_steps": 60},
    }
    return write_molecule_settings(folder / "pieces.yaml", folder / "pieces.smi", **options)


@pytest.fixture(scope="module")
def trained(fragments, tmp_path_factory):
    from ketformer.cli import main

    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", fragments, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def opened(trained):
    return open_run(trained)


# --- What may follow what ------------------------------------------------------------------------


def written_by(beginnings, run, draw):
    """A molecule whose beginning is chosen at random; a chain then joins all that is open."""
    guide = beginnings.guide(0, 1)
    (row,), tokens, only = guide.rows, [], torch.tensor([0])
    ids = run.tokenizer.get_vocab()
    names = {i: token for token, i in ids.items()}

    def add(token):
        assert guide.allowed(only)[0, token]
        tokens.append(names[token])
        guide.advance(only, torch.tensor([token]))

    while row.begins and (token := int(draw.choice(row.choices))) != ids["[EOS]"]:
        add(token)
    for number in list(row.open):
        assert not guide.allowed(only)[0, ids["[EOS]"]]
        add(ids["C"])
        add(number)
    add(ids["[EOS]"])
    return "".join(tokens[:-1])


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.tuples(st.one_of(SCAFFOLDS, POINTED), st.just([])), st.tuples(st.none(), FRAGMENTS)
    ),
    st.integers(0, 2**31),
)
def test_whatever_is_chosen_the_molecule_contains_what_was_asked_for(opened, asked, seed):
    parts = parts_of(*asked)
    draw = np.random.default_rng(seed)
    text = written_by(Beginnings(opened, parts, seed), opened, draw)
    molecule = Chem.MolFromSmiles(text)
    assert molecule is not None, text
    assert "." not in Chem.MolToSmiles(molecule)
    assert contain([Chem.MolToSmiles(molecule)], parts) == [True]
    for part in asked[1] or [asked[0]]:
        pattern = Chem.MolFromSmarts(part) if "*" in part else Chem.MolFromSmiles(part)
        assert molecule.HasSubstructMatch(pattern)


@pytest.mark.parametrize("asked", [["c1ccncc1", "c1ccccc1"], ["[*:1]c1ccncc1", "*c1ccccc1"]])
def test_fragments_may_be_bound_directly(opened, asked):
    """The second one closes a number of the first; if it does not, atoms are between them."""
    beginnings = Beginnings(opened, parts_of(None, asked), 1)
    biaryl = Chem.MolFromSmarts("[$(c1cnccc1),$(c1ncccc1),$(c1ccncc1)]~[$(c1ccccc1)]")
    direct = []
    for seed in range(30):
        text = written_by(beginnings, opened, np.random.default_rng(seed))
        first, second, *_ = (set(NUMBER.findall(piece)) for piece in text.split("."))
        direct.append(bool(first & second))
        found = Chem.MolFromSmiles(text).HasSubstructMatch(biaryl)
        assert found == direct[-1], text
    assert 0 < sum(direct) < 30


@pytest.mark.parametrize("use_cache", [True, False])
def test_what_is_not_allowed_is_never_sampled(opened, use_cache):
    """The model's own choice: texts begin with the parts, and no number is left over."""
    parts = parts_of(None, ["c1ccncc1", "C1CC1"])
    beginnings = Beginnings(opened, parts, 1)
    generator = torch.Generator(opened.model.device).manual_seed(0)
    ids = sample_sequences(
        opened.model,
        64,
        generator=generator,
        never=[opened.tokenizer.bos_token_id, opened.tokenizer.pad_token_id],
        guide=beginnings.guide(0, 64),
        use_cache=use_cache,
    )
    ended = 0
    for row in opened.tokenizer.batch_decode(ids):
        text, end, _ = row.partition("[EOS]")
        first, second, *rest = text.split(".")
        plain = Chem.MolToSmiles(Chem.MolFromSmiles(NUMBER.sub("", first)))
        assert plain == "c1ccncc1"
        assert Chem.MolToSmiles(Chem.MolFromSmiles(NUMBER.sub("", second))) == "C1CC1"
        assert all(rest)
        numbers = NUMBER.findall(text)
        if end:
            ended += 1
            assert all(numbers.count(number) == 2 for number in numbers)
    assert ended > 5


def test_molecules_are_written_in_random_ways_by_their_number(opened):
    parts = parts_of("c1ccncc1", [])
    first, again = Beginnings(opened, parts, 3), Beginnings(opened, parts, 3)
    pieces = [row.pieces for row in first.guide(0, 20).rows]
    assert [row.pieces for row in again.guide(5, 10).rows] == pieces[5:15]
    assert len({str(piece) for piece in pieces}) > 3


# --- The command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--scaffold", "c1ccncc1"), ["c1ccncc1"]),
        (("--scaffold", "[*:1]c1ccncc1"), ["[*:1]c1ccncc1"]),
        (("--fragment", "c1ccccc1", "--fragment", "C1CC1"), ["c1ccccc1", "C1CC1"]),
    ],
)
def test_the_json_and_the_table_say_what_was_kept(ketformer, trained, tmp_path, options, wanted):
    table = tmp_path / "x.csv"
    done = ketformer("generate", trained, "--num", 60, *options, "--out", table, "--json")
    assert done.code == 0, done.err
    kept = []
    for row in rows_of(table):
        molecule = Chem.MolFromSmiles(row["canonical_smiles"] or "C")
        found = all(molecule.HasSubstructMatch(Chem.MolFromSmarts(w)) for w in wanted)
        kept.append(row["scaffold_kept"] == "true")
        # A closed molecule has them by construction.
        assert kept[-1] == (found and row["valid"] == "true")
        if row["valid"] == "true":
            assert found
    assert done.json["scaffold_kept"] == pytest.approx(sum(kept) / 60)
    assert sum(kept) == done.json["valid"] > 0
    assert done.json[options[0].strip("-")] == (wanted if len(wanted) > 1 else wanted[0])


@pytest.mark.parametrize(
    "wish",
    [
        {"prompt": "c1cc%10ccc1."},
        {"scaffold": "c1cc([*:1])ncc1[*:2]", "top_k": 5},
        {"fragments": ("*c1ccccc1", "CC(=O)N", "C1CC1")},
    ],
    ids=str,
)
def test_constrained_samples_are_all_molecules_with_what_was_asked_for(opened, wish):
    """Whatever room there is: the model has learned little, and would seldom end them itself."""
    sampling = MoleculeSampling(constrained=True, temperature=1.5, **wish)
    needed = sampling.parts and tokens_needed([part.steps(None) for part in sampling.parts])
    for context in (80, needed + 8 if needed else 16):
        opened.model.config.max_position_embeddings = context
        try:
            (texts,) = sample_molecules(opened, 24, sampling)
        finally:
            opened.model.config.max_position_embeddings = 80
        canonical = [canonical_smiles(text) for text in texts]
        assert None not in canonical
        if sampling.parts:
            assert all(contain(canonical, sampling.parts))
        if wish.get("prompt"):
            assert all(text.startswith(wish["prompt"]) for text in texts)


def test_a_scaffold_that_the_grammar_cannot_read_is_refused():
    grammar = FragmentGrammar(["C", "N", "[NH3]", "[CH2]", "[Cu]", "->", "<-", "(", ")", *NUMBERS])
    require_readable(grammar, parts_of("*CN(*)C", []))
    with pytest.raises(KetformerError, match="no such bonds as those of"):
        require_readable(grammar, parts_of(None, ["CC", "[*:1]C[Cu]<-N"]))


def test_without_a_wish_nothing_is_said_of_it(ketformer, trained, tmp_path):
    options = ("--num", 20, "--out", tmp_path / "x.csv", "--json")
    done = ketformer("generate", trained, *options)
    assert "scaffold_kept" not in done.json
    assert "scaffold_kept" not in rows_of(tmp_path / "x.csv")[0]


def test_an_interrupted_table_goes_on(ketformer, trained, tmp_path, monkeypatch):
    from ketformer.generation import molecules, sampling

    monkeypatch.setattr(sampling, "BATCH", 16)
    options = ("--num", 40, "--scaffold", "c1ccncc1", "--json", "--out")
    whole = ketformer("generate", trained, *options, tmp_path / "whole.csv")
    written = molecules.contain
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return written(*arguments)

    monkeypatch.setattr(molecules, "contain", stop)
    assert ketformer("generate", trained, *options, tmp_path / "parts.csv").code == 130
    monkeypatch.setattr(molecules, "contain", written)
    again = ketformer("generate", trained, *options, tmp_path / "parts.csv")
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert again.json["scaffold_kept"] == whole.json["scaffold_kept"]


def test_the_run_is_evaluated_as_any_other(ketformer, trained):
    done = ketformer("evaluate", trained, "--samples", 50, "--fcd", "false", "--json")
    assert done.code == 0, done.err
    assert done.json["validity"] > 0.05
    assert 0 < done.json["prefix_loss"] < 5


@pytest.mark.slow
def test_runs_on_fragments_are_compared_as_any_others(ketformer, fragments, tmp_path):
    options = ("--preset", fragments, "--seeds", 1, "--max_steps", 2, "--out", tmp_path / "all")
    compared = ketformer("compare", "classical", "overlap", "--rates", 1, *options)
    assert compared.code == 0, compared.err
    assert (tmp_path / "all").is_dir()


# --- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scaffold", "c1ccncc"), "--scaffold 'c1ccncc' is not a SMILES that RDKit can read"),
        (("--scaffold", "c1cc[se]c1"), "needs the token '[se]', which is not in the vocabulary of"),
        (("--fragment", "C1CC1", "--fragment", "c1"), "--fragment 'c1' is not a SMILES"),
        (("--scaffold", "C" * 90), "need 95 tokens with their attachments, but "),
        (("--scaffold", "*C(*)(*)CC(*)*"), "5 attachments were asked for, but the molecules that"),
        (("--scaffold", "C", "--fragment", "C"), "give either --scaffold or --fragment, not both"),
        (("--scaffold", "C", "--prompt", "C"), "give either --prompt or what"),
    ],
)
def test_mistakes_are_one_line(ketformer, trained, tmp_path, options, told):
    out = tmp_path / "new" / "x.csv"
    ketformer("generate", trained, *options, "--out", out).assert_mistake(told)
    assert not out.parent.exists()


def test_a_run_on_plain_smiles_says_how_to_train_another(ketformer, molecules):
    told = "was not trained on fragments, so it cannot begin with a scaffold; train with --tok"
    ketformer("generate", molecules, "--scaffold", "C1CC1").assert_mistake(told)

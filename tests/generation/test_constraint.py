"""Constrained sampling, guidance and the best of several: against their definitions."""

import numpy as np
import pytest
import torch

from ketformer.errors import KetformerError
from ketformer.generation import MoleculeSampling, sample_molecules
from ketformer.generation.best_of import distances, nearest_of
from ketformer.generation.constraint import Constraint, Refused, Table, _table as table_of_tokens
from ketformer.generation.decoding import sample_sequences
from ketformer.runs import open_run
from ketformer.tasks.molecules.chemistry import canonical_smiles
from ketformer.tasks.molecules.grammar import Grammar
from ketformer.tasks.molecules.tokenizer import smiles_tokenizer
from models.helpers import small_model

TOKENS = ["C", "N", "O", "F", "=", "#", "(", ")", "1", "2", "c", "[NH3+]"]
TOKENIZER = smiles_tokenizer(TOKENS)
VOCABULARY = TOKENIZER.get_vocab()
NEVER = [TOKENIZER.bos_token_id, TOKENIZER.pad_token_id]


def untrained(**changes):
    return small_model(
        "classical",
        vocab_size=len(VOCABULARY),
        bos_token_id=TOKENIZER.bos_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        pad_token_id=TOKENIZER.pad_token_id,
        **{"max_position_embeddings": 10, **changes},
    )


def sample(model, num, *, constrained, seed=0, **options):
    refused = Refused()
    ids = sample_sequences(
        model,
        num,
        generator=torch.Generator().manual_seed(seed),
        never=NEVER,
        constraint=Constraint(TOKENIZER, num, refused) if constrained else None,
        **options,
    )
    token = {i: t for t, i in VOCABULARY.items()}
    rows = ["".join(token[i] for i in row).split("[EOS]")[0] for row in ids.tolist()]
    return rows, ids, refused


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0.0}, {"temperature": 3.0}],
    ids=str,
)
def test_an_untrained_model_writes_molecules(options):
    free, _, _ = sample(untrained(), 200, constrained=False, **options)
    assert np.mean([canonical_smiles(s) is not None for s in free]) < 0.3
    rows, ids, refused = sample(untrained(), 200, constrained=True, **options)
    assert [s for s in rows if canonical_smiles(s) is None] == []
    assert (ids == TOKENIZER.eos_token_id).any(1).all()  # there is room for the end token
    assert refused.molecules == 200
    assert 100 < refused.changed <= 200
    assert refused.changed <= refused.refused < refused.tokens


@pytest.mark.parametrize("options", [{}, {"top_k": 4}], ids=str)
def test_probabilities_are_the_models_over_the_allowed_tokens(options):
    """The first token, within 4 sigma; no bond, ring or bracket may come first."""
    num, model = 20_000, untrained(max_position_embeddings=4)
    _, ids, _ = sample(model, num, constrained=True, **options)
    with torch.no_grad():
        logits = model(torch.tensor([[TOKENIZER.bos_token_id]])).logits[0, -1].double()
    allowed = [VOCABULARY[t] for t in ("C", "N", "O", "F", "[NH3+]")]  # c has no room for its ring
    expected = torch.zeros(len(VOCABULARY), dtype=torch.double)
    expected[allowed] = logits.exp()[allowed]
    if options:
        expected[expected.argsort()[: -options["top_k"]]] = 0
    expected /= expected.sum()
    frequency = torch.bincount(ids[:, 0], minlength=len(VOCABULARY)) / num
    sigma = (expected * (1 - expected) / num).sqrt()
    assert ((frequency - expected).abs() <= 4 * sigma + 1e-12).all()


def test_a_table_may_grow_while_refused_tokens_are_taken_out():
    table_of_tokens.cache_clear()
    rows, _, _ = sample(untrained(), 1, constrained=True, top_k=3)  # one row: most is learned there
    assert canonical_smiles(rows[0]) is not None


def test_a_share_of_what_was_refused_is_said_for_all_batches():
    refused = Refused(molecules=4, changed=1, tokens=40, refused=6)
    assert refused.shares() == {
        "molecules": 4, "molecules_changed": 0.25, "tokens": 40, "tokens_refused": 0.15,
    }  # fmt: skip


def test_tokens_that_are_not_smiles_are_refused():
    with pytest.raises(KetformerError, match=r"token '\[Ring1\]' of this run is none"):
        Table(("", "C", "[Ring1]"), 0, Grammar(["C", "[Ring1]"]))


def test_a_dot_leaves_room_for_a_molecule():
    table = Table(("", "C", "."), 0, Grammar(["C", "."]))
    after_dot = table.after(table.after(np.array([2]), np.array([1])), np.array([2]))
    assert table.needs[after_dot].tolist() == [2]


# --- Guidance ------------------------------------------------------------------------------------

TWO = {
    "condition_names": ["LogP", "TPSA"],
    "condition_means": [2.0, 40.0],
    "condition_stds": [0.5, 20.0],
}


def guided(guidance, use_cache=True, num=12):
    model = untrained(**TWO)
    for name, parameter in model.named_parameters():
        if "conditions" in name:
            parameter.data.normal_(std=1.5, generator=torch.Generator().manual_seed(0))
    conditions = torch.tensor([[3.0, float("nan")]]).repeat(num, 1)
    conditions[::2, 0] = 0.5
    options = {"conditions": conditions, "temperature": 0.0, "use_cache": use_cache}
    return model, conditions, sample(model, num, constrained=False, guidance=guidance, **options)[1]


def test_guided_tokens_are_those_of_the_mixed_logits():
    model, conditions, ids = guided(3.0)
    assert torch.equal(ids, guided(3.0, use_cache=False)[2])
    assert not torch.equal(ids, guided(1.0)[2])
    begin = torch.full((len(ids), 1), TOKENIZER.bos_token_id)
    with torch.no_grad():
        known, free = (
            model(begin, conditions=given).logits[:, -1]
            for given in (conditions, torch.full_like(conditions, torch.nan))
        )
    mixed = free + 3.0 * (known - free)
    mixed[:, NEVER] = -torch.inf
    assert torch.equal(ids[:, 0], mixed.argmax(-1))


def test_guidance_needs_conditions_that_may_be_unknown(conditional, molecules):
    with pytest.raises(KetformerError, match="needs a --condition"):
        MoleculeSampling(guidance=1.5)
    for changes in ({"guidance": -1.0}, {"best_of": 0}):
        with pytest.raises(KetformerError, match=f"{next(iter(changes))} must"):
            MoleculeSampling(conditions={"LogP": 1.0}, **changes)
    run = open_run(conditional)
    run.model.config.condition_unknown = False
    names = run.model.config.condition_names
    wanted = MoleculeSampling(conditions=dict.fromkeys(names, 1.0), guidance=2.0)
    with pytest.raises(KetformerError, match="needs every condition"):
        sample_molecules(run, 5, wanted)


# --- The best of several -------------------------------------------------------------------------


def test_the_nearest_of_several_draws_is_kept():
    config = untrained(**TWO).config
    draws = [["CCCC", "C(", "C(", "O"], ["CCCCCC", "C", "C=", "CO"]]
    assert nearest_of(draws, config, {"LogP": 2.6}) == ["CCCCCC", "C", "C(", "CO"]
    assert nearest_of(draws, config, {"LogP": 1.8, "TPSA": 0.0})[0] == "CCCC"
    apart = distances(["O", "C("], config, {"TPSA": 51.5})
    assert apart == pytest.approx([1.0, np.inf])  # water has 31.5 Å²; a deviation is 20


def test_best_of_needs_a_property_that_can_be_computed(molecules):
    with pytest.raises(KetformerError, match="can be computed from a molecule"):
        sample_molecules(open_run(molecules), 5, MoleculeSampling(best_of=2))


# --- The commands --------------------------------------------------------------------------------


def test_generate_says_what_was_changed(ketformer, molecules):
    done = ketformer("generate", molecules, "--num", 60, "--constrained", "true", "--json")
    said = done.json
    assert said["validity"] == 1.0
    assert said["constrained"]["molecules"] == 60
    assert 0 < said["constrained"]["tokens_refused"] < said["constrained"]["molecules_changed"] <= 1
    told = ketformer("generate", molecules, "--num", 60, "--constrained", "true").out
    assert "of the tokens drawn led to no valid molecule" in told


def test_what_a_prompt_begins_becomes_a_molecule(ketformer, molecules):
    options = ("--num", 60, "--constrained", "true")
    run = open_run(molecules)
    sampling = MoleculeSampling(constrained=True, prompt="C1CC(")
    (written,) = sample_molecules(run, 60, sampling)
    assert all(smiles.startswith("C1CC(") for smiles in written)
    assert [smiles for smiles in written if canonical_smiles(smiles) is None] == []
    told = "no molecule of this run's tokens begins like that"
    ketformer("generate", molecules, "--prompt", "C1CC)", *options).assert_mistake(told)


def test_a_model_that_is_guided_and_chosen_from_says_so(ketformer, conditional):
    name = open_run(conditional).model.config.condition_names[0]
    options = ("--num", 20, "--condition", f"{name}=1", "--guidance", 1.5, "--best_of", 3, "--json")
    said = ketformer("generate", conditional, *options).json
    assert (said["guidance"], said["best_of"], said["drawn"]) == (1.5, 3, 60)
    assert said["sampled"] == 20


def test_neutral_values_change_no_token(molecules):
    def texts(**options):
        return next(iter(sample_molecules(open_run(molecules), 50, MoleculeSampling(**options))))

    assert texts() == texts(guidance=1.0, best_of=1, constrained=False)
    with pytest.raises(KetformerError, match="leave out --special_tokens"):
        MoleculeSampling(constrained=True, special_tokens=True)


def test_evaluate_shows_constrained_samples_beside_the_others(ketformer, molecules):
    options = ("--samples", 100, "--fcd", "false", "--constrained", "true", "--json")
    said = ketformer("evaluate", molecules, *options).json
    beside = said["constrained"]
    assert said["validity"] < beside["validity"] == 1.0
    for sizes in (said["heavy_atoms"], beside["heavy_atoms"]):
        assert 1 < sizes["mean"] < 6
        assert sizes["mean of reference"] == said["heavy_atoms"]["mean of reference"]
        assert sizes["distance"] >= abs(sizes["mean"] - sizes["mean of reference"]) - 1e-9
    refused = ketformer("evaluate", molecules, "--guidance", 2)
    assert refused.code == 2
    assert "--targets" in refused.err

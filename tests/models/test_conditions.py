"""Conditions of a sequence: unknown, standardised, hidden, cached, saved, and refused."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from transformers import AutoModelForCausalLM, set_seed

from ketformer.audit import audit_causality
from ketformer.errors import KetformerError
from ketformer.models import KetformerForCausalLM
from ketformer.models.conditions import beyond_training
from mechanisms import MECHANISMS

from .helpers import (
    CAUSAL,
    LEAKY,
    assert_alike,
    in_both_types,
    pad,
    small_config,
    small_model,
    some_ids,
)

NAN = math.nan
TWO = {
    "condition_names": ["LogP", "TPSA"],
    "condition_means": [2.0, 40],
    "condition_stds": [0.5, 20.0],
}
EMBEDDING = {"attention_options": {"angles": "embedding"}, **TWO}
NARROW = {"attention_options": {"features": "embedding"}, **TWO}

# Every mechanism, and again the two that can have their own tables, with those.
KINDS = [(name, TWO) for name in MECHANISMS] + [("overlap", EMBEDDING), ("classical_eq", NARROW)]
CAUSAL_KINDS = [kind for kind in KINDS if kind[0] in CAUSAL]
TABLES = [("overlap", EMBEDDING), ("classical_eq", NARROW)]


def kind_id(kind):
    return f"{kind[0]}-tables" if "attention_options" in kind[1] else kind[0]


every_kind = pytest.mark.parametrize("kind", KINDS, ids=kind_id)
causal_kind = pytest.mark.parametrize("kind", CAUSAL_KINDS, ids=kind_id)
kind_with_tables = pytest.mark.parametrize("kind", TABLES, ids=kind_id)


def conditional(kind=("classical", TWO), **changes):
    """A small model whose conditions, known and unknown, all make a difference."""
    model = small_model(kind[0], **{**kind[1], **changes})
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("conditions", "positions", "y_angles")):  # begin at 0
            parameter.data.normal_(std=0.5, generator=generator)
    return model


def some_conditions(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(batch, 2, generator=generator)
    return torch.tensor([2.0, 40.0]) + torch.tensor([0.5, 20.0]) * drawn


def logits(model, ids, conditions=None, **more):
    return model(ids, conditions=conditions, **more).logits


# --- Known and unknown -------------------------------------------------------------------------


@every_kind
def test_every_condition_of_a_sequence_reaches_its_logits_and_no_others(kind):
    model, ids, values = conditional(kind), some_ids(3, 5), some_conditions(3)
    before = logits(model, ids, values)
    for column in range(2):
        changed = values.clone()
        changed[1, column] *= 1.5
        difference = (logits(model, ids, changed) - before).abs().amax(dim=(1, 2))
        assert difference[1] > 1e-3
        assert difference[0] == difference[2] == 0


@in_both_types
@every_kind
def test_nan_is_unknown_and_none_is_all_unknown(kind):
    model, ids, values = conditional(kind), some_ids(3, 5), some_conditions(3)
    nothing = torch.full((3, 2), NAN)
    expected = logits(model, ids)
    assert expected.isfinite().all()
    assert torch.equal(logits(model, ids, nothing), expected)
    values[1], values[2, 0] = NAN, NAN
    mixed = logits(model, ids, values)
    assert_alike(mixed[1], expected[1])
    assert (mixed[2] - expected[2]).abs().max() > 1e-3
    assert (mixed[0] - expected[0]).abs().max() > 1e-3
    alone = logits(model, ids[2:], values[2:])
    assert_alike(mixed[2:], alone)


@every_kind
def test_an_unknown_condition_begins_as_one_at_its_mean_and_learns_its_own_vector(kind):
    model, ids = small_model(kind[0], **kind[1]), some_ids(2, 5)
    means = torch.tensor([[2.0, 40.0]]).expand(2, -1)
    assert torch.equal(logits(model, ids), logits(model, ids, means))
    vectors = [p for name, p in model.named_parameters() if "conditions.unknown" in name]
    assert all((vector == 0).all() for vector in vectors)
    for name, parameter in model.named_parameters():  # for overlap: see its own tests
        if "y_angles" in name:
            parameter.data.normal_()
    logits(model, ids, torch.tensor([[NAN, 30.0], [1.0, 30.0]])).square().sum().backward()
    for vector in vectors:
        assert vector.grad[0].abs().max() > 1e-4
        assert (vector.grad[1] == 0).all()  # TPSA was known in both


@in_both_types
def test_conditions_are_standardised_and_added_to_the_embeddings():
    model, ids, values = conditional(), some_ids(2, 4), some_conditions(2)
    values[0, 1] = NAN
    core = model.model
    scaled = ((values - torch.tensor([2.0, 40.0])) / torch.tensor([0.5, 20.0])).nan_to_num(0.0)
    added = scaled @ core.embed_conditions.known.weight.T + core.embed_conditions.known.bias
    added[0] += core.embed_conditions.unknown[1]
    expected = core.embed_tokens(ids) + core.embed_positions.weight[:4] + added[:, None]
    states = model(ids, conditions=values, output_hidden_states=True).hidden_states
    assert_alike(states[0], expected)


@in_both_types
@every_kind
def test_means_and_deviations_are_part_of_the_model(kind):
    """Other units, the same model: only (x - mean) / std counts."""
    model, ids, values = conditional(kind), some_ids(2, 5), some_conditions(2)
    changes = {"condition_means": [2000.0, 4.0], "condition_stds": [500.0, 2.0]}
    other = conditional(kind, **changes)
    other.load_state_dict(model.state_dict())
    in_other_units = values * torch.tensor([1000.0, 0.1])
    assert_alike(logits(other, ids, in_other_units), logits(model, ids, values))
    assert (logits(other, ids, values) - logits(model, ids, values)).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.long], ids=str)
def test_conditions_of_another_type_are_converted(dtype):
    model, ids = conditional(), some_ids(2, 4)
    values = some_conditions(2).round()
    assert torch.equal(logits(model, ids, values.to(dtype)), logits(model, ids, values))


# --- Refused -----------------------------------------------------------------------------------


def complaint(model, conditions):
    with pytest.raises(KetformerError) as mistake:
        model(some_ids(2, 4), conditions=conditions)
    assert "\n" not in str(mistake.value)
    return str(mistake.value)


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (None, r"^this model needs every condition: LogP, TPSA$"),
        (
            torch.tensor([[1.0, 2.0], [NAN, 2.0]]),
            r"^this model needs every condition \(LogP, TPSA\), but condition LogP of row 1 is unk",
        ),
    ],
)
def test_a_model_that_needs_every_condition_has_no_answer_to_an_unknown_one(conditions, told):
    model, ids = conditional(condition_unknown=False), some_ids(2, 4)
    assert not any("unknown" in name for name, _ in model.named_parameters())
    answers = logits(model, ids, conditions).isnan()
    assert answers[1].all()
    assert answers[0].all() == (conditions is None)
    with pytest.raises(KetformerError, match=told):
        model.generate(ids, conditions=conditions)
    assert logits(model, ids, some_conditions(2)).isfinite().all()


def test_an_infinite_condition_has_no_answer():
    model, ids = conditional(), some_ids(2, 4)
    infinite = torch.tensor([[1.0, 30.0], [1.0, -math.inf]])
    answers = logits(model, ids, infinite)
    assert answers[1].isnan().all()
    assert answers[0].isfinite().all()
    told = "condition TPSA of row 1 is infinite; NaN stands for unknown"
    with pytest.raises(KetformerError, match=told):
        model.generate(ids, conditions=infinite)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3), (1, 2), (2, 1, 2)], ids=str)
def test_conditions_of_another_shape_are_refused(shape):
    message = complaint(conditional(), torch.ones(shape))
    assert message == f"conditions must be [2, 2] (LogP, TPSA), got {list(shape)}"


def test_a_model_without_conditions_refuses_them():
    assert "without conditions" in complaint(small_model(), torch.ones(2, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"condition_names": ["a", "a"]}, "condition_names has duplicates: a, a"),
        ({"condition_means": None}, "condition_means has 0 numbers for 2 conditions"),
        ({"condition_stds": [1.0]}, "condition_stds has 1 numbers for 2 conditions"),
        ({"condition_names": None}, "condition_means has 2 numbers for 0 conditions"),
        ({"condition_means": [1.0, NAN]}, "condition_means must be finite"),
        ({"condition_stds": [1.0, math.inf]}, "condition_stds must be finite, got inf for TPSA"),
        ({"condition_stds": [1.0, 0.0]}, "condition_stds must be positive, got 0.0 for TPSA"),
        ({"condition_stds": [-1, 1.0]}, "condition_stds must be positive"),
        ({"condition_ranges": [[0, 1]]}, "the smallest and the largest value of each of the 2"),
        ({"condition_ranges": [[0, 1], [1, 0]]}, "condition_ranges must be the smallest and"),
        ({"condition_ranges": [[0, 1], [0, NAN]]}, "condition_ranges must be the smallest and"),
        ({"condition_pdrop": 0.6}, "condition_pdrop must lie in [0, 0.5], got 0.6"),
        ({"condition_pdrop": NAN}, "condition_pdrop must lie in [0, 0.5], got nan"),
        (
            {"condition_pdrop": 0.1, "condition_unknown": False},
            "condition_pdrop hides conditions, so it needs condition_unknown",
        ),
        ({"condition_names": "LogP"}, "condition_names"),
        ({"condition_names": [1, 2]}, "condition_names"),
        ({"condition_means": ["2", "40"]}, "condition_means"),
        ({"condition_unknown": 1}, "condition_unknown"),
    ],
    ids=str,
)
def test_conditions_that_do_not_fit_together_are_one_clear_line(changes, said):
    with pytest.raises(KetformerError) as mistake:
        small_config(**{**TWO, **changes})
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)


# --- Out of reach --------------------------------------------------------------------------------

RANGES = {"condition_ranges": [[1.0, 3.5], [0.0, 99.0]]}


@pytest.mark.parametrize(
    ("known", "asked", "told"),
    [
        (RANGES, {"LogP": 3.5, "TPSA": 0.0}, []),
        (
            RANGES,
            {"LogP": 1e6},
            ["LogP=1e+06 is out of reach: the training data range from 1 to 3.5, and it lies 2e+06 "
             "standard deviations above their mean 2; is the unit the same?"],
        ),
        (RANGES, {"TPSA": -1.0, "LogP": 2.0},
         ["TPSA=-1 is out of reach: the training data range from 0 to 99, and it lies 2.05 "
          "standard deviations below their mean 40; is the unit the same?"]),
        ({}, {"LogP": 3.5, "TPSA": -20.0}, []),  # three deviations, if only these are known
        ({}, {"LogP": 0.49}, ["LogP=0.49 is out of reach: it lies 3.02 standard deviations below "
         "their mean 2 in the training data, where they deviate by 0.5; is the unit the same?"]),
        (
            {**RANGES, "condition_means": [0.0, 0.0], "condition_stds": [1.0, 1.0]},
            {"LogP": 4.0},
            ["LogP=4 is out of reach: the training data range from 1 to 3.5; is the unit the "
             "same?"],
        ),
        ({"condition_means": [0.0, 0.0], "condition_stds": [1.0, 1.0]}, {"LogP": 1e6}, []),
    ],
)  # fmt: skip
def test_a_value_out_of_reach_is_told_with_the_range(known, asked, told):
    assert beyond_training(small_config(**{**TWO, **known}), asked) == told


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.floats(-1e9, 1e9))
def test_it_is_told_just_outside_the_range(values, asked):
    low, high = min(values), max(values)
    ranges = {"condition_ranges": [[low, high], [0, 1]]}
    told = beyond_training(small_config(**{**TWO, **ranges}), {"LogP": asked, "TPSA": 0.5})
    assert bool(told) == (asked < low or asked > high)
    assert all(line.startswith(f"LogP={asked:g} is out of reach") for line in told)


# --- Hidden while training ---------------------------------------------------------------------


def hidden_shares(model, batch):
    """Which conditions were unknown to the model, ``[batch, 2]``."""
    seen = []
    handle = model.model.embed_conditions.register_forward_pre_hook(
        lambda module, arguments: seen.append(arguments[1])
    )
    model(some_ids(batch, 1), conditions=some_conditions(batch))
    handle.remove()
    return seen[0].float()


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_conditions_are_hidden_in_training_at_the_configured_rate(share):
    batch = 4000
    model = conditional(condition_pdrop=share)
    torch.manual_seed(1)
    hidden = hidden_shares(model.train(), batch)
    each = math.sqrt(share * (1 - share) / batch)
    assert (hidden.mean(0) - share).abs().max() < 4 * each
    # A share drawn for each sequence, uniformly from 0 to twice the mean: both are hidden
    # together with probability (2 share)² / 3, more often than share².
    both = (2 * share) ** 2 / 3
    noise = math.sqrt(both * (1 - both) / batch)
    assert abs(hidden.prod(1).mean() - both) < 4 * noise
    assert hidden_shares(model.eval(), batch).sum() == 0


@in_both_types
@every_kind
def test_hiding_changes_training_only_and_evaluation_repeats(kind):
    still = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "mlp_pdrop": 0.0}
    model = conditional(kind, condition_pdrop=0.5, **still)
    ids, values = some_ids(6, 4), some_conditions(6)
    expected = logits(model, ids, values)
    assert torch.equal(logits(model, ids, values), expected)
    torch.manual_seed(0)
    hidden = logits(model.train(), ids, values, use_cache=False)
    assert not torch.equal(hidden, expected)
    plain = conditional(kind, **still).train()
    assert_alike(logits(plain, ids, values, use_cache=False), expected)


# --- Cache, padding, generation, saving --------------------------------------------------------


def generate(model, ids, **options):
    set_seed(0)
    mask = options.pop("attention_mask", torch.ones_like(ids))
    return model.generate(ids, attention_mask=mask, max_new_tokens=7, pad_token_id=0, **options)


@causal_kind
@pytest.mark.parametrize(
    "way",
    [{}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2}],
    ids=["greedy", "sampled", "beams"],
)
def test_generation_with_conditions_and_the_cache_equals_without(kind, way):
    model, prompts, values = conditional(kind), some_ids(3, 3), some_conditions(3)
    written = generate(model, prompts, conditions=values, use_cache=True, **way)
    assert torch.equal(written, generate(model, prompts, conditions=values, use_cache=False, **way))
    assert not torch.equal(written, generate(model, prompts, conditions=5 * values, **way))


@in_both_types
@causal_kind
@pytest.mark.parametrize("chunks", [(1,) * 6, (3, 1, 2)], ids=str)
def test_with_the_cache_equals_without(kind, chunks):
    model, ids, values = conditional(kind), some_ids(2, 6), some_conditions(2)
    past, steps = None, []
    for chunk in ids.split(chunks, dim=1):
        output = model(chunk, conditions=values, past_key_values=past, use_cache=True)
        past = output.past_key_values
        steps.append(output.logits)
    assert_alike(torch.cat(steps, 1), logits(model, ids, values, use_cache=False))


@in_both_types
@every_kind
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_equals_its_sequences_alone(kind, side):
    model, values = conditional(kind), some_conditions(3)
    values[1, 0] = NAN
    sequences = [some_ids(1, length, seed=length)[0] for length in (6, 4, 1)]
    ids, mask = pad(sequences, 8, side)
    together = logits(model, ids, values, attention_mask=mask)
    for row, sequence in enumerate(sequences):
        alone = logits(model, sequence[None], values[row : row + 1])
        assert_alike(together[row, mask[row].bool()], alone[0])


@kind_with_tables
def test_left_padded_prompts_continue_as_they_do_alone(kind):
    model, values = conditional(kind), some_conditions(2)
    prompts = [some_ids(1, length, seed=length)[0] for length in (4, 2)]
    ids, mask = pad(prompts, 4, "left")
    together = generate(model, ids, attention_mask=mask, conditions=values)[:, 4:]
    for row, prompt in enumerate(prompts):
        alone = generate(model, prompt[None], conditions=values[row : row + 1])
        assert torch.equal(together[row], alone[0, len(prompt) :])


@every_kind
@pytest.mark.parametrize("load", [KetformerForCausalLM, AutoModelForCausalLM])
def test_a_reloaded_model_standardises_alike_and_gives_the_same_logits(tmp_path, kind, load):
    model, ids, values = conditional(kind, condition_pdrop=0.2), some_ids(3, 5), some_conditions(3)
    values[1, 0] = NAN
    model.save_pretrained(tmp_path)
    loaded = load.from_pretrained(tmp_path)
    for key, value in {**kind[1], "condition_pdrop": 0.2, "condition_unknown": True}.items():
        assert getattr(loaded.config, key) == value
    assert torch.equal(logits(loaded, ids, values), logits(model, ids, values))


# --- Causality and training --------------------------------------------------------------------


@every_kind
def test_conditions_leave_the_audit_as_it_is(kind):
    audit = audit_causality(conditional(kind), sequences=3)
    assert audit.max_past_influence > 1e-3
    assert audit.causal is (kind[0] not in LEAKY)
    assert (audit.max_future_influence == 0) is audit.causal


@kind_with_tables
@pytest.mark.parametrize("initializer_range", [None, 0.3])
def test_tables_keep_their_own_initial_values_inside_the_model(kind, initializer_range):
    model = small_model(kind[0], **{**kind[1], "initializer_range": initializer_range})
    attentions = [layer.attention for layer in model.model.layers]
    tables = [a.registers if kind[0] == "overlap" else a.tables for a in attentions]
    assert all((table.positions == 0).all() for table in tables)
    tokens = torch.stack([table.tokens for table in tables])
    assert tokens.std() > 0.7  # uniform in [0, pi] 0.9, normal 1; a layer has only 26 of the latter
    if kind[0] == "overlap":
        assert tokens.min() >= 0
        assert tokens.max() <= math.pi


@kind_with_tables
def test_every_parameter_trains(kind):
    model, ids, values = conditional(kind), some_ids(4, 8), some_conditions(4)
    values[0] = NAN
    model.train()(ids, conditions=values, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 1e-7, name


@kind_with_tables
def test_embeddings_instead_of_ids_cannot_be_looked_up(kind):
    model = conditional(kind)
    with pytest.raises(KetformerError, match="looks up its tokens"):
        model(inputs_embeds=torch.randn(2, 4, 16), conditions=some_conditions(2))

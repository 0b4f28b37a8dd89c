"""Sampling whole sequences: the cache, dropped rows, the options, and the distribution."""

import math

import pytest
import torch

from ketformer.errors import KetformerError
from ketformer.generation.decoding import sample_sequences
from ketformer.models import KetformerModel
from mechanisms import MECHANISMS
from models.helpers import CAUSAL, CONTEXT, VOCABULARY, small_model

PAD, BOS, EOS = 0, 1, 2
TWO = {
    "condition_names": ["LogP", "TPSA"],
    "condition_means": [2.0, 40.0],
    "condition_stds": [0.5, 20.0],
}
TABLES = {
    "overlap": {"attention_options": {"angles": "embedding"}},
    "classical_eq": {"attention_options": {"features": "embedding"}},
}
KINDS = [(name, {}) for name in MECHANISMS] + list(TABLES.items())
every_kind = pytest.mark.parametrize(
    "kind", KINDS, ids=[name + ("-tables" if options else "") for name, options in KINDS]
)


def speaker(kind=("classical", {}), **changes):
    """A small model with special tokens, whose sequences end after about five tokens."""
    name, options = kind
    special = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    model = small_model(name, **{**special, **options, **changes})
    model.lm_head.bias.data[EOS] += 0.7
    return model


def sample(model, num, *, seed=0, **options):
    return sample_sequences(model, num, generator=torch.Generator().manual_seed(seed), **options)


def ends(ids):
    """How many tokens each row has, the end token included."""
    ended = (ids == EOS).int()
    return torch.where(ended.any(1), ended.argmax(1) + 1, ids.shape[1])


def some_conditions(num):
    drawn = torch.randn(num, 2, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([2.0, 40.0]) + torch.tensor([1.0, 40.0]) * drawn
    values[::4, 0] = math.nan
    return values


def conditional(kind=("classical", {})):
    """A model that depends strongly on its conditions, and whose rows end at various steps."""
    model = speaker(kind, **TWO)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("conditions", "positions", "y_angles")):
            parameter.data.normal_(std=1.5, generator=generator)
    return model


# --- Rows that end -------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.4, "top_k": 6, "top_p": 0.95}], ids=["plain", "all-options"]
)
def test_with_the_cache_equals_without(kind, options):
    model = speaker(kind)
    ids = sample(model, 40, use_cache=True, **options)
    assert torch.equal(ids, sample(model, 40, use_cache=False, **options))
    lengths = ends(ids)
    assert len(set(lengths.tolist())) > 3  # rows were dropped at several steps
    assert ids.shape == (40, int(lengths.max()))
    assert ids.shape[1] <= CONTEXT


@every_kind
def test_after_its_end_a_row_is_padding(kind):
    ids = sample(speaker(kind), 60, never=[PAD])
    after = torch.arange(ids.shape[1]) >= ends(ids)[:, None]
    assert after.any()
    assert (ids[after] == PAD).all()
    assert (ids[~after] != PAD).all()
    assert ((ids == EOS).sum(1) <= 1).all()


@pytest.mark.parametrize("attention", CAUSAL)
@pytest.mark.parametrize("use_cache", [True, False])
def test_finished_rows_are_computed_no_further(attention, use_cache, monkeypatch):
    shapes, forward = [], KetformerModel.forward

    def counting(self, input_ids=None, **kwargs):
        shapes.append(tuple(input_ids.shape))
        return forward(self, input_ids, **kwargs)

    monkeypatch.setattr(KetformerModel, "forward", counting)
    ids = sample(speaker((attention, {})), 50, use_cache=use_cache)
    lengths = ends(ids)
    going = [int((lengths > step).sum()) for step in range(ids.shape[1])]
    assert going[-1] < going[0] == 50
    assert shapes == [(rows, 1 if use_cache else t + 1) for t, rows in enumerate(going)]


def test_a_model_that_never_ends_fills_its_context():
    ids = sample(speaker(), 20, never=[EOS])
    assert ids.shape == (20, CONTEXT)
    assert (ids != EOS).all()


@every_kind
@pytest.mark.parametrize("use_cache", [True, False])
def test_conditions_stay_with_their_rows_when_others_are_dropped(kind, use_cache):
    """Sampling is greedy, so each row alone must give the same result."""
    model, values = conditional(kind), some_conditions(80)
    options = {"temperature": 0.0, "use_cache": use_cache}
    together = sample(model, 80, conditions=values, **options)
    lengths = ends(together).tolist()
    assert len(set(lengths)) > 2
    assert lengths != sorted(lengths, reverse=True)
    assert len({tuple(row) for row in together.tolist()}) > 6
    for row, length in list(enumerate(lengths))[::9]:
        alone = sample(model, 1, conditions=values[row : row + 1], **options)
        assert torch.equal(alone[0], together[row, :length])
        assert (together[row, length:] == PAD).all()


@pytest.mark.parametrize("kind", TABLES.items(), ids=list(TABLES))
def test_the_cache_changes_nothing_with_conditions_that_differ(kind):
    model, values = conditional(kind), some_conditions(30)
    ids = sample(model, 30, conditions=values, use_cache=True)
    assert torch.equal(ids, sample(model, 30, conditions=values, use_cache=False))
    assert len(set(ends(ids).tolist())) > 2


# --- The choice of a token -----------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("never", [[BOS, PAD], [3], [EOS, 5, 7]], ids=str)
@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_some_tokens_are_never_written(kind, never, temperature):
    model = speaker(kind)
    model.lm_head.bias.data[never] += 4  # otherwise they would be
    free = sample(model, 50, temperature=temperature)
    assert torch.isin(free, torch.tensor(never)).any()
    ids = sample(model, 50, temperature=temperature, never=never)
    written = torch.arange(ids.shape[1]) < ends(ids)[:, None]
    assert not torch.isin(ids[written], torch.tensor(never)).any()


@every_kind
def test_temperature_0_and_top_k_1_are_transformers_greedy_generation(kind):
    model, values = conditional(kind), some_conditions(8)
    greedy = sample(model, 8, conditions=values, temperature=0.0)
    assert torch.equal(sample(model, 8, conditions=values, temperature=0.0, seed=9), greedy)
    assert torch.equal(sample(model, 8, conditions=values, top_k=1), greedy)
    begin = torch.full((8, 1), BOS)
    expected = model.generate(
        begin,
        attention_mask=torch.ones_like(begin),
        conditions=values,
        max_new_tokens=CONTEXT,
        do_sample=False,
    )[:, 1:]
    assert torch.equal(greedy, expected)
    assert len(set(greedy.flatten().tolist())) > 3


@every_kind
def test_a_seed_repeats_and_another_does_not(kind):
    model = speaker(kind)
    first = sample(model, 20, seed=3)
    assert torch.equal(sample(model, 20, seed=3), first)
    other = sample(model, 20, seed=4)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_the_global_seed_has_no_part_in_it_and_stays_as_it_is():
    model = speaker()
    torch.manual_seed(0)
    first, before = sample(model, 20), torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(sample(model, 20), first)


def chosen_from(probabilities, temperature=1.0, top_k=0, top_p=1.0, never=()):
    """The distribution by definition: exclude, sharpen, keep k, keep the nucleus, normalise."""
    p = probabilities.clone()
    p[list(never)] = 0
    p = p ** (1 / temperature)
    order = p.argsort(descending=True)
    if top_k:
        p[order[top_k:]] = 0
    p = p / p.sum()
    before = torch.cat([torch.zeros(1, dtype=p.dtype), p[order].cumsum(0)[:-1]])
    p[order[before >= top_p]] = 0
    return p / p.sum()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 2.5},
        {"top_k": 4},
        {"top_p": 0.7},
        {"never": [PAD, BOS]},
        {"temperature": 1.5, "top_k": 8, "top_p": 0.8, "never": [PAD, BOS]},
    ],
    ids=str,
)
def test_tokens_come_with_their_probabilities(options):
    """The first token, and the second after the most frequent first, each within 4 sigma."""
    model, num = speaker(max_position_embeddings=2), 40_000
    ids = sample(model, num, **options)
    start = torch.full((1, 1), BOS)
    common = int(ids[:, 0][ids[:, 0] != EOS].mode().values)
    for drawn, seen in (
        (ids[:, 0], start),
        (ids[ids[:, 0] == common, 1], torch.tensor([[BOS, common]])),
    ):
        with torch.no_grad():
            probabilities = model(seen).logits[0, -1].double().softmax(-1)
        expected = chosen_from(probabilities, **options)
        frequency = torch.bincount(drawn, minlength=VOCABULARY) / len(drawn)
        sigma = (expected * (1 - expected) / len(drawn)).sqrt()
        assert len(drawn) > 2000
        assert ((frequency - expected).abs() <= 4 * sigma).all()
        assert (frequency[expected == 0] == 0).all()


# --- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", ["bos_token_id", "eos_token_id", "pad_token_id"])
def test_a_model_must_say_how_a_sequence_begins_and_ends(lacking):
    with pytest.raises(KetformerError, match="needs bos_token_id, eos_token_id and pad_token_id"):
        sample(speaker(**{lacking: None}), 3)


def test_a_model_that_needs_its_conditions_says_so():
    model = speaker(**TWO, condition_unknown=False)
    with pytest.raises(KetformerError, match="needs every condition"):
        sample(model, 3)


def test_no_gradients_are_kept():
    assert not sample(speaker(), 3).requires_grad
    assert sample(speaker(), 3).is_inference()

"""The classical control: narrow linear queries and keys, as many parameters as `overlap`."""

import math

import pytest
import torch

from ketformer.attention import InputSizes, TokenInputs, build_attention
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.published import PUBLISHED_CONDITIONS

from .helpers import assert_equal_to, build, tokens

HIDDEN = 12
SEQUENCE = InputSizes(vocab_size=7, max_positions=6)
CONDITIONS = InputSizes(vocab_size=7, max_positions=6, n_conditions=2)
PUBLISHED = {
    "vocab_size": 33,
    "max_position_embeddings": 24,
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 256,
}
NINE = {
    "condition_names": list(PUBLISHED_CONDITIONS),
    "condition_means": [0.0] * 9,
    "condition_stds": [1.0] * 9,
    "condition_unknown": False,
}
OPTIONS = {"overlap": {"angles": "embedding"}, "classical_eq": {"features": "embedding"}}


@pytest.mark.parametrize("attention", OPTIONS)
@pytest.mark.parametrize(("conditions", "parameters"), [({}, 47_704), (NINE, 48_307)])
def test_a_decoder_has_the_published_number_of_parameters(attention, conditions, parameters):
    config = KetformerConfig(
        attention=attention, attention_options=OPTIONS[attention], **PUBLISHED, **conditions
    )
    assert KetformerForCausalLM(config).num_parameters() == parameters


def test_from_hidden_states_queries_have_as_many_parameters_as_one_circuit_takes_angles():
    """In addition, overlap has 6 angles for each head and matrix, and a bias of the keys."""
    count = {
        name: sum(p.numel() for p in build(name, 64, 4).parameters())
        for name in ("overlap", "classical_eq")
    }
    assert count["overlap"] - count["classical_eq"] == 3 * 4 * 6


def some_tokens(batch, length, sizes):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(sizes.vocab_size, (batch, length), generator=generator)
    if not sizes.n_conditions:
        return TokenInputs(ids, torch.arange(length)[None])
    values = torch.randn(batch, sizes.n_conditions, generator=generator, dtype=torch.float64)
    unknown = torch.tensor([[False, True]]).expand(batch, -1)
    return TokenInputs(ids, torch.arange(length)[None], values.masked_fill(unknown, 0), unknown)


@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize(
    ("sizes", "options", "feature_width", "query_width"),
    [
        (SEQUENCE, {}, 3, 2),
        (CONDITIONS, {}, 2, 3),
        (SEQUENCE, {"feature_width": 5, "query_width": 4}, 5, 4),
    ],
    ids=["sequence", "conditions", "wider"],
)
def test_narrow_embeddings_are_summed_and_scaled_by_the_hidden_size(
    sizes, options, feature_width, query_width, num_heads
):
    attention = build(
        "classical_eq", HIDDEN, num_heads, features="embedding", inputs=sizes, **options
    ).double()
    tables = attention.tables
    for parameter in attention.parameters():  # positions start at 0 but must have an effect
        parameter.data.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    assert tables.tokens.shape == (7, feature_width)
    assert tables.positions.shape == (6, feature_width)
    inputs, states = some_tokens(2, 5, sizes), tokens(2, 5, HIDDEN).double()
    features = tables.tokens[inputs.input_ids] + tables.positions[:5]
    if sizes.n_conditions:
        known = tables.conditions.known
        given = inputs.conditions @ known.weight.T + known.bias
        features = features + (given + tables.conditions.unknown[1])[:, None]
    assert attention.query_proj.bias is None
    queries, keys = (
        (features @ part.weight.T).unflatten(-1, (num_heads, query_width)).transpose(1, 2)
        for part in (attention.query_proj, attention.key_proj)
    )
    scores = queries @ keys.mT / math.sqrt(HIDDEN)
    expected = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    output, weights = attention(states, tokens=inputs, return_weights=True)
    assert_equal_to(1e-12, weights, expected)
    assert_equal_to(1e-12, attention(states, tokens=inputs)[0], output)


@pytest.mark.parametrize(("options", "width"), [({}, 6), ({"query_width": 3}, 3)])
def test_queries_from_hidden_states_are_scaled_by_their_own_width(options, width):
    attention = build("classical_eq", HIDDEN, 2, **options).double()
    states = tokens(2, 5, HIDDEN).double()
    attention.query_proj.bias.data.fill_(0.3)  # queries have a bias, and it matters
    assert attention.key_proj.bias is None  # one would cancel in the softmax
    queries, keys = (
        part(states).unflatten(-1, (2, width)).transpose(1, 2)
        for part in (attention.query_proj, attention.key_proj)
    )
    scores = queries @ keys.mT / math.sqrt(width)
    expected = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    assert_equal_to(1e-12, attention(states, return_weights=True)[1], expected)


def test_tables_begin_with_normal_tokens_and_positions_at_0():
    sizes = InputSizes(vocab_size=200, max_positions=6)
    attention = build("classical_eq", HIDDEN, 2, features="embedding", inputs=sizes)
    assert (attention.tables.positions == 0).all()
    assert abs(attention.tables.tokens.mean()) < 4.5 / math.sqrt(600)
    assert abs(attention.tables.tokens.std() - 1) < 4.5 / math.sqrt(1200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "embedding"}, 'features="embedding" needs the sizes of the decoder'),
        ({"features": "both"}, "features must be one of hidden, embedding, got 'both'"),
        ({"feature_width": 3}, 'feature_width requires features="embedding"'),
        ({"query_width": 0}, "query_width must be positive, got 0"),
        (
            {"features": "embedding", "inputs": SEQUENCE, "feature_width": -1},
            "feature_width must be positive, got -1",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(sorted(value)),
)
def test_a_mistake_is_one_clear_line(options, message):
    with pytest.raises(KetformerError) as mistake:
        build_attention("classical_eq", HIDDEN, 2, **options)
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)

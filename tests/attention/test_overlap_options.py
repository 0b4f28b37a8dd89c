"""Overlap attention: scale, temperature, initial angles, the published scaling, mistakes."""

import math

import pytest
import torch

from ketformer.attention import InputSizes, TokenInputs, build_attention
from ketformer.errors import KetformerError

from .helpers import assert_equal_to, build, tokens

HIDDEN = 12
SEQUENCE = InputSizes(vocab_size=33, max_positions=24)
CONDITIONS = InputSizes(vocab_size=33, max_positions=24, n_conditions=2)
MODES = [{}, {"angles": "embedding", "inputs": SEQUENCE}]
every_mode = pytest.mark.parametrize("mode", MODES, ids=["hidden", "embedding"])


def some_tokens(batch, length, *, conditions=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(33, (batch, length), generator=generator)
    unknown = None if conditions is None else torch.zeros_like(conditions).bool()
    return TokenInputs(ids, torch.arange(length)[None], conditions, unknown)


def weights_of(attention, states, inputs):
    return attention(states, tokens=inputs, return_weights=True)[1]


# --- Scale and temperature ---------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize("n_qubits", [2, 6])
def test_the_scale_is_the_root_of_the_hidden_size_whatever_the_qubits_and_heads(
    mode, num_heads, n_qubits
):
    attention = build("overlap", HIDDEN, num_heads, n_qubits=n_qubits, **mode).double()
    states, inputs = tokens(2, 5, HIDDEN).double(), some_tokens(2, 5)
    queries, keys, _ = attention.project(states, inputs)
    assert queries.shape == keys.shape == (2, num_heads, 5, 2**n_qubits)
    scores = math.sqrt(HIDDEN) * queries @ keys.mT
    expected = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    assert_equal_to(1e-12, weights_of(attention, states, inputs), expected)
    cooler = build("overlap", HIDDEN, num_heads, n_qubits=n_qubits, temperature=0.25, **mode)
    expected = (4 * scores).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    assert_equal_to(1e-12, weights_of(cooler.double(), states, inputs), expected)


@every_mode
def test_states_are_normalised_so_no_score_exceeds_the_scale(mode):
    attention = build("overlap", HIDDEN, 3, **mode).double()
    queries, keys, _ = attention.project(30 * tokens(2, 8, HIDDEN).double(), some_tokens(2, 8))
    for states in (queries, keys):
        ones = torch.ones(2, 3, 8, dtype=torch.float64)
        assert_equal_to(1e-12, states.norm(dim=-1), ones)


@every_mode
def test_a_learnable_temperature_trains_each_head(mode):
    """Query and key circuits start equal, so with tables a token overlaps most with itself, and
    a low temperature gives it all the weight."""
    options = {"temperature": 2.0, "learnable_temperature": True, **mode}
    attention = build("overlap", HIDDEN, 2, **options)
    states, inputs = tokens(4, 6, HIDDEN), some_tokens(4, 6)
    with torch.no_grad():
        _, before = attention(states, tokens=inputs, return_weights=True)
    target = before.pow(4)  # same order, but sharper
    target = target / target.sum(-1, keepdim=True)
    optimizer = torch.optim.Adam([attention.log_temperature], lr=0.1)
    losses = []
    for _ in range(25):
        weights = weights_of(attention, states, inputs)
        loss = -(target * weights.clamp_min(1e-9).log()).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        assert (attention.log_temperature.grad.abs() > 1e-5).all()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    assert attention.temperature.shape == (2, 1, 1)
    assert (attention.temperature < 1.0).all()  # the optimum is 2 / 4


# --- Initial values ----------------------------------------------------------------------------


def test_token_angles_begin_spread_over_a_half_turn_and_all_others_at_0():
    attention = build("overlap", HIDDEN, 2, layers=2, **MODES[1])
    angles = attention.registers.tokens
    assert angles.shape == (33, 6)
    assert angles.min() >= 0
    assert angles.max() <= math.pi
    # 198 uniform draws: each bound fails for at most one in 10^5 seeds.
    assert angles.min() < 0.2
    assert angles.max() > math.pi - 0.2
    assert abs(angles.mean() - math.pi / 2) < 4.5 * math.pi / math.sqrt(12 * 198)
    assert attention.registers.positions.shape == (24, 6)
    for others in (attention.registers.positions, attention.query_angles, attention.key_angles):
        assert (others == 0).all()


def test_with_zero_position_angles_equal_tokens_overlap_fully():
    attention = build("overlap", HIDDEN, 1, **MODES[1]).double()
    ids = torch.tensor([[3, 7, 3, 1]])
    inputs = TokenInputs(ids, torch.arange(4)[None])
    queries, keys, _ = attention.project(tokens(1, 4, HIDDEN).double(), inputs)
    overlaps = (queries @ keys.mT)[0, 0]
    same = ids.mT == ids
    assert_equal_to(1e-12, overlaps[same], torch.ones(6, dtype=torch.float64))
    assert (overlaps[~same] < 0.999).all()


def test_angles_from_hidden_states_begin_half_a_radian_wide():
    attention = build("overlap", 48, 2)
    assert attention.angle_proj.weight.shape == (2 * 2 * 6, 48)
    assert (attention.angle_proj.bias == 0).all()
    angles = attention.angle_proj(tokens(50, 20, 48))
    assert 0.45 < angles.std() < 0.55  # 24 x 1,000 draws through 24 x 48 weights


# --- The published scaling by the batch --------------------------------------------------------


def conditional(**options):
    attention = build("overlap", HIDDEN, 1, angles="embedding", inputs=CONDITIONS, **options)
    return attention.double()


def conditions_of(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, generator=generator, dtype=torch.float64)


def test_published_angles_fill_exactly_a_half_turn_over_the_batch():
    attention = conditional(published_scaling=True)
    angles = attention.registers._condition_angles(
        some_tokens(5, 3, conditions=10 * conditions_of(5))
    )
    assert angles.shape == (5, 2)
    assert angles.min() == 0
    assert_equal_to(1e-14, angles.max(), torch.tensor(math.pi, dtype=torch.float64))
    default = conditional().registers._condition_angles(
        some_tokens(5, 3, conditions=10 * conditions_of(5))
    )
    assert default.min() > 0
    assert default.max() < math.pi


@pytest.mark.parametrize("published", [True, False])
def test_a_sequence_depends_on_its_batch_mates_with_the_published_scaling_only(published):
    attention = conditional(published_scaling=published)
    values, others = conditions_of(4), conditions_of(4, seed=1)
    mates = torch.cat([values[:1], 3 * others[1:]])
    first, second = (
        attention.project(tokens(4, 5, HIDDEN).double(), some_tokens(4, 5, conditions=c))[:2]
        for c in (values, mates)
    )
    for before, after in zip(first, second, strict=True):
        difference = (after[0] - before[0]).abs().max()
        assert difference > 0.01 if published else difference == 0
        assert (after[1:] - before[1:]).abs().max() > 0.01  # their own conditions count


def test_while_query_and_key_circuits_are_equal_conditions_cancel_out_of_the_scores():
    """<phys|phys> = 1 within a sequence: conditions act only once U_Q and U_K differ."""
    attention = conditional()

    def weights_at(conditions):
        inputs = some_tokens(2, 5, conditions=conditions)
        return weights_of(attention, tokens(2, 5, HIDDEN).double(), inputs)

    first, second = conditions_of(2), conditions_of(2, seed=1)
    assert_equal_to(1e-12, weights_at(second), weights_at(first))
    attention.query_angles.data.fill_(0.7)
    assert (weights_at(second) - weights_at(first)).abs().max() > 0.01


@pytest.mark.parametrize("n_qubits", [3, 6])
def test_equal_published_angles_are_no_division_by_zero(n_qubits):
    """With one angle, or unknown conditions and no training, smallest and largest coincide."""
    attention = conditional(published_scaling=True, n_qubits=n_qubits)
    attention.registers.conditions.known.weight.data.zero_()
    attention.registers.conditions.known.bias.data.zero_()
    states, inputs = tokens(1, 4, HIDDEN).double(), some_tokens(1, 4, conditions=conditions_of(1))
    queries, keys, _ = attention.project(states, inputs)
    assert queries.isfinite().all()
    assert keys.isfinite().all()


# --- Mistakes ----------------------------------------------------------------------------------

EMBEDDING = {"angles": "embedding", "inputs": SEQUENCE}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**EMBEDDING, "n_qubits": 5}, "5 qubits do not divide into 2 registers"),
        (
            {**EMBEDDING, "inputs": CONDITIONS, "n_qubits": 4},
            "4 qubits do not divide into 3 registers",
        ),
        ({"angles": "embedding"}, 'angles="embedding" needs the sizes of the decoder'),
        ({"angles": "tokens"}, "angles must be one of hidden, embedding, got 'tokens'"),
        ({"published_scaling": True}, 'published_scaling requires angles="embedding"'),
        ({"layers": 0}, "layers must be positive, got 0"),
        ({**EMBEDDING, "layers": -1}, "layers must be positive, got -1"),
        ({"n_qubits": 0}, "a register needs at least one qubit, got 0"),
        ({"n_qubits": 17}, "17 qubits are too many to simulate exactly"),
        ({**EMBEDDING, "n_qubits": 18}, "18 qubits are too many to simulate exactly"),
        ({"n_qubit": 4}, "overlap has no option n_qubit; its options: "),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(sorted(value)),
)
def test_a_mistake_is_one_clear_line(options, message):
    with pytest.raises(KetformerError) as mistake:
        build_attention("overlap", HIDDEN, 2, **options)
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(("name", "option"), [("overlap", "angles"), ("classical_eq", "features")])
def test_a_mechanism_that_looks_up_its_tokens_must_be_given_them(name, option):
    attention = build(name, HIDDEN, 2, **{option: "embedding"}, inputs=SEQUENCE)
    with pytest.raises(KetformerError, match="looks up its tokens: pass `tokens`") as mistake:
        attention(tokens(1, 3, HIDDEN))
    assert "\n" not in str(mistake.value)

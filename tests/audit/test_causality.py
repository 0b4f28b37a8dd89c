"""The causality audit: exactly zero for a causal mechanism, and even small leaks are found."""

import json
from dataclasses import asdict, fields

import pytest
import torch
from torch import nn

from ketformer import KetformerConfig, KetformerForCausalLM, audit_causality, build_attention
from ketformer.attention import ATTENTION
from ketformer.errors import KetformerError

LEAKY = [name for name in ATTENTION if name.endswith("_published")]

# Options that take another path through the code must be just as causal.
OTHER_PATHS = [
    ("classical", {"score": "gaussian"}),
    ("classical", {"score": "double_exponential"}),
    ("qisa", {"score": "double_exponential", "observables": "random"}),
    ("qisa", {"learnable_temperature": True, "hilbert_dim": 5}),
    ("qisa_a", {"score": "dot"}),
    ("qsann", {"encoding": "angle", "n_qubits": 3, "query_observables": "pauli"}),
]


def small_model(attention="classical", *, seed=0, **changes):
    torch.manual_seed(seed)
    config = {
        "vocab_size": 11,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
        "attention": attention,
        **changes,
    }
    return KetformerForCausalLM(KetformerConfig(**config)).eval()


# --- The verdict -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTENTION)
def test_by_name(name):
    audit = audit_causality(name, length=12)
    assert audit.attention == name
    assert audit.max_past_influence > 0.1  # the audit could have seen a leak
    if name in LEAKY:
        assert not audit.causal
        assert audit.max_future_influence > 0.1
        changed, moved = audit.worst
        assert moved < changed
    else:
        assert audit.causal
        assert audit.max_future_influence == 0.0
        assert audit.worst is None


@pytest.mark.parametrize("name", ATTENTION)
def test_a_model_and_a_bare_mechanism_get_the_same_verdict(name):
    for subject in (small_model(name), build_attention(name, hidden_size=16, num_heads=2)):
        audit = audit_causality(subject)
        assert audit.causal is (name not in LEAKY)
        assert (audit.max_future_influence == 0.0) is audit.causal


@pytest.mark.parametrize(("name", "options"), OTHER_PATHS, ids=str)
def test_options_do_not_leak(name, options):
    audit = audit_causality(small_model(name, attention_options=options, initializer_range=0.3))
    assert audit.causal
    assert audit.max_future_influence == 0.0
    assert audit.max_past_influence > 0.1


def test_classical_attention_with_transposed_mixing_is_caught():
    options = {"mixing": "transposed"}
    audit = audit_causality(small_model(attention_options=options, initializer_range=0.3))
    assert (audit.attention, audit.causal) == ("classical", False)
    assert audit.max_future_influence > 0.1


@pytest.mark.parametrize("preset_like", [{"norm_position": "post"}, {"tie_word_embeddings": True}])
def test_the_rest_of_the_decoder_does_not_leak(preset_like):
    assert audit_causality(small_model(**preset_like)).max_future_influence == 0.0


# --- Small leaks -------------------------------------------------------------------------------


class Peeking(nn.Module):
    """Adds a trace of one later token to the attention's output at a single position."""

    def __init__(self, attention, *, at, sees, amount):
        super().__init__()
        self.attention, self.at, self.sees, self.amount = attention, at, sees, amount

    is_causal = True  # what it claims

    def forward(self, hidden_states, **options):
        output, weights = self.attention(hidden_states, **options)
        output = output.clone()
        output[:, self.at] += self.amount * hidden_states[:, self.sees]
        return output, weights


@pytest.mark.parametrize(("at", "sees"), [(6, 7), (0, 1), (0, 7), (3, 4)])
@pytest.mark.parametrize("amount", [1.0, 1e-4])
def test_one_position_that_peeks_at_one_token_is_found(at, sees, amount):
    model = small_model()
    block = model.model.layers[-1]
    block.attention = Peeking(block.attention, at=at, sees=sees, amount=amount)
    assert model.is_causal
    audit = audit_causality(model)
    assert not audit.causal
    assert audit.max_future_influence > 0
    assert audit.worst == (sees, at)


def test_a_leak_through_statistics_of_the_sequence_is_found():
    """This leak is not in the attention: a norm over time, as in a batch norm."""

    class NormOverTime(nn.LayerNorm):
        def forward(self, hidden_states):
            return hidden_states - hidden_states.mean(dim=1, keepdim=True)

    model = small_model(initializer_range=0.3)
    model.model.norm = NormOverTime(16)
    audit = audit_causality(model)
    assert not audit.causal
    assert audit.max_future_influence > 0.1


def test_an_attention_that_sees_everything_is_found():
    class Everything(nn.Module):
        def forward(self, hidden_states, **_):
            return hidden_states.mean(dim=1, keepdim=True).expand_as(hidden_states), None

    model = small_model()
    model.model.layers[0].attention = Everything()
    model.model.layers[0].attention.is_causal = True
    assert not audit_causality(model).causal


# --- How it works ------------------------------------------------------------------------------


def test_every_token_of_every_sequence_is_replaced_by_another_one():
    model, seen = small_model(), []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    audit = audit_causality(model, sequences=3)
    _, original, again, *changed = seen[:11]  # first one sequence in float64, to see if it can be
    assert original.shape == (3, 8)
    assert torch.equal(original, again)  # does the model repeat?
    assert len(changed) == 8
    for position, ids in enumerate(changed):
        differs = ids != original
        assert differs[:, position].all()
        assert differs.sum() == 3
        assert (ids < 11).all()
    assert (audit.sequences, audit.length, audit.perturbations) == (3, 8, 24)


@pytest.mark.parametrize(("asked", "length"), [(None, 8), (5, 5), (99, 8)])
def test_the_length_is_the_models_context_at_most(asked, length):
    assert audit_causality(small_model(), length=asked).length == length


def test_a_long_context_is_tried_up_to_64_tokens():
    assert audit_causality(small_model(max_position_embeddings=100), sequences=1).length == 64


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_is_put_back(training):
    model = small_model(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train(training)
    assert audit_causality(model).causal
    assert model.training is training
    assert model.model.dropout.training is training


def test_the_mode_is_put_back_after_a_failure():
    model = small_model().train()
    model.lm_head = nn.Linear(3, 3)  # does not fit
    with pytest.raises(KetformerError, match=r"fails on ids of shape \[8, 8\]: RuntimeError"):
        audit_causality(model)
    assert model.training


@pytest.mark.parametrize("subject", ["qisa", "qisa_published"])
def test_it_repeats_with_its_seed(subject):
    first, again, other = (audit_causality(subject, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert other.max_past_influence != first.max_past_influence
    model = small_model(subject)
    assert audit_causality(model, seed=3) == audit_causality(model, seed=3)


def test_it_leaves_the_weights_alone():
    model = small_model("qisa")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    audit_causality(model)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_its_findings_are_json():
    audit = audit_causality("qisa_published")
    found = json.loads(json.dumps(audit.to_dict()))
    assert set(found) == {field.name for field in fields(audit)}
    assert tuple(found["worst"]) == audit.worst
    assert found["sources"][0] == {**asdict(audit.sources[0]), "heads": [0, 1]}
    assert [check["name"] for check in found["checks"]] == [check.name for check in audit.checks]


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(KetformerError, match="unknown attention 'magic'; known: classical, "):
        audit_causality("magic")


def test_it_reports_each_position():
    steps = []
    audit_causality(small_model(), sequences=1, step=lambda *done: steps.append(done))
    assert steps == [(position, 16) for position in range(1, 17)]  # in two precisions

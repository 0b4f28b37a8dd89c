"""What training needs from a model: gradients, checkpointing, dropout, initialisation, types."""

import pytest
import torch

from ketformer.quantum import simulate
from mechanisms import MECHANISMS

from .helpers import assert_alike, assert_equal_to, in_both_types, small_model, some_ids

every_attention = pytest.mark.parametrize("attention", MECHANISMS)


def loss_and_gradients(model, *, seed=0):
    torch.manual_seed(seed)  # of the dropout
    model.zero_grad()
    ids = some_ids(2, 8)
    loss = model(ids, shift_labels=ids.roll(-1, dims=1)).loss
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in model.named_parameters()}


@every_attention
def test_every_parameter_has_a_finite_gradient(attention):
    _, gradients = loss_and_gradients(small_model(attention).train())
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


@every_attention
def test_training_can_follow_an_evaluation_in_inference_mode(attention):
    model = small_model(attention).train()
    simulate._kept_source.cache_clear()  # as in a fresh process
    with torch.inference_mode():
        model(some_ids(2, 8))
    _, gradients = loss_and_gradients(model)
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@in_both_types
@every_attention
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(attention, use_reentrant):
    model = small_model(attention, attn_pdrop=0.2, resid_pdrop=0.2).train()
    loss, gradients = loss_and_gradients(model)
    gradients = {name: gradient.clone() for name, gradient in gradients.items()}
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    assert model.is_activation_checkpointing
    again, recomputed = loss_and_gradients(model)
    assert torch.equal(again, loss)
    for name, gradient in gradients.items():
        assert_alike(recomputed[name], gradient)


@every_attention
def test_a_step_down_the_gradient_lowers_the_loss(attention):
    model = small_model(attention)
    before, gradients = loss_and_gradients(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter -= 1e-3 * gradients[name]
    after, _ = loss_and_gradients(model)
    assert after < before


@pytest.mark.parametrize("key", ["embd_pdrop", "attn_pdrop", "resid_pdrop"])
def test_each_dropout_acts_in_training_only(key):
    none = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    plain, dropping = small_model(**none), small_model(**{**none, key: 0.5})
    expected = plain(some_ids(2, 5)).logits
    assert torch.equal(dropping(some_ids(2, 5)).logits, expected)
    assert torch.equal(plain.train()(some_ids(2, 5)).logits, expected)
    assert not torch.equal(dropping.train()(some_ids(2, 5)).logits, expected)


def test_weights_start_with_the_standard_deviation_that_was_asked_for():
    model = small_model(initializer_range=0.05, hidden_size=64, num_attention_heads=4)
    weight = model.model.layers[0].mlp.up_proj.weight  # 256 x 64
    assert weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert (model.lm_head.bias == 0).all()


def test_without_an_initializer_range_layers_start_as_in_torch():
    model = small_model(initializer_range=None, hidden_size=64, num_attention_heads=4)
    weight = model.model.layers[0].mlp.up_proj.weight
    assert weight.abs().max().item() <= 64**-0.5  # uniform within that bound
    assert weight.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(1, rel=0.2)


@every_attention
def test_bfloat16_agrees_with_float32_within_its_precision(attention):
    model = small_model(attention, initializer_range=0.05)
    expected = model(some_ids(2, 8)).logits
    logits = model.bfloat16()(some_ids(2, 8)).logits
    assert logits.dtype is torch.bfloat16
    assert_equal_to(0.02 * expected.abs().max().item() + 0.01, logits.float(), expected)


@every_attention
def test_mixed_precision_trains(attention):
    model = small_model(attention).train()
    with torch.autocast("cpu", torch.bfloat16):
        _, gradients = loss_and_gradients(model)
    assert all(gradient.isfinite().all() for gradient in gradients.values())

"""The likelihoods are those of sampling, and the loss pulls towards the augmented one."""

import itertools

import pytest
import torch

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.optimisation.objective import log_likelihoods, reinvent_loss

BOS, EOS, PAD = 0, 1, 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = KetformerConfig(
        vocab_size=5,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=3,
        initializer_range=0.5,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return KetformerForCausalLM(config).eval()


def every_sequence():
    """All that can be sampled: up to three tokens, which end or fill the context."""
    for length in range(4):
        for tokens in itertools.product((3, 4), repeat=length):
            yield [*tokens, EOS][:3] + [PAD] * (2 - length)


def test_the_probabilities_of_all_sequences_add_up_to_one(model):
    ids = torch.tensor(list(every_sequence()))
    assert ids.shape == (15, 3)
    with torch.no_grad():
        logs = log_likelihoods(model, ids, never=[BOS, PAD])
    assert logs.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert len(set(logs.tolist())) == 15


def test_padding_gives_no_gradient_that_is_not_finite(model):
    log_likelihoods(model, torch.tensor([[3, EOS, PAD]]), never=[BOS, PAD]).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()


def test_the_loss_is_least_at_the_augmented_likelihood():
    prior, scores = torch.tensor([-3.0, -8.0]), torch.tensor([0.5, 0.0])
    agent = torch.tensor([2.0, -8.0])
    assert reinvent_loss(agent, prior, scores, sigma=10.0) == 0
    assert reinvent_loss(agent + 2, prior, scores, sigma=10.0) == 4

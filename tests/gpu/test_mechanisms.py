"""Mechanisms and models on a GPU: the contract, the CPU's numbers, one graph, no waiting."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from attention.conftest import CASES, case_id
from ketformer.attention._trials import Case
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.registry import causal_mechanisms
from models.helpers import VOCABULARY, small_model, some_ids

CAUSAL = causal_mechanisms()
every_mechanism = pytest.mark.parametrize("attention", CAUSAL)


@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_contract_holds_on_a_gpu(gpu, case, check):
    name, hidden_size, num_heads, options = case
    check(name, hidden_size, num_heads, device=gpu, **options)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_outputs_and_gradients_equal_those_of_the_cpu(gpu, case):
    name, hidden_size, num_heads, options = case
    outcomes = []
    for device in (torch.device("cpu"), gpu):
        subject = Case(name, hidden_size, num_heads, options, device)
        attention = subject.build(dtype=torch.float64)
        batch = subject.batch(3, 40, dtype=torch.float64)
        outcomes.append(batch.outcome(attention, batch.with_gaps().mask()))
    expected, found = outcomes
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].is_cuda
        torch.testing.assert_close(found[key].cpu(), value, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("attention", ["classical", "qisa", "qisa_a", "qsann", "overlap"])
def test_a_compiled_training_step_gives_the_same_gradients(gpu, attention):
    model = small_model(attention).to(gpu).double()
    ids = some_ids(4, 8).to(gpu)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True)
    gradients = []
    for each in (model, compiled):
        cross_entropy(each(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        gradients.append({key: p.grad for key, p in each.named_parameters() if p.grad is not None})
    expected, found = gradients
    assert len(expected) == len(found)
    for (key, value), (_, other) in zip(expected.items(), found.items(), strict=True):
        torch.testing.assert_close(other, value, atol=1e-9, rtol=1e-9, msg=key)


@every_mechanism
def test_a_step_never_waits_for_the_gpu(gpu, attention):
    """A pass forward and back starts its kernels without asking for a number."""
    model = small_model(attention).to(gpu).train()
    ids = some_ids(4, 8).to(gpu)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0

    def step():
        for inputs in ({}, {"attention_mask": mask}):
            model(input_ids=ids, labels=ids, use_cache=False, **inputs).loss.backward()

    step()  # tables that are made once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_mechanism
@pytest.mark.parametrize("way", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
def test_it_writes_what_it_writes_on_the_cpu(gpu, attention, way):
    """Greedily and with beams, from prompts padded on the left."""
    model = small_model(attention).double()
    ids = some_ids(3, 4)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, **way}
    expected = model.generate(ids, attention_mask=mask, **options)
    model.to(gpu)
    found = model.generate(ids.to(gpu), attention_mask=mask.to(gpu), **options)
    assert found.cpu().tolist() == expected.tolist()


@every_mechanism
def test_mixed_precision_trains(gpu, attention):
    model = small_model(attention).to(gpu).train()
    ids = torch.arange(8, device=gpu).remainder(VOCABULARY).expand(16, -1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]

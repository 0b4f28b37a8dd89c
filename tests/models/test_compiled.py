"""``torch.compile`` makes one graph of the decoder, with conditions and an attention mask."""

import pytest
import torch
from torch._dynamo.utils import counters

from ketformer.utils.conformance import all_alike

from .helpers import pad, some_ids
from .test_conditions import TABLES, TWO, conditional, kind_id, some_conditions

# Each mechanism is compiled by itself in attention/test_conformance.py. The decoder gives all of
# them the same, but for those with tables of its tokens, and knows whether they leak.
KINDS = [("classical", TWO), ("qsann", TWO), ("qisa_published", TWO), *TABLES]

STILL = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "mlp_pdrop": 0.0}


def outcome(called, model, ids, **inputs):
    """The logits, and the gradients of the loss with respect to every parameter."""
    model.zero_grad()
    output = called(ids, shift_labels=ids, use_cache=False, **inputs)
    output.loss.backward()
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"output": output.logits.detach(), **named}


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_one_graph_with_conditions_and_a_mask(kind):
    torch.compiler.reset()
    counters.clear()
    model = conditional(kind, num_hidden_layers=1, **STILL).double().train()
    ids, mask = pad([some_ids(1, length)[0] for length in (6, 4)], 6, "left")
    inputs = {"conditions": some_conditions(2).double(), "attention_mask": mask}
    # Dynamo and the autograd tracer, without the minutes of code generation.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    found = outcome(compiled, model, ids, **inputs)
    all_alike("compiled", found, outcome(model, model, ids, **inputs))
    # Other numbers in the same graph: an unknown condition, padding elsewhere.
    inputs["conditions"][0, 1] = torch.nan
    inputs["attention_mask"] = mask.flip(1)
    found = outcome(compiled, model, ids, **inputs)
    all_alike("compiled", found, outcome(model, model, ids, **inputs))
    assert counters["stats"]["unique_graphs"] == 1


def test_one_graph_where_conditions_are_hidden():
    torch.compiler.reset()
    model = conditional(condition_pdrop=0.5, num_hidden_layers=1, **STILL).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    ids, values = some_ids(6, 4), some_conditions(6)
    drawn = [compiled(ids, conditions=values, use_cache=False).logits for _ in range(2)]
    assert not torch.equal(*drawn)

"""What a GPU needs, shown without one.

Training never makes the program wait, and writing does so once a token. No complex numbers are met
by torch's compiler, which has no code for them.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ketformer.attention.registry import causal_mechanisms
from ketformer.generation.decoding import sample_sequences
from ketformer.quantum import native

from .helpers import CAUSAL, small_model, some_ids

# What needs the value of a tensor, or a size that depends on one, before the program goes on.
_WAITING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "bincount"}
_INDEXING = {"index", "index_put", "index_put_"}
# The argument that is copied.
_COPYING = {"_to_copy": 0, "copy_": 1}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    """Without the kernels that the processor has."""
    monkeypatch.setattr(native, "library", lambda: None)


class Waits(TorchDispatchMode):
    """Collects the operations that would make a program wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__.strip()
        chosen = args[1] if name in _INDEXING else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in chosen)
        if name in _WAITING or by_mask:
            self.found.append(name)
        result = function(*args, **(kwargs or {}))
        if name in _COPYING:  # from the processor's memory to that of the device
            source = args[_COPYING[name]]
            if source.device.type == "cpu" and result.device.type != "cpu":
                self.found.append(name)
        return result


def test_it_finds_what_waits():
    numbers = torch.arange(3)
    with Waits() as waits:
        assert numbers[1] > 0
        numbers[numbers > 1] += 1
        float(numbers.sum())
        numbers[torch.tensor([0])] += 1
        numbers.to("meta").copy_(numbers)
    waiting = ["_local_scalar_dense", "index", "index_put_", "_local_scalar_dense"]
    assert waits.found == [*waiting, "_to_copy", "copy_"]


@pytest.mark.parametrize("attention", causal_mechanisms())
def test_a_training_step_never_waits(attention):
    """On a device without numbers, which shows what is copied to it."""
    model = small_model(attention).train().to("meta")
    ids = some_ids(4, 8).to("meta")
    mask = torch.ones_like(ids)
    mask[0, :3] = 0

    def step():
        for inputs in ({}, {"attention_mask": mask}):
            model(input_ids=ids, labels=ids, use_cache=False, **inputs).loss.backward()

    step()  # tables that are made once may wait
    with Waits() as waits:
        step()
    assert waits.found == []


@pytest.mark.parametrize("attention", CAUSAL)
def test_writing_waits_once_a_token(attention):
    """The rows that have ended are dropped, so their number must be known.

    Kept unitaries also compare their angles, which costs less than building them again.
    """
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = small_model(attention, **special)
    generator = torch.Generator().manual_seed(0)
    sample_sequences(model, 4, generator=generator)
    with Waits() as waits:
        written = sample_sequences(model, 4, generator=generator, top_p=0.9)
    own = [name for name in waits.found if name != "equal"]
    assert own == ["nonzero"] * written.shape[1]


class ComplexNumbers(TorchDispatchMode):
    """Notes whether an operation gives any."""

    found = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.found |= any(tensor.is_complex() for tensor in tensors)
        return result


@pytest.mark.parametrize("attention", causal_mechanisms())
def test_steps_with_complex_numbers_are_not_compiled(attention):
    """With a static cache, `generate` on a GPU compiles the step unless it is told not to."""
    model = small_model(attention).eval()
    with torch.no_grad():
        prompt = model(some_ids(2, 5))
        with ComplexNumbers() as numbers:
            model(some_ids(2, 1), past_key_values=prompt.past_key_values)
    assert bool(model.generation_config.disable_compile) == numbers.found

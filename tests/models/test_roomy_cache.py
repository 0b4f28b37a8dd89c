"""The roomy cache holds what transformers' growing one holds, whatever is done to it."""

import torch
from hypothesis import given, settings, strategies as st
from transformers.cache_utils import DynamicCache

from ketformer.models.roomy_cache import roomy_cache
from models.helpers import small_model, some_ids

HEADS, WIDTH = 2, 3
actions = st.one_of(
    st.tuples(st.just("update"), st.integers(1, 40)),
    st.tuples(st.just("select"), st.integers(0, 10)),
    st.tuples(st.just("reorder"), st.integers(0, 10)),
    st.tuples(st.just("repeat"), st.integers(1, 2)),
    st.tuples(st.just("crop"), st.integers(1, 5)),
    st.tuples(st.just("reset"), st.just(0)),
)


def act(cache, action, number, rows, generator):
    """Apply the action; return the number of rows afterwards."""
    length = cache.get_seq_length()
    if action == "update":
        for layer in range(2):
            new = torch.randn(2, rows, HEADS, number, WIDTH, generator=generator)
            cache.update(*new, layer)
    elif action == "reset":
        cache.reset()
    elif length > number:
        some = torch.randint(rows, (rows,), generator=generator)
        if action == "select":
            cache.batch_select_indices(some[: max(rows - 1, 1)])
            return max(rows - 1, 1)
        if action == "reorder":
            cache.reorder_cache(some)
        elif action == "repeat" and rows < 20:
            cache.batch_repeat_interleave(number)
            return rows * number
        elif action == "crop":
            cache.crop(-number)
    return rows


@settings(max_examples=60, deadline=None)
@given(st.lists(actions, min_size=1, max_size=12), st.integers(0, 1000))
def test_it_holds_what_the_growing_cache_holds(steps, seed):
    caches = [roomy_cache(), DynamicCache()]
    generators = [torch.Generator().manual_seed(seed) for _ in caches]
    rows = 3
    for action, number in steps:
        (rows, other) = (
            act(cache, action, number, rows, generator)
            for cache, generator in zip(caches, generators, strict=True)
        )
        assert rows == other
        ours, theirs = caches
        assert ours.get_seq_length() == theirs.get_seq_length()
        for mine, reference in zip(ours.layers, theirs.layers, strict=True):
            if reference.keys is not None:
                assert torch.equal(mine.keys, reference.keys)
                assert torch.equal(mine.values, reference.values)


def test_a_new_token_moves_nothing_while_there_is_room():
    model, cache = small_model(), roomy_cache()
    with torch.no_grad():
        model(some_ids(2, 4), past_key_values=cache)
        before = cache.layers[0].keys.data_ptr()
        for _ in range(5):
            model(some_ids(2, 1), past_key_values=cache)
    assert cache.layers[0].keys.data_ptr() == before
    assert cache.get_seq_length() == 9


def test_rows_that_are_left_move_back_into_the_same_room():
    cache = roomy_cache()
    cache.update(*torch.ones(2, 3, 1, 2, 1), 0)
    room = cache.layers[0].keys.data_ptr()
    cache.batch_select_indices(torch.tensor([0, 2]))
    keys, _ = cache.update(*torch.zeros(2, 2, 1, 1, 1), 0)
    assert keys.data_ptr() == room
    assert keys.flatten(1).tolist() == [[1, 1, 0]] * 2

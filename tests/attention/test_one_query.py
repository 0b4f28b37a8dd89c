"""One query of each sequence in a native call, against the readable reference."""

import math

import pytest
import torch

from ketformer.attention.mixing import joined
from ketformer.attention.one_query import can_mix, mix_one_query
from ketformer.attention.scores import SCORES, reference_scores, weights_of
from ketformer.quantum import native

from .helpers import assert_equal_to

pytestmark = pytest.mark.skipif(native.library() is None, reason="no native kernels here")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


def some(*shape, dtype=torch.float64, seed=0):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * drawn).to(dtype)


def expected(score, queries, keys, values, mask):
    if mask is None:
        mask = torch.ones(keys.shape[-2], dtype=torch.bool)
    scores = reference_scores(score, queries.double(), keys.double(), 1.3, 0.7)
    return weights_of(scores, mask, "softmax", 0.0) @ values.double()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_width_and_mask(score, dtype):
    seen = torch.rand(3, 1, 1, 11, generator=torch.Generator().manual_seed(1)) < 0.6
    seen[1] = False  # no key at all
    scale = (0.7 if score in ("dot", "square", "absolute") else 1.0) / 1.3
    for width, mixed in ((1, 16), (7, 3), (16, 16), (64, 5)):
        queries = some(3, 2, 1, width, dtype=dtype) / width**0.5
        room = some(2, 3, 2, 16, max(width, mixed), dtype=dtype, seed=2)[:, :, :, :11]
        keys, values = room[0, ..., :width], room[1, ..., :mixed]
        for mask in (None, seen, seen[:1]):
            assert can_mix(queries, keys, values)
            found = mix_one_query(score, scale, queries, keys, values, mask)
            assert_equal_to(
                TOLERANCE[dtype], found.double(), expected(score, queries, keys, values, mask)
            )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("score", ["dot", "square", "absolute"])
def test_keys_in_two_parts(score, dtype):
    seen = torch.rand(3, 1, 1, 11, generator=torch.Generator().manual_seed(1)) < 0.6
    for parts in ((8, 8), (8, 4), (2, 1), (3, 5)):
        queries = some(3, 2, 1, math.prod(parts), dtype=dtype) / math.prod(parts)
        keys, values = some(3, 2, 11, sum(parts), dtype=dtype), some(3, 2, 11, 5, dtype=dtype)
        found = mix_one_query(score, 0.7 / 1.3, queries, keys, values, seen, parts)
        whole = joined(keys.double(), parts)
        assert_equal_to(
            TOLERANCE[dtype], found.double(), expected(score, queries, whole, values, seen)
        )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_scores_far_apart_and_on_several_threads(dtype, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("ketformer.attention.one_query._GRAIN", 1)
    queries, keys = some(2, 3, 1, 4, dtype=dtype), 300 * some(2, 3, 9, 4, dtype=dtype, seed=1)
    values = some(2, 3, 9, 2, dtype=dtype, seed=2)
    found = mix_one_query("dot", 0.7 / 1.3, queries, keys, values, None)
    assert_equal_to(1e-4, found.double(), expected("dot", queries, keys, values, None))


def test_what_needs_gradients_or_another_type_is_left_to_torch():
    queries, keys, values = some(1, 2, 1, 4), some(1, 2, 5, 4), some(1, 2, 5, 4)
    assert can_mix(queries, keys, values)
    assert not can_mix(queries, keys, values.requires_grad_())
    assert not can_mix(queries, keys.float(), values.detach())
    assert not can_mix(*(x.bfloat16() for x in (queries, keys, values.detach())))
    assert not can_mix(queries.expand(1, 2, 2, 4), keys, values.detach())

"""The package's own tests: Ketformer's suites, in two lines each."""

import pytest
from ketformer_cosine.backend import Again

from ketformer.attention.conformance import CONFORMANCE as OF_ATTENTION
from ketformer.models.feed_forward.conformance import CONFORMANCE as OF_FEED_FORWARD
from ketformer.quantum.backends.conformance import CONFORMANCE as OF_BACKENDS


@pytest.mark.parametrize("check", OF_ATTENTION, ids=str)
def test_attention(check):
    check("cosine")


@pytest.mark.parametrize("check", OF_FEED_FORWARD, ids=str)
def test_feed_forward(check):
    check("wave")


@pytest.mark.parametrize("check", OF_BACKENDS, ids=str)
def test_backend(check):
    check(Again)

"""The pytest plugin: a fixture that fails a test if a model sees the future.

It lies outside the package, so that pytest starts as before: nothing of Ketformer, torch or
transformers is imported until a test asks for the fixture and calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from ketformer.audit import Audit


class AssertCausal(Protocol):
    """The type of the fixture :func:`assert_causal`."""

    def __call__(self, model: Any, vocab_size: int | None = None, **options: Any) -> Audit:
        """Fail if a position sees a later one, or a row of the batch another row."""
        ...


@pytest.fixture(scope="session")
def assert_causal() -> AssertCausal:
    """``assert_causal(model)`` fails if a position sees a later one, or a row another row.

    Takes what :func:`ketformer.audit_causality` takes, and returns what it returns, so that a test
    can go on with ``.check("cache").passed``.
    """

    def check(model: Any, vocab_size: int | None = None, **options: Any) -> Audit:
        __tracebackhide__ = True  # the line in the test is what matters
        from ketformer import audit_causality

        audit = audit_causality(model, vocab_size, **options)
        if audit.leaks:
            raise AssertionError("\n".join([f"{audit.attention} leaks", *audit.findings()]))
        return audit

    return check

"""A set by hashes answers as a set does, and stays small."""

import tracemalloc

import numpy as np
from hypothesis import given, strategies as st

from ketformer.tasks.molecules.seen import Seen

TEXTS = st.lists(st.lists(st.none() | st.text("CNO", max_size=3), max_size=9), max_size=12)


@given(TEXTS)
def test_it_answers_as_a_set_does(blocks):
    seen, expected = Seen(), set()
    for block in blocks:
        before = []
        for text in block:
            before.append(text in expected)
            expected |= {text} - {None}
        assert seen.add(block).tolist() == before
    assert len(seen) == len(expected)


def test_a_text_takes_eight_bytes():
    blocks, rows = 40, 2_000
    tracemalloc.start()
    seen = Seen()
    for block in range(blocks):
        assert not seen.add([f"molecule {block} {row}" for row in range(rows)]).any()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 8 * blocks * rows <= kept < 9 * blocks * rows
    assert peak < 32 * blocks * rows
    assert np.all(seen.add([f"molecule 0 {row}" for row in range(rows)]))

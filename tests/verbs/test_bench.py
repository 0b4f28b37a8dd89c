"""``ketformer bench``: ratios that are made of the times beside them."""

import pytest


def test_circuits_are_timed_beside_the_closed_form(ketformer):
    options = ["--backends", "torch", "pennylane", "--length", 3, "--repeats", 2, "--json"]
    done = ketformer("bench", "circuits", *options)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    assert [row["name"] for row in rows] == 2 * ["closed form", "torch", "pennylane"]
    for start in (0, 3):
        closed = rows[start]
        assert closed["ratio"] == 1
        for row in rows[start : start + 3]:
            assert row["against"] == "closed form"
            assert row["ratio"] == pytest.approx(row["median_ms"] / closed["median_ms"])
            assert row["low_ms"] <= row["median_ms"] <= row["high_ms"]
            assert row["device"] == "cpu"
    assert rows[0]["work"] == "overlap scores, 6 circuits of 7 qubits"
    assert done.json["machine"]["cpu"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["generation"], "unknown benchmark 'generation'"),
        (["circuits", "--backends", "qulacs"], "unknown backend 'qulacs'"),
        (["circuits", "--repeats", "0"], "must be positive"),
    ],
)
def test_mistakes(ketformer, args, told):
    ketformer("bench", *args).assert_mistake(told)

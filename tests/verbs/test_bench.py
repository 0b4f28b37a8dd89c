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
        (["attention", "--sizes", "huge"], "unknown size 'huge'"),
        (["attention", "--mechanisms", "linear"], "linear"),
        (["attention", "--repeats", "0"], "must be positive"),
        (["circuits", "--backends", "qulacs"], "unknown backend 'qulacs'"),
        (["circuits", "--repeats", "0"], "must be positive"),
    ],
)
def test_mistakes(ketformer, args, told):
    ketformer("bench", *args).assert_mistake(told)


def test_mechanisms_are_timed_beside_the_classical_one(ketformer, monkeypatch):
    import ketformer.cli.bench as verb
    from ketformer.attention_bench import Size

    monkeypatch.setattr(verb, "SIZES", {"tiny": Size("tiny", 8, 1, 2, 4, 3)})
    options = ["--mechanisms", "qisa", "overlap", "--sizes", "tiny", "--repeats", 2, "--json"]
    done = ketformer("bench", "attention", *options)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    for what, part in (("inference", rows[:3]), ("training step", rows[3:])):
        assert [row["name"] for row in part] == ["classical", "qisa", "overlap"]
        for row in part:
            assert row["work"] == f"{what}, tiny"
            assert row["ratio"] == pytest.approx(row["median_ms"] / part[0]["median_ms"])

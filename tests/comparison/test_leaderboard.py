"""``ketformer leaderboard``: its arms, and what it makes of results whose truth is known."""

import csv
import io
import json

import pytest
from scipy import stats

from ketformer.attention import attention_class
from ketformer.attention.registry import causal_mechanisms
from ketformer.cli import leaderboard as verb
from ketformer.comparison import leaderboards as module
from ketformer.comparison.leaderboards import (
    TERMS,
    Terms,
    arms_of,
    joined,
    ranking,
    records_of,
    sentences,
)
from ketformer.comparison.statistics import summarise
from ketformer.errors import KetformerError

TEXT = TERMS["text"].settings({})
SEEDS = (0.0, 0.01, 0.02, 0.03)
WOBBLE = (0.001, -0.001, 0.002, -0.002)
LENGTH = 4


def made(losses, causal=True):
    """A result of `compare` on text; each row's losses differ by seed as those of all others do."""
    rows = [
        {
            "name": name,
            "attention": name.partition(":")[0],
            "attention_options": {"matrices": "free"} if "free" in name else {},
            "control": None,
            "parameters": 100,
            "learning_rate": 0.003,
            "relative_inference_time": 1.5,
            "causal": causal,
            "prefix_cross_entropy": summarise(
                [loss + seed + (i % 3) * w for seed, w in zip(SEEDS, WOBBLE, strict=True)]
            ),
            "prefix_cross_entropy_by_position": [loss] * LENGTH,
        }
        for i, (name, loss) in enumerate(losses.items())
    ]
    return {
        "settings": TEXT.to_dict(),
        "seeds": [1, 2, 3, 4],
        "rows": rows,
        "notes": ["± no.", "N."],
    }


@pytest.fixture(scope="module")
def board():
    """A gain that a twin explains, one that nothing explains, and none."""
    losses = {
        "classical": 2.0,
        "overlap": 1.8,
        "classical_fourier": 1.82,
        "overlap:entanglement=none": 1.95,
        "vqc": 2.1,
        "classical_tanh": 2.05,
        "classical_qk_norm": 1.99,
        "classical:positions=learned": 2.5,
        "quixer:positions=learned": 2.3,
        "quixer:matrices=free,positions=learned": 2.49,
    }
    return joined({"text": made(losses)}, {"text": {"tensorized:positions=learned": "too large"}})


def row_of(board, name):
    return next(row for row in board["tasks"]["text"]["rows"] if row["name"] == name)


def test_the_lowest_loss_comes_first(board):
    names = [row["name"] for row in board["tasks"]["text"]["rows"]]
    assert names[:3] == ["overlap", "classical_fourier", "overlap:entanglement=none"]
    assert names[-1] == "classical:positions=learned"


def test_a_mechanism_is_judged_by_its_twins_and_classical_rows_at_its_positions(board):
    explained = row_of(board, "overlap")
    assert explained["twin"] == "classical_fourier"
    assert explained["difference"]["difference"] == pytest.approx(-0.02)
    assert len(explained["difference"]["values"]) == len(SEEDS)
    verdict = explained["verdict"]
    assert verdict["difference"] == pytest.approx(-0.2)
    shares = {share["control"]: share["share"] for share in verdict["attribution"]}
    # Its twins and what no other names as one: not `classical_tanh`, which is `vqc`'s.
    assert {*shares} == {"classical_fourier", "overlap:entanglement=none", "classical_qk_norm"}
    assert shares["classical_fourier"] == pytest.approx(0.9)
    assert shares["overlap:entanglement=none"] == pytest.approx(0.25)

    none = row_of(board, "vqc")
    assert (none["twin"], none["verdict"]["answer"]) == ("classical_tanh", "no gain")

    apart = row_of(board, "quixer:positions=learned")
    assert apart["positions"] == "learned"
    assert apart["twin"] == "quixer:matrices=free,positions=learned"
    assert apart["verdict"]["answer"] == "not explained"
    assert apart["verdict"]["difference"] == pytest.approx(-0.2)  # not to the rotary row's 2.0
    assert [s["control"] for s in apart["verdict"]["attribution"]] == [apart["twin"]]


def test_gains_are_adjusted_for_the_number_of_mechanisms(board):
    found = {row["name"]: row["verdict"] for row in rows_with_verdict(board)}
    assert len(found) == 3
    usual = {"overlap": "classical", "vqc": "classical"}
    usual["quixer:positions=learned"] = "classical:positions=learned"
    alone = {
        name: stats.ttest_rel(*(row_of(board, n)["loss"]["values"] for n in (name, beside))).pvalue
        for name, beside in usual.items()
    }
    smallest = min(alone, key=alone.get)
    assert found[smallest]["p"] == pytest.approx(3 * alone[smallest])


def test_a_twin_is_not_judged(board):
    for name in ("classical", "classical_fourier", "overlap:entanglement=none"):
        assert not {"verdict", "twin"} & {*row_of(board, name)}
    assert "classical" not in [row["verdict"]["mechanism"] for row in rows_with_verdict(board)]


def rows_with_verdict(board):
    return [row for row in board["tasks"]["text"]["rows"] if "verdict" in row]


def test_circuits_are_counted_for_a_token(board):
    """Four heads; `vqc` has three circuits of four CNOTs, `overlap` one for each pair i >= j."""
    vqc, overlap = row_of(board, "vqc"), row_of(board, "overlap")
    assert (vqc["circuits"], vqc["two_qubit_gates"]) == (12, 48)
    assert overlap["circuits"] == 4 * (LENGTH + 1) / 2
    assert row_of(board, "classical")["circuits"] == 0


def test_the_table_has_all_of_it(board):
    task = board["tasks"]["text"]
    table = ranking(task)
    assert len(table.rows) == len(task["rows"])
    first = dict(zip(table.titles, table.rows[0], strict=True))
    assert first["mechanism"] == "overlap"
    assert first["difference to it"].startswith("-0.020 ± ")
    assert first["twin"] == "classical_fourier"
    answers = {row[1]: row[-1] for row in table.rows}
    assert answers["classical"] == "classical"
    assert answers["overlap:entanglement=none"] == "a twin"
    assert answers["quixer:positions=learned"] == "not explained"
    assert len(sentences(task)) == 3
    assert "Left out: too large." in task["notes"]
    assert "N." in task["notes"]
    assert "± no." not in task["notes"]
    assert any("quixer:positions=learned" in note for note in task["notes"])
    assert [record["place"] for record in records_of(board)] == [*range(1, 11)]


def test_results_without_the_reference_or_a_loss_are_refused():
    with pytest.raises(KetformerError, match=r"quixer.*learned positions.*classical"):
        joined({"text": made({"classical": 2.0, "quixer:positions=learned": 1.9})})
    broken = made({"classical": 2.0, "vqc": 2.0})
    broken["rows"][1]["prefix_cross_entropy"] = summarise([None, 1.0, 1.0, 1.0])
    with pytest.raises(KetformerError, match="vqc has no prefix_cross_entropy"):
        joined({"text": broken})


def test_what_leaks_has_no_gain_whatever_its_loss():
    result = made({"classical": 2.0, "vqc": 0.1})
    result["rows"][1]["causal"] = False
    assert row_of(joined({"text": result}), "vqc")["verdict"]["answer"] == "leaks"


def test_the_board_has_every_causal_mechanism_with_its_twins():
    arms = arms_of([], TEXT)
    assert arms[0] == "classical"
    assert len({*arms}) == len(arms)
    for name in causal_mechanisms():
        group = (name, *attention_class(name).twins)
        learned = [f"{arm}{',' if ':' in arm else ':'}positions=learned" for arm in group]
        assert {*group} <= {*arms} or {*learned} <= {*arms}, name
    assert not [arm for arm in arms if attention_class(arm.partition(":")[0]).leaks]


def test_positions_are_those_that_a_mechanism_and_its_twins_have():
    assert arms_of(["vqc"], TEXT) == ["classical", "vqc", "classical_tanh"]
    assert arms_of(["vqc:layers=2"], TEXT) == ["classical", "vqc:layers=2", "classical_tanh"]
    both = ["qmsan", "classical", "qmsan", "classical_linear"]  # only the twin has no rotary ones
    assert arms_of(["qmsan"], TEXT) == [
        "classical", both[0], *(f"{arm}:positions=learned" for arm in both[1:]),
    ]  # fmt: skip
    assert arms_of(["quixer:degree=1"], TEXT) == [
        "classical", "classical:positions=learned", "quixer:degree=1,positions=learned",
        "quixer:matrices=free,positions=learned",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("qisa_published", "leaks"),
        ("overlap+classical", "a hybrid has no twins"),
        ("nonsense", "nonsense"),
        ("vqc:qubits=2", "no option|an option"),
    ],
)
def test_what_cannot_be_on_it_is_refused(arm, message):
    with pytest.raises(KetformerError, match=message):
        arms_of([arm], TEXT)


@pytest.fixture
def small(tiny, monkeypatch):
    """The verb on a small text."""
    terms = {"text": Terms(str(tiny), {"max_steps": 4, "eval_steps": 2}, 2)}
    monkeypatch.setattr(verb, "TERMS", terms)
    return terms


def test_one_command_trains_joins_and_draws(ketformer, small, tmp_path):
    args = ("leaderboard", "orthogonal:layout=pyramid", "--jobs", 1, "--out", tmp_path / "board")
    done = ketformer(*args, "--plots", tmp_path / "plots", "--json")
    assert done.code == 0, done.err
    task = done.json["tasks"]["text"]
    ours = next(row for row in task["rows"] if row["name"] == "orthogonal:layout=pyramid")
    assert ours["verdict"]["seeds"] == 2
    assert ours["twin"] == "classical_bilinear"
    assert ours["circuits"] > 0
    assert json.loads((tmp_path / "board/leaderboard.json").read_text())["tasks"] == {"text": task}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "leaderboard-text.pdf",
        "leaderboard-text.svg",
    }
    weights = sorted((tmp_path / "board/text").glob("*/model.safetensors"))
    before = [path.stat().st_mtime_ns for path in weights]
    again = ketformer(*args, "--format", "csv")
    assert again.code == 0, again.err
    assert [path.stat().st_mtime_ns for path in weights] == before
    records = list(csv.DictReader(io.StringIO(again.out)))
    assert [record["name"] for record in records] == [row["name"] for row in task["rows"]]


def test_a_named_mechanism_of_another_size_is_refused(small, tmp_path, monkeypatch):
    def refuse(rows, *_):
        raise KetformerError(f"{rows[1].name} has 9 parameters at best; pass --match false")

    monkeypatch.setattr(module, "matched", refuse)
    with pytest.raises(KetformerError, match=r"^vqc has 9 parameters at best$"):
        module.leaderboard(["vqc"], tmp_path, terms=small, progress=False)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seeds", 1), "two or more seeds"),
        (("--tasks", "sound"), "unknown task sound; known: text, molecules"),
        (("--tasks", ","), "names no task"),
        (("--format", "csv", "--json"), "choose one"),
    ],
)
def test_mistakes_are_told_in_one_line(ketformer, args, message, tmp_path):
    done = ketformer("leaderboard", *args, "--out", tmp_path / "none")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "none").exists()

"""Arms of a comparison: mechanisms with options of their own, written in one word."""

import pytest
from hypothesis import given, settings, strategies as st

from ketformer.comparison import matched, rows_of
from ketformer.comparison.variants import as_file_name
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import load_settings

BASE = load_settings("char-small").override({"positions": "learned"})


def test_options_belong_to_the_mechanism_or_to_the_model():
    plain, own = rows_of(["overlap", "overlap:n_qubits=4,entanglement=none,hidden_act=relu"], BASE)
    assert plain.changes == {"attention": "overlap"}
    assert own.name == "overlap:n_qubits=4,entanglement=none,hidden_act=relu"
    assert own.changes == {
        "attention": "overlap",
        "attention_options": {"n_qubits": 4, "entanglement": "none"},
        "hidden_act": "relu",
    }
    assert own.folder == "overlap-n_qubits=4-entanglement=none-hidden_act=relu"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("0.5", 0.5), ("2", 2), ("null", None)],
)
def test_values_are_numbers_or_nothing(text, value):
    (row,) = rows_of([f"classical:initial_spread={text}"], BASE)
    assert row.changes["attention_options"] == {"initial_spread": value}


def test_an_arm_adds_to_the_options_of_the_settings():
    base = BASE.override({"attention": "overlap", "attention_options": {"n_qubits": 3}})
    (row,) = rows_of(["overlap:layers=2"], base)
    assert base.override(row.changes).model["attention_options"] == {"n_qubits": 3, "layers": 2}


def test_controls_keep_the_options_of_their_arm():
    rows = rows_of(["classical", "overlap:n_qubits=4", "qsann"], BASE, ["random_circuit"])
    names = [row.name for row in rows[3:]]
    assert names == ["overlap:n_qubits=4_random_circuit", "qsann_random_circuit"]
    assert rows[3].changes["attention_options"] == {"n_qubits": 4, "train_circuit": False}
    assert rows[3].control.startswith("overlap:n_qubits=4: ")


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ("overlap:qubits=4", "neither overlap nor the model has an option 'qubits'.*'n_qubits'"),
        ("overlap:n_qubits", "written name:option=value, got 'n_qubits'"),
        ("overlap:n_qubits=", "written name:option=value"),
        ("overlap:n_qubits=two", "n_qubits must be int or null, got 'two'"),
        ("overlap:n_qubits=[2]", "n_qubits must be int"),
        ("overlap:hidden_act=sine", "'hidden_act' must be"),
        ("overlap:attention=qisa", "neither overlap nor the model"),
        ("overlap:learning_rate=1", "neither overlap nor the model"),
        ("classical:initial_spread=NaN", "must be finite"),
        ("bogus:n_qubits=4", "unknown attention 'bogus'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(arm, told):
    with pytest.raises(KetformerError, match=told) as caught:
        rows_of(["classical", arm], BASE)
    assert "\n" not in str(caught.value)


def test_the_same_arm_twice_is_refused_however_it_is_written():
    with pytest.raises(KetformerError, match="each arm can be compared only once"):
        rows_of(["overlap:n_qubits=4,layers=2", "overlap: layers = 2, n_qubits=4"], BASE)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_an_arm_or_one_clear_line(key, value):
    complaint = ""
    try:
        (row,) = rows_of([f"overlap:{key}={value}"], BASE)
        assert row.changes["attention"] == "overlap"
    except KetformerError as error:
        complaint = str(error)
    assert len(complaint.splitlines()) <= 1


@given(st.text(max_size=40))
def test_a_file_name_holds_nothing_that_file_systems_refuse(arm):
    assert not set(as_file_name(arm)) & set('/\\:*?"<>|,\0\n ')


def test_the_table_names_the_arms_and_a_second_call_trains_nothing(
    ketformer, tiny, tmp_path, monkeypatch
):
    args = ("compare", "classical", "classical:initial_spread=1", "--preset", tiny, "--seeds", 1,
            "--rates", 1, "--jobs", 1, "--max_steps", 4, "--out", tmp_path / "c")  # fmt: skip
    done = ketformer(*args)
    assert done.code == 0, done.err
    assert "classical:initial_spread=1" in done.out
    assert (tmp_path / "c/classical-initial_spread=1-seed42/model.safetensors").is_file()
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    assert ketformer(*args).code == 0


def test_a_table_of_positions_that_is_not_there_goes_into_the_feed_forward_layer():
    rows = rows_of(["classical", "classical:positions=rotary,rotary_base=500"], BASE)
    assert rows[1].changes == {"attention": "classical", "positions": "rotary", "rotary_base": 500}
    models = [
        KetformerForCausalLM(KetformerConfig(vocab_size=65, **BASE.override(row.changes).model))
        for row in matched(rows, BASE, {"vocab_size": 65})
    ]
    sizes = [model.num_parameters() for model in models]
    one, other = (model.config for model in models)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    for_each_unit = one.num_hidden_layers * (2 * one.hidden_size + 1)
    wider = (other.intermediate_size - one.intermediate_size) * for_each_unit
    assert abs(wider - one.max_position_embeddings * one.hidden_size) <= for_each_unit
    assert [model.model.embed_positions is None for model in models] == [False, True]


def test_positions_that_a_mechanism_cannot_have_are_refused_before_anything_is_trained():
    rows = rows_of(["classical", "qisa_published:positions=none"], BASE)
    with pytest.raises(NotOfferedError, match="needs positions=learned, not none"):
        matched(rows, BASE, {"vocab_size": 65})


def test_arms_with_positions_of_their_own_are_compared(ketformer, tiny, tmp_path):
    args = ("compare", "classical", "overlap:positions=alibi",
            "--preset", tiny, "--seeds", 1, "--rates", 1, "--jobs", 1, "--max_steps", 2,
            "--out", tmp_path / "c", "--json")  # fmt: skip
    done = ketformer(*args)
    assert done.code == 0, done.err
    for row in done.json["rows"]:
        assert row["causal"] is True
    run = tmp_path / "c/overlap-positions=alibi-seed42"
    assert KetformerForCausalLM.from_pretrained(run).config.positions == "alibi"


# --- Hybrids -----------------------------------------------------------------------------------

THREE = BASE.override({"num_hidden_layers": 3})


def test_an_arm_can_name_a_mechanism_for_each_layer():
    arm = "overlap+classical+classical:hidden_act=relu"
    (row,) = rows_of([arm], THREE)
    assert row.name == arm
    assert row.changes == {
        "attention": ["overlap", "classical", "classical"],
        "hidden_act": "relu",
    }
    assert row.folder == "overlap+classical+classical-hidden_act=relu"


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ("overlap+classical", "'overlap.classical': attention names 2 mechanisms for 3 layers"),
        ("overlap+qsia+classical", "unknown attention 'qsia'"),
        ("overlap+classical+", "unknown attention ''"),
        ("overlap,classical,classical", "unknown attention 'overlap,classical,classical'"),
        ("overlap+qisa+qisa:n_qubits=4", "a hybrid has its mechanisms' own defaults; n_qubits"),
        ("overlap+qisa+qisa:qubits=4", "neither overlap.qisa.qisa nor the model has an option"),
    ],
)
def test_an_arm_that_is_no_hybrid_is_refused(arm, told):
    with pytest.raises(KetformerError, match=told) as caught:
        rows_of(["classical", arm], THREE)
    assert "\n" not in str(caught.value)


def test_controls_are_made_of_the_other_arms():
    arms = ["classical", "overlap+classical+classical", "qsann"]
    names = {row.name for row in rows_of(arms, THREE, ["all"])}
    assert "qsann_random_circuit" in names
    assert "classical_eq" in names  # the hybrid does not stand for a control of all layers
    assert not any(name.startswith("overlap") for name in names - {*arms})
    with pytest.raises(NotOfferedError, match=r"none of classical, overlap.* has a circuit"):
        rows_of(arms[:2], THREE, ["random_circuit"])
    with pytest.raises(NotOfferedError, match="only hybrids are compared"):
        rows_of(arms[:2], THREE, ["matched_start"])


def test_a_hybrid_gets_the_parameters_of_the_reference():
    base = THREE.override({"hidden_size": 16, "num_attention_heads": 2})
    rows = matched(rows_of(["classical", "overlap+qsann+qisa"], base), base, {"vocab_size": 30})
    sizes = [
        KetformerForCausalLM(
            KetformerConfig(vocab_size=30, **base.override(row.changes).model)
        ).num_parameters()
        for row in rows
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)
    assert rows[1].changes["attention"] == ["overlap", "qsann", "qisa"]

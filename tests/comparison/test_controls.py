"""The rows that ``--controls`` adds: those that apply, each with its reason and none twice."""

import pytest
import torch

from ketformer.attention import ATTENTION, build_attention
from ketformer.cli import main
from ketformer.comparison import controls, rows_of
from ketformer.comparison.tables import notes_on
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.runs import load_settings

# The usual start, which differs between mechanisms in a narrow model.
BASE = load_settings("char-small").override({"initializer_range": 0.02, "positions": "learned"})
REGISTRY = [name for name in controls() if name in ATTENTION]


def names(arms, chosen=("all",), base=BASE):
    return [row.name for row in rows_of(arms, base, chosen)][len(arms) :]


def test_every_control_has_a_description():
    assert {"classical", "classical_eq", "classical_quadratic", "classical_qk_norm"} < {*REGISTRY}
    assert {*controls()} - {*REGISTRY} == {
        "no_entanglement", "random_circuit", "token_shift", "trained_temperature", "matched_start",
        "local_start",
    }  # fmt: skip
    for told in controls().values():
        assert told
        assert "\n" not in told


def test_controls_are_rows_of_what_they_are_named_after():
    rows = rows_of(["qisa", "overlap"], BASE, ["all"])
    assert [row.name for row in rows] == [
        "qisa", "overlap", *REGISTRY, "overlap_no_entanglement", "overlap_random_circuit",
        "qisa_token_shift", "overlap_token_shift", "classical_token_shift",
        "classical_trained_temperature", "classical_qk_norm_trained_temperature",
        "classical_matched_start_qisa", "qisa_small_start",
        "classical_matched_start_overlap", "overlap_small_start",
    ]  # fmt: skip
    assert [row.name for row in rows if row.control is None] == ["qisa", "overlap"]
    by_name = {row.name: row.changes.get("attention_options") for row in rows}
    assert by_name["overlap_no_entanglement"] == {"entanglement": "none"}
    assert by_name["overlap_random_circuit"] == {"train_circuit": False}
    assert by_name["classical_token_shift"] == {"token_shift": True}
    assert by_name["classical_qk_norm_trained_temperature"] == {"learnable_temperature": True}


def test_classical_can_begin_local_where_positions_turn():
    rotary = BASE.override({"positions": "rotary"})
    assert names(["overlap"], ["local_start", "classical"], rotary)[-1] == "classical_local_start"
    with pytest.raises(KetformerError, match="belongs to classical with rotary positions"):
        names(["classical", "overlap"], ["local_start"])


def test_only_those_that_apply_are_added():
    added = names(["classical"])
    assert "classical" not in added
    assert not [name for name in added if name.endswith(("entanglement", "circuit", "start"))]
    assert "classical_token_shift" in added
    assert names(["classical"], ["classical"]) == []


def test_a_control_that_is_an_arm_already_is_left_out():
    """Also with its options written differently, or those of the model."""
    arms = ["classical:token_shift=true,score=dot", "overlap:entanglement=none", "overlap"]
    assert names(arms, ["no_entanglement", "token_shift"]) == [
        "overlap:entanglement=none_token_shift", "overlap_token_shift",
    ]  # fmt: skip
    arms = ["classical:token_shift=true,hidden_act=relu", "classical"]
    assert names(arms, ["token_shift"]) == ["classical_token_shift"]


def test_a_control_keeps_the_other_options_of_its_mechanism(tiny_molecules):
    base = load_settings(tiny_molecules)
    rows = rows_of(["overlap", "classical"], base, ["no_entanglement"])
    assert rows[2].changes["attention_options"] == {
        "angles": "embedding", "n_qubits": 6, "layers": 1, "entanglement": "none",
    }  # fmt: skip


# --- The start of the scores -------------------------------------------------------------------


def spread_in_a_model(row, base=BASE):
    """The standard deviation of scores along a row, by hand, for hidden states of a layer norm."""
    from ketformer.models import KetformerConfig, KetformerForCausalLM

    torch.manual_seed(7)
    model = KetformerForCausalLM(KetformerConfig(**base.override(row.changes).model)).eval()
    attention = model.model.layers[1].attention
    hidden = torch.nn.functional.layer_norm(torch.randn(1, 200, attention.hidden_size), (64,))
    with torch.no_grad():
        query, key, _ = attention.project(hidden)
    scores = (query @ key.mT) * attention.dot_scale(key.shape[-1])
    return float(scores.std(-1).square().mean().sqrt())


def test_matched_starts_are_equal_in_the_models_that_are_trained():
    classical, overlap, matched, small = rows_of(
        ["classical", "overlap:n_qubits=3"], BASE, ["matched_start"]
    )
    assert matched.name == "classical_matched_start"
    assert small.name == "overlap:n_qubits=3_small_start"
    assert small.changes["attention_options"]["n_qubits"] == 3
    spreads = {row.name: spread_in_a_model(row) for row in (classical, overlap, matched, small)}
    assert spreads[overlap.name] > 10 * spreads["classical"]
    assert spreads["classical_matched_start"] == pytest.approx(spreads[overlap.name], rel=0.2)
    assert spreads[small.name] == pytest.approx(spreads["classical"], rel=0.2)
    reached = matched.changes["attention_options"]["initial_spread"]
    assert f"the spread of overlap:n_qubits=3, {reached:g} instead of" in matched.control


def test_equal_starts_need_no_control():
    arms = ["classical:initial_spread=1", "overlap:initial_spread=1", "qisa:initial_spread=1"]
    assert names(arms, ["matched_start"]) == []


def test_measuring_the_start_draws_no_random_numbers():
    before = torch.random.get_rng_state()
    assert names(["qisa"], ["matched_start"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_mechanism_whose_start_cannot_be_set_has_no_small_one():
    assert names(["classical", "qsann"], ["matched_start"]) == ["classical_matched_start"]


def test_a_mechanism_that_starts_smaller_has_no_small_one():
    arms = ["classical:initial_spread=1", "classical_quadratic:initial_spread=0.1"]
    assert names(arms, ["matched_start"]) == ["classical:initial_spread=1_matched_start"]


# --- Mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "control", "told"),
    [
        (["classical", "qisa"], "random_circuit", "none of classical, qisa has a circuit"),
        (["qisa_published"], "token_shift", "none of qisa_published has the option token_shift"),
        (["qisa", "overlap"], "trained_temperature", "belongs to classical or classical_qk_norm"),
        (["classical"], "matched_start", "only classical is compared, with its own start"),
        (["overlap"], "entanglement", "unknown control entanglement; known: classical"),
    ],
)
def test_what_applies_to_nothing_is_refused_by_name_and_left_out_of_all(arms, control, told):
    with pytest.raises(KetformerError, match=told) as caught:
        rows_of(arms, BASE, [control])
    assert "\n" not in str(caught.value)
    rows_of(arms, BASE, ["all"])  # says nothing


def test_every_row_builds_and_the_table_tells_its_reason():
    rows = rows_of(["overlap", "qsann"], BASE, ["all"])
    for row in rows:
        options = row.changes.get("attention_options", {})
        assert build_attention(row.changes["attention"], 16, 2, **options).is_causal
    shown = [{"name": row.name, "control": row.control, "causal": True} for row in rows]
    settings = {"training": {"max_steps": 3}}
    notes = notes_on({"rows": shown, "seeds": [1], "settings": settings})
    for row in rows[2:]:
        assert f"{row.name} is a control: {row.control}." in notes


def test_the_help_lists_them(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"separated by commas: {', '.join(controls())}, or all" in shown


def test_a_mechanism_without_scores_has_no_start_to_match_and_no_alibi():
    found = names(["pam"])
    assert "classical_gated_linear" in found
    assert not any("matched_start" in name or "small_start" in name for name in found)
    with pytest.raises(NotOfferedError, match="matched_start: PAM has no scores"):
        rows_of(["pam"], BASE, ["matched_start"])
    # The start of another arm can still be matched.
    both = names(["pam", "qisa"], ["matched_start"])
    assert "classical_matched_start_qisa" in both
    alibi = BASE.override({"positions": "alibi"})
    assert "classical_gated_linear" not in names(["qisa"], base=alibi)


def test_a_control_that_cannot_have_the_positions_is_left_out():
    assert "classical_linear" in names(["qisa"], base=BASE.override({"positions": "learned"}))
    assert "classical_linear" not in names(["qisa"], base=BASE.override({"positions": "rotary"}))


def test_controls_that_an_arm_does_not_offer_are_left_out():
    """A kernel by default has no trained angles in its circuit, and no softmax."""
    added = names(["overlap", "kernel"], ["no_entanglement", "random_circuit", "matched_start"])
    assert added == [
        "overlap_no_entanglement", "kernel_no_entanglement", "overlap_random_circuit",
        "classical_matched_start_overlap", "overlap_small_start",
    ]  # fmt: skip
    with pytest.raises(KetformerError, match="whose own angles are trained"):
        names(["kernel"], ["random_circuit"])

"""Requests of the page to a molecule model."""

import csv

import numpy as np
import pytest
from rdkit import Chem

from ketformer.app.conditions import ask, counts_html, drawings_html, requestable_properties
from ketformer.errors import KetformerError
from ketformer.generation import MoleculeSampling
from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties


@pytest.fixture(scope="module")
def reply(chemist, tmp_path_factory):
    """100 molecules with one request."""
    from ketformer.app.opened_runs import open_subject

    sampling = MoleculeSampling(seed=5, conditions={"LogP": 0.5})
    return ask(open_subject(chemist), 100, sampling, tmp_path_factory.mktemp("files"))


def test_sliders_span_three_deviations_and_nothing_impossible(opened, chemist):
    logp, tpsa = requestable_properties(opened(chemist).run)
    assert (logp.name, tpsa.name) == ("LogP", "TPSA")
    assert not logp.needed
    assert logp.low == pytest.approx(logp.mean - 3 * logp.std, abs=logp.step)
    assert logp.high == pytest.approx(logp.mean + 3 * logp.std, abs=logp.step)
    assert tpsa.low == 0 < tpsa.mean < tpsa.high
    assert tpsa.mean - 3 * tpsa.std < 0
    assert tpsa.meaning == PROPERTIES["TPSA"]


def test_without_statistics_in_the_model_they_are_the_data_s(opened, needy):
    rotations, weight = requestable_properties(opened(needy).run)
    values = compute_properties(embedded_smiles(4), ["nRot", "MW"], progress=False)
    assert weight.needed
    assert weight.mean == pytest.approx(values[:, 1].mean(), rel=0.02)  # of the training part
    assert weight.std == pytest.approx(values[:, 1].std(), rel=0.1)
    assert rotations.step == 1
    assert (rotations.low, rotations.high % 1) == (0, 0)


def test_counts_have_their_denominators(reply):
    counts = {name: (count, share) for name, count, share, _ in reply.counts}
    sampled, valid, unique, novel = (counts[k][0] for k in ("sampled", "valid", "unique", "novel"))
    assert sampled == 100 >= valid >= unique >= novel
    assert valid > 20
    assert counts["valid"][1] == valid / 100
    assert counts["unique"][1] == unique / valid
    assert counts["novel"][1] == novel / unique
    said = counts_html(reply)
    assert (
        f"<td>{valid}</td><td>{valid / 100:.1%}</td><td class='words'>of the sampled</td>" in said
    )
    assert f"{reply.errors['LogP']['mae']:.3g}" in said


def test_the_table_says_what_was_requested_and_reached(reply):
    assert reply.columns == [
        "SMILES",
        "novel",
        "in training",
        "LogP requested",
        "LogP reached",
        "TPSA",
        "MW",
    ]
    smiles = [row[0] for row in reply.rows]
    assert len(set(smiles)) == len(smiles) == reply.counts[2][1]
    values = compute_properties(smiles, ["LogP", "TPSA", "MW"], progress=False)
    np.testing.assert_allclose([row[4:] for row in reply.rows], values, rtol=1e-3, atol=1e-4)
    assert {row[3] for row in reply.rows} == {0.5}
    assert [row[1] for row in reply.rows].count("yes") == reply.counts[3][1]
    assert [row[2] for row in reply.rows].count("no") == reply.counts[4][1]


def test_the_files_hold_all_of_them(reply):
    with open(reply.files["csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert {row["requested_LogP"] for row in rows} == {"0.5"}
    records = [m for m in Chem.SDMolSupplier(reply.files["sdf"]) if m is not None]
    assert [m.GetProp("_Name") for m in records] == [row[0] for row in reply.rows]
    shown = drawings_html(reply)
    assert shown.count("<svg") == min(24, len(records))
    assert f"<code>{reply.rows[0][0]}</code>" in shown


def test_a_model_that_needs_all_refuses_less(opened, needy, tmp_path):
    with pytest.raises(KetformerError, match="needs every condition; missing: MW"):
        ask(opened(needy), 5, MoleculeSampling(conditions={"nRot": 1}), tmp_path)


def test_if_nothing_is_valid_it_is_said(opened, needy, tmp_path):
    sampling = MoleculeSampling(temperature=50, conditions={"nRot": 1, "MW": 900})
    reply = ask(opened(needy), 1, sampling, tmp_path)
    said = "no valid molecule among 1 sampled; perhaps no molecule has nRot 1, MW 900"
    beyond = "MW=900 is out of reach: the training data range from 16.04 to "
    assert reply.warnings[0].startswith(beyond)
    assert reply.warnings[1:] == [said]
    assert reply.files.keys() == {"csv"}
    assert reply.rows == reply.drawings == []
    assert "<td>–</td>" in counts_html(reply)


def test_lost_training_data_cost_the_novelty_alone(chemist, smi, tmp_path, monkeypatch):
    from ketformer.app.opened_runs import Subject, open_subject

    known = open_subject(chemist)
    subject = Subject(known.run, known.audit)  # which has not looked yet
    monkeypatch.setattr(
        "ketformer.generation.molecules.molecules_of",
        lambda *_, **__: (_ for _ in ()).throw(KetformerError("small.smi is gone")),
    )
    reply = ask(subject, 5, MoleculeSampling(), tmp_path)
    assert reply.warnings[0] == "novelty is not known: small.smi is gone"
    assert reply.counts[3][1] is reply.counts[4][1] is None
    assert {cell for row in reply.rows for cell in row[1:3]} <= {"unknown"}

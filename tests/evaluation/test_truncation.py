"""The loss of a trained model whose states keep few Schmidt coefficients."""

import pytest
import torch

from ketformer.evaluation.backend import evaluation_sequences
from ketformer.evaluation.truncation import truncation_curve
from ketformer.quantum import truncated
from ketformer.runs import open_run
from ketformer.tasks.losses import total_loss


def loss_of(run, limit):
    rows, _ = evaluation_sequences(run, limit=limit, progress=False)
    with torch.no_grad():
        logits = run.model(**rows.inputs, use_cache=False).logits
    return float(total_loss(logits, rows.targets) / (rows.targets != -100).sum())


def test_the_largest_bond_dimension_changes_nothing(molecules):
    run = open_run(molecules)
    curve = truncation_curve(run, limit=16)
    entangled, few = curve[:4], curve[4:]
    assert [point["bond_dimension"] for point in entangled] == [1, 2, 4, 8]
    assert [point["n_qubits"] for point in few] == [1, 2, 3, 4, 5, 6]
    for part in (entangled, few):
        assert part[-1]["loss"] == pytest.approx(loss_of(run, 16), rel=1e-5)
        assert part[0]["loss"] != pytest.approx(part[-1]["loss"], rel=1e-4)


def test_it_is_the_loss_with_truncated_queries_and_keys(molecules):
    run = open_run(molecules)
    attention = run.model.model.layers[0].attention
    project = attention.project

    def product_states(*args):
        query, key, value = project(*args)
        return truncated(query, 1), truncated(key, 1), value

    whole = loss_of(run, 16)
    found = truncation_curve(run, limit=16)[0]["loss"]
    attention.factors = lambda *args, cached: (*product_states(*args), ())
    assert found == pytest.approx(loss_of(run, 16), rel=1e-6)
    assert found != pytest.approx(whole, rel=1e-6)


def test_encoded_tokens_are_truncated_where_strings_are_measured(leaky):
    run = open_run(leaky)
    before = loss_of(run, 8)
    curve = truncation_curve(run, limit=8)
    assert len(curve) > 1
    assert curve[-1]["loss"] == pytest.approx(before, rel=1e-5)
    assert curve[0]["loss"] != pytest.approx(before, rel=1e-4)
    assert loss_of(run, 8) == before  # nothing is left behind


def test_a_mechanism_without_states_has_no_curve(honest):
    assert truncation_curve(open_run(honest)) == []

"""The study of circuits trained for equally long, and the table that the docs show of it."""

from importlib import import_module

from ketformer.comparison.budget import Cost
from ketformer.runs import open_run


def test_a_faster_circuit_gets_more_steps(tiny, tmp_path, monkeypatch):
    study, blocks = import_module("equal_time_study"), import_module("verdict_blocks")
    published, product = circuits = ("overlap:n_qubits=2", "overlap:n_qubits=2,entanglement=none")
    monkeypatch.setattr(study, "CIRCUITS", circuits)
    monkeypatch.setattr(study, "PRESET", tiny)
    monkeypatch.setattr(study, "SETTINGS", {})
    monkeypatch.setattr(study, "_STEPS", 4)
    times = iter([2, 2, 9, 2, 3] * 2)  # in each measurement the second takes half of it

    def measured(rows, *_):
        slow = next(times)
        return [Cost(rows[0].name, slow, 1), Cost(rows[1].name, slow / 2, 1)]

    monkeypatch.setattr(study, "measured_costs", measured)
    result = study.study(2, tmp_path, progress=False)
    assert {row["name"]: row["steps"] for row in result["rows"]} == {published: 4, product: 8}
    assert [row["step_ms"] for row in result["rows"]] == [2000, 1000]
    trained = [open_run(row["run"]).settings.training["max_steps"] for row in result["rows"]]
    assert trained == [4, 8]
    losses = [row["prefix_cross_entropy"] for row in result["rows"]]
    table = blocks.verdict_equal_time({"equal-time": result}.__getitem__)
    assert f"| `{published}` |" in table
    assert f"| 1000.0 | 8 | {losses[1]['mean']:.3f} ± " in table
    assert f"| {losses[1]['mean'] - losses[0]['mean']:+.3f} ± " in table
    monkeypatch.setattr(study, "measured_costs", None)  # once is enough
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    again = study.study(2, tmp_path, progress=False)
    assert [row["steps"] for row in again["rows"]] == [4, 8]
    assert [row["prefix_cross_entropy"] for row in again["rows"]] == losses

"""``ketformer optimise``: what it prints, and what it refuses in one line."""

import pytest

from commands import rows_of


def test_the_command_prints_and_writes_what_it_found(ketformer, molecules, tmp_path, monkeypatch):
    (tmp_path / "goal_of_test.py").write_text(
        "def length(smiles):\n    return [len(text) / 10 for text in smiles]\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ("--oracle", "goal_of_test:length", "--range", 0, 2, "--budget", 40, "--batch", 32)
    out = tmp_path / "ideas"
    said = ketformer("optimise", molecules, *options, "--out", out, "--json", "--device", "cpu")
    assert said.code == 0, said.err
    assert said.json["calls"] == 40
    assert "top-10 AUC" in said.err  # the table
    rows = rows_of(said.json["files"]["csv"])
    assert float(rows[0]["value"]) == max(len(row["smiles"]) for row in rows) / 10
    page = (out / "report.html").read_text()
    assert rows[0]["smiles"] in page
    assert "goal_of_test:length" in page
    again = ketformer("optimise", molecules, *options, "--out", out)
    assert again.code == 0
    assert f"page   {out / 'report.html'}" in again.out
    assert ketformer("generate", out / "agent", "--num", 5, "--json").json["sampled"] == 5


def test_a_stopped_one_says_how_to_go_on(ketformer, molecules, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ketformer.cli.optimise.optimise", stop)
    done = ketformer("optimise", molecules, "--oracle", "qed", "--out", tmp_path / "out")
    assert done.code == 130
    assert (
        done.err
        == f"ketformer: error: {tmp_path / 'out'}: stopped; resume with: the same command\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--oracle", "qde"), "no oracle 'qde'; did you mean"),
        (("--oracle", "jnk3"), "jnk3 is a classifier that PMO downloads"),
        (("--oracle", "TPSA"), "which TPSA is good? say with --range"),
        (("--oracle", "qed", "--budget", 0), "budget must be positive, got 0"),
        (("--oracle", "qed", "--range", 1, 1), "range must be two different finite numbers"),
        (("--oracle", "qed", "--device", "abacus"), "--device abacus: "),
        (("--oracle", "qed", "--condition", "LogP=2"), "has no condition LogP"),
    ],
)
def test_mistakes_are_refused_in_one_line(ketformer, molecules, tmp_path, options, said):
    refused = ketformer("optimise", molecules, *options, "--out", tmp_path / "out")
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "out").exists()

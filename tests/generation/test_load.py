"""Generating many molecules: a command that is killed and repeated ends with the same files."""

import json
import signal
import time

import pytest

from commands import forked, rows_of
from ketformer.tasks.molecules.output import MoleculeTable


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 50 molecules."""
    for module in ("sampling", "molecules"):
        monkeypatch.setattr(f"ketformer.generation.{module}.BATCH", 50)


@pytest.fixture
def interrupted(monkeypatch):
    """``interrupted(n)``: Ctrl-C as soon as the n-th block of this call is on disk."""

    def patch(block):
        blocks, sync = [], MoleculeTable.sync

        def stop(self):
            size = sync(self)
            blocks.append(None)
            if len(blocks) == block:
                raise KeyboardInterrupt
            return size

        monkeypatch.setattr(MoleculeTable, "sync", stop)

    return patch


def without_clock(said):
    return {
        k: v for k, v in said.items() if k not in ("molecules_per_second", "csv", "sdf", "grid")
    }


def files_of(folder):
    return {path.suffix: path.read_bytes() for path in folder.iterdir() if path.suffix != ".png"}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("wish", [(), ("--condition", "LogP=2.0", "TPSA=60")], ids=str)
def test_interrupted_twice_it_ends_with_the_same_files(
    ketformer, conditional, interrupted, monkeypatch, tmp_path, wish
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    call = ("generate", conditional, "--num", 330, *wish, "--json")
    expected = ketformer(*call, "--out", whole / "m.csv")
    assert expected.code == 0
    for block in (3, 2):
        interrupted(block)
        assert ketformer(*call, "--out", parts / "m.csv").code == 130
        assert not (parts / "m.csv").exists()
        monkeypatch.undo()
        for module in ("sampling", "molecules"):
            monkeypatch.setattr(f"ketformer.generation.{module}.BATCH", 50)
    done = ketformer(*call, "--out", parts / "m.csv")
    assert done.code == 0
    assert "150/330" in done.err or "45%" in done.err  # it resumed
    assert without_clock(done.json) == without_clock(expected.json)
    assert files_of(parts) == files_of(whole)
    assert {path.suffix for path in parts.iterdir()} == {".csv", ".sdf", ".png"}


def test_interrupted_shards_go_on_where_they_were(
    ketformer, molecules, interrupted, monkeypatch, tmp_path
):
    """Here one after the other in this process; a whole one is not sampled again."""
    call = ("generate", molecules, "--num", 230, "--constrained", "true", "--jobs", 2, "--json")
    calls = []
    for stopped_at, name in ((7, "whole"), (5, "parts"), (3, "parts")):
        with monkeypatch.context() as patch:
            patch.setattr(
                "ketformer.generation.shards.do_jobs", lambda jobs, **_: [job.run() for job in jobs]
            )
            for module in ("sampling", "molecules"):
                patch.setattr(f"ketformer.generation.{module}.BATCH", 50)
            interrupted(stopped_at)
            calls.append(ketformer(*call, "--out", tmp_path / name / "m.csv"))
        monkeypatch.undo()
    whole, stopped, done = calls
    assert (whole.code, stopped.code, done.code) == (0, 130, 0)
    assert "165/230" in done.err  # the first shard, and one block of the second
    assert done.json["constrained"]["molecules"] == 230 - 165
    assert done.json["unique"] == whole.json["unique"]
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


@pytest.mark.usefixtures("small_blocks")
def test_the_shards_of_another_command_are_refused_and_kept(
    ketformer, molecules, conditional, interrupted, monkeypatch, tmp_path
):
    monkeypatch.setattr(
        "ketformer.generation.shards.do_jobs", lambda jobs, **_: [job.run() for job in jobs]
    )
    out = ("--out", tmp_path / "m.csv")
    call = ("generate", molecules, "--num", 130, "--jobs", 2)
    interrupted(3)
    assert ketformer(*call, *out).code == 130
    left = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for run, changes, other in (
        (molecules, {"--num": 200, "--top_k": 3}, "num, top_k"),
        (molecules, {"--jobs": 3}, "jobs"),
        (conditional, {}, "run"),
    ):
        options = [word for pair in {"--num": 130, "--jobs": 2, **changes}.items() for word in pair]
        told = f"m.shards holds 65 molecules of another command (not the same: {other}); repeat"
        ketformer("generate", run, *options, *out).assert_mistake(told)
        assert {path: path.read_bytes() for path in left} == left
    done = ketformer(*call, *out)
    assert done.code == 0, done.err
    assert "65/130" in done.err


@pytest.mark.usefixtures("small_blocks")
def test_stopped_as_the_table_is_whole_it_is_not_sampled_again(
    ketformer, molecules, monkeypatch, tmp_path
):
    def stop(*args, **options):
        raise KeyboardInterrupt

    call = ("generate", molecules, "--num", 120, "--out", tmp_path / "m.csv", "--json")
    with monkeypatch.context() as patch:
        patch.setattr("ketformer.generation.molecules.write_sdf", stop)
        assert ketformer(*call).code == 130
    table = (tmp_path / "m.csv").read_bytes()
    done = ketformer(*call)
    assert (done.code, done.json["molecules_per_second"]) == (0, None)
    assert (tmp_path / "m.csv").read_bytes() == table
    again = ketformer(*call)  # finished, so a further call starts over
    assert again.json["molecules_per_second"] > 0
    assert (tmp_path / "m.csv").read_bytes() == table


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "change", [("--seed", 1), ("--num", 200), ("--temperature", 0.9)], ids=lambda c: c[0]
)
def test_another_command_begins_anew_and_says_so(
    ketformer, molecules, interrupted, monkeypatch, tmp_path, change
):
    options = dict([("--num", 330), change])
    out = ("--out", tmp_path / "m.csv")
    interrupted(3)
    assert ketformer("generate", molecules, "--num", 330, *out).code == 130
    monkeypatch.undo()
    given = [word for pair in options.items() for word in pair]
    done = ketformer("generate", molecules, *given, *out)
    assert done.code == 0
    assert "left unfinished by another command; starting over" in done.err
    assert len(rows_of(tmp_path / "m.csv")) == options["--num"]


@pytest.mark.usefixtures("small_blocks")
def test_a_broken_note_or_table_begins_anew(
    ketformer, molecules, interrupted, monkeypatch, tmp_path
):
    call = ("generate", molecules, "--num", 330, "--json")
    expected = ketformer(*call, "--out", tmp_path / "whole.csv").json
    for damaged in ("m.csv.journal", "m.csv.part"):
        interrupted(3)
        assert ketformer(*call, "--out", tmp_path / "m.csv").code == 130
        monkeypatch.undo()
        for module in ("sampling", "molecules"):
            monkeypatch.setattr(f"ketformer.generation.{module}.BATCH", 50)
        (tmp_path / f".{damaged}").write_bytes(b"{")
        done = ketformer(*call, "--out", tmp_path / "m.csv")
        assert done.code == 0
        assert without_clock(done.json) == without_clock(expected)
        assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_killed_process_is_gone_on_with(ketformer, molecules, tmp_path):
    call = ["generate", str(molecules), "--num", "10240", "--json", "--out"]
    process = forked(*call, tmp_path / "parts.csv")
    note = tmp_path / ".parts.csv.journal"
    while process.is_alive() and not (note.is_file() and noted(note) >= 2048):
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "parts.csv").exists()
    done = ketformer(*call, tmp_path / "parts.csv")
    assert done.code == 0
    assert ketformer(*call, tmp_path / "whole.csv").code == 0
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "parts.sdf").read_bytes() == (tmp_path / "whole.sdf").read_bytes()


def noted(note):
    return json.loads(note.read_text())["rows"]

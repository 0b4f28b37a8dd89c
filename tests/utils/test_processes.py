"""Worker processes: stopping them ends all of them, whatever they are doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ketformer.errors import KetformerError, Stopped
from ketformer.utils.processes import run_in_processes


def work(task):
    """``fail`` when all others have begun; else save something when told to stop, as a training."""
    folder, name, others = task
    (folder / f"{name}-began").touch()
    if name == "fail":
        while len(list(folder.glob("*-began"))) <= others:
            time.sleep(0.01)
        raise KetformerError("a mistake")

    def stop(number, frame):
        time.sleep(0.2)
        (folder / f"{name}-saved").touch()
        raise Stopped("stopped", number, folder)

    signal.signal(signal.SIGTERM, stop)
    time.sleep(60)


@pytest.mark.parametrize("others", [1, 2])
def test_a_failure_stops_the_others_and_starts_no_more(tmp_path, others):
    """With an idle worker, which SIGTERM kills at once, and without."""
    names = [f"task{i}" for i in range(others)]
    tasks = [(tmp_path, name, others) for name in ("fail", *names, "late", "later")]
    begun = time.monotonic()
    with pytest.raises(KetformerError, match="a mistake"):
        run_in_processes(work, tasks, processes=others + 1)
    assert time.monotonic() - begun < 50  # none slept to the end
    made = {path.name for path in Path(tmp_path).iterdir()}
    assert {f"{name}-saved" for name in names} <= made
    assert "later-began" not in made
    saved = {name.removesuffix("-saved") for name in made if name.endswith("-saved")}
    assert {f"{name}-began" for name in saved} | {"fail-began"} == {
        name for name in made if name.endswith("-began")
    }


_PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ketformer.utils.processes import run_in_processes
from utils.test_processes import work
if __name__ == "__main__":
    names = ("one", "two", "three", "four")
    run_in_processes(work, [(Path(sys.argv[2]), name, 0) for name in names], processes=2)
"""


def test_a_killed_parent_ends_its_workers_and_starts_no_more(tmp_path):
    """Each saves what it has; the tasks that are queued already are not begun."""
    tests = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", _PARENT, tests, str(tmp_path)]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE)
    while len(list(tmp_path.glob("*-began"))) < 2:
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.02)
    parent.kill()
    parent.communicate(timeout=40)  # the workers hold its end of the pipe until they end
    assert {path.name for path in tmp_path.glob("*-saved")} == {"one-saved", "two-saved"}
    assert len(list(tmp_path.glob("*-began"))) == 2


def test_workers_have_the_environment_of_the_moment(monkeypatch):
    """The process that they are forked from has that of the first call."""
    for value in ("one", "two"):
        monkeypatch.setenv("A_MOMENT", value)
        assert run_in_processes(os.getenv, ["A_MOMENT"], processes=1) == [value]

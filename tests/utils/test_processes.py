"""Worker processes: stopping them ends all of them, whatever they are doing."""

import signal
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

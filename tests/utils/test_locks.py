"""One process at a time in a folder: who holds it, and what a killed one leaves."""

import getpass
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from ketformer.errors import KetformerError
from ketformer.utils.locks import alone_in_out, contents, in_use

HOLD = """
import sys, time
from pathlib import Path
from ketformer.utils.locks import in_use
with in_use(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold():
    """``hold(folder, seconds)``: another process that holds a folder for that long."""
    started = []

    def begin(folder, seconds=60):
        command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_the_message_says_who_is_there(tmp_path, hold):
    other = hold(tmp_path / "out")
    with pytest.raises(KetformerError) as caught, in_use(tmp_path / "out"):
        pytest.fail("both were let in")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'out'}: in use by process {other.pid} of ")
    assert f"of {getpass.getuser()} on host {socket.gethostname()} since " in said
    assert said.endswith("; wait for it or choose another --out")
    assert contents(tmp_path / "out") == []


def test_a_killed_process_holds_nothing(tmp_path, hold):
    process = hold(tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with in_use(tmp_path / "out"):
        assert contents(tmp_path / "out") == []  # what it left of its lock is not content
    assert not list((tmp_path / "out").iterdir())  # and goes with the next lock


def test_one_can_wait(tmp_path, hold):
    hold(tmp_path / "out", 0.5)
    with in_use(tmp_path / "out", wait=30):
        pass


def test_a_folder_in_which_nothing_came_to_be_is_removed(tmp_path):
    with pytest.raises(ZeroDivisionError), in_use(tmp_path / "runs/new"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "runs").exists()
    with in_use(tmp_path / "runs/new"):
        (tmp_path / "runs/new/kept").touch()
    assert list((tmp_path / "runs/new").iterdir()) == [tmp_path / "runs/new/kept"]


def test_a_thread_may_enter_again_and_another_may_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []

    def other():
        try:
            with in_use(tmp_path / "out"):
                said.append("let in")
        except KetformerError as error:
            said.append(str(error))

    @alone_in_out
    def nested(name, out="out"):
        with in_use(tmp_path / "out"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return name

    assert nested("a") == "a"
    assert f"in use by process {os.getpid()} " in said[0]
    other()
    assert said[1] == "let in"


def test_the_first_of_several_processes_holds_it_for_all(tmp_path, hold, monkeypatch):
    hold(tmp_path / "out")
    monkeypatch.setenv("RANK", "1")
    with in_use(tmp_path / "out"):
        pass
    assert (tmp_path / "out/.in-use").exists()


def test_a_crowd_takes_turns(tmp_path):
    """Each reads and writes a number: none is lost, though each lock removes its file."""
    number = tmp_path / "out/number"
    number.parent.mkdir()
    number.write_text("0")

    def add():
        for _ in range(20):
            with in_use(tmp_path / "out", wait=60):
                before = int(number.read_text())
                time.sleep(0.0005)
                number.write_text(str(before + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number.read_text() == "80"

"""Runs on a Ray cluster: the same answers as here, whatever happens to a worker or a node."""

import importlib.util
import io
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from commands import largest_difference, metrics, ray_workers, without_times
from ketformer.attention import ATTENTION
from ketformer.comparison.board import state_of
from ketformer.comparison.jobs import Job
from ketformer.comparison.workers import run_jobs
from ketformer.errors import KetformerError, Stopped
from ketformer.runs import load_settings
from ketformer.runs.directory import WEIGHTS_FILE
from ketformer.utils import cluster
from ketformer.utils.cluster import pack, unpack

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


# --- What is sent --------------------------------------------------------------------------------


def names_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_sent_run_is_what_it_was(honest, tmp_path):
    """Changed files are sent, the others stay, and what is gone goes."""
    path = tmp_path / "run"
    (path / "checkpoints/checkpoint-1").mkdir(parents=True)
    (path / "checkpoints/checkpoint-1/old").touch()
    (path / ".in-use").touch()
    names = sorted(names_in(honest))
    unpack(pack(honest, names, names), path, WEIGHTS_FILE)
    assert names_in(path) == {*names, ".in-use"}
    assert all((path / name).read_bytes() == (honest / name).read_bytes() for name in names)
    (path / "README.md").write_text("mine")
    fewer = [name for name in names if not name.startswith("checkpoints")]
    unpack(pack(honest, ["metrics.jsonl"], fewer), path, WEIGHTS_FILE)
    assert names_in(path) == {*fewer, ".in-use"}
    assert (path / "README.md").read_text() == "mine"


def test_what_goes_while_it_is_looked_at_does_not_end_the_sending(tmp_path, monkeypatch):
    """A checkpoint that is rotated away; the last look sees what there is at the end."""
    looks, look = [], cluster._versions

    def rotated(path):
        looks.append(path)
        if len(looks) == 2:
            raise FileNotFoundError
        return look(path)

    monkeypatch.setattr(cluster, "_versions", rotated)
    monkeypatch.setattr(cluster, "_BEAT", 0.005)
    sent = []
    with cluster._sending(tmp_path, sent.append):
        while len(looks) < 2:
            time.sleep(0.005)
        (tmp_path / "weights").touch()
    assert [names for _, names in sent] == [["weights"]]


def test_nothing_is_written_outside_the_run(tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    (tmp_path / "run").mkdir()
    with pytest.raises(tarfile.TarError):
        unpack((content.getvalue(), ["../outside"]), tmp_path / "run", WEIGHTS_FILE)
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


@pytest.mark.parametrize("verb", [("compare", "classical", "qisa"), ("reproduce", "qisa")])
def test_without_ray_the_message_says_what_to_install(ketformer, text, tmp_path, monkeypatch, verb):
    monkeypatch.setitem(sys.modules, "ray", None)
    options = ("--data", text, "--out", tmp_path / "out", "--cluster", "auto", "--max_steps", 1)
    done = ketformer(*verb, *options)
    done.assert_mistake("Ray, which is not installed: pip install 'ketformer[ray]'")
    assert not (tmp_path / "out").exists()


# --- A cluster of two nodes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tiny):
    """Enough steps to be interrupted, with many checkpoints."""
    changes = {"max_steps": 60, "eval_steps": 20, "save_steps": 5, "seed": 5}
    return load_settings(tiny).override(changes)


def jobs_in(folder, base, attentions=("classical", "qisa"), seeds=(5, 6)):
    return [
        Job(name, f"seed {s}", base.override({"attention": name, "seed": s}), folder / f"{name}{s}")
        for name in attentions
        for s in seeds
    ]


@pytest.fixture(scope="module")
def here(base, tmp_path_factory):
    """The folder of the runs as trained by local processes, and their answers."""
    folder = tmp_path_factory.mktemp("here")
    return folder, run_jobs(jobs_in(folder, base), progress=False)


@pytest.fixture(params=["shared storage", "nothing shared"])
def storage(request, monkeypatch):
    """Workers see the driver's files, or are made to believe that they do not."""
    if request.param == "nothing shared":
        monkeypatch.setattr(cluster._Crew, "here", classmethod(unshared))
    return request.param


original = cluster._Crew.here.__func__


def unshared(cls, ray, mark, share):
    return original(cls, ray, Path("/nowhere/mark"), share)


def assert_equal_runs(jobs, here):
    for job in jobs:
        twin = here / job.path.name
        assert largest_difference(job.path, twin) == 0
        assert without_times(metrics(job.path)) == without_times(metrics(twin))
        assert names_in(job.path) == names_in(twin)


@needs_ray
@pytest.mark.slow
def test_a_cluster_gives_the_same_and_shows_it_live(nodes, base, here, storage, tmp_path):
    jobs = jobs_in(tmp_path, base)
    seen = set()

    def look():
        while not done.wait(0.05):
            seen.update(state_of(job) for job in jobs)

    done = threading.Event()
    watching = threading.Thread(target=look)
    watching.start()
    answers = run_jobs(jobs, cluster=nodes.address, progress=False)
    done.set()
    watching.join()
    assert answers == here[1]
    assert_equal_runs(jobs, here[0])
    assert any(state.startswith("step ") for state in seen)
    assert not list(tmp_path.glob(".cluster-*"))
    assert run_jobs(jobs, cluster=nodes.address, progress=False) == answers


@needs_ray
@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(nodes, base, here, storage, tmp_path):
    jobs = jobs_in(tmp_path, base)

    def kill():
        while not list(tmp_path.glob("*/checkpoints/checkpoint-*")):
            time.sleep(0.02)
        os.kill(ray_workers()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.warns(UserWarning, match="worker or node died; going on from what it saved last"):
        answers = run_jobs(jobs, cluster=nodes.address, progress=False)
    killer.join()
    assert answers == here[1]
    assert_equal_runs(jobs, here[0])


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_removed_is_done_without(nodes, base, here, storage, tmp_path):
    jobs = jobs_in(tmp_path, base)
    lost = next(node for node in nodes.worker_nodes)

    def remove():
        while not list(tmp_path.glob("*/checkpoints/checkpoint-*")):
            time.sleep(0.02)
        nodes.remove_node(lost, allow_graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        with pytest.warns(UserWarning, match="worker or node died"):
            answers = run_jobs(jobs, cluster=nodes.address, progress=False)
    finally:
        remover.join()
        nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        nodes.wait_for_nodes()
    assert answers == here[1]
    assert_equal_runs(jobs, here[0])


@needs_ray
@pytest.mark.slow
def test_a_signal_saves_what_the_workers_have(nodes, base, storage, tmp_path):
    """The same command then goes on from there."""
    longer = base.override({"max_steps": 600, "save_steps": 600, "eval_steps": 600})
    jobs = jobs_in(tmp_path, longer, ("classical",))

    def stop():
        while not all((job.path / "metrics.jsonl").is_file() for job in jobs):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(Stopped, match="SIGTERM"):
        run_jobs(jobs, cluster=nodes.address, progress=False)
    saved = list(tmp_path.glob("*/checkpoints/checkpoint-*"))
    assert len(saved) == 2
    assert all(int(path.name.split("-")[1]) < 600 for path in saved)
    answers = run_jobs(jobs, cluster=nodes.address, progress=False)
    assert answers == run_jobs(jobs_in(tmp_path / "here", longer, ("classical",)), progress=False)


@needs_ray
@pytest.mark.slow
def test_a_mistake_on_a_node_is_one_line(nodes, base, tmp_path):
    wrong = base.override({"attention_options": {"temperature": -1.0}})
    with pytest.raises(KetformerError, match="temperature must be positive"):
        run_jobs([Job("a", "b", wrong, tmp_path / "a")], cluster=nodes.address, progress=False)


@needs_ray
@pytest.mark.slow
def test_a_worker_knows_what_was_registered_here(nodes, base, tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "from ketformer.attention.classical import ClassicalAttention\n"
        "class Ours(ClassicalAttention):\n    'Ours.'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ATTENTION, "_registered", {})
    ATTENTION.register("ours", "ours:Ours")
    job = Job("ours", "seed 5", base.override({"attention": "ours"}), tmp_path / "ours-run")
    (answer,) = run_jobs([job], cluster=nodes.address, progress=False)
    assert answer["eval_loss"] > 0


@needs_ray
@pytest.mark.slow
def test_compare_runs_on_a_cluster(nodes, ketformer, tiny, tmp_path):
    args = ("compare", "classical", "qisa", "--preset", tiny, "--seeds", 1, "--rates", 2, "--json")
    there = ketformer(*args, "--out", tmp_path / "there", "--cluster", nodes.address)
    assert there.code == 0, there.err
    local = ketformer(*args, "--out", tmp_path / "local").json
    for row, twin in zip(there.json["rows"], local["rows"], strict=True):
        assert row["weights_sha256"] == twin["weights_sha256"]
        assert row["cross_entropy"] == twin["cross_entropy"]
        assert row["learning_rates"] == twin["learning_rates"]


@needs_ray
@pytest.mark.slow
def test_no_cluster_is_a_mistake(ketformer, tiny, tmp_path):
    import ray

    ray.shutdown()
    args = ("classical", "qisa", "--preset", tiny, "--seeds", 1, "--rates", 1)
    done = ketformer("compare", *args, "--out", tmp_path / "c", "--cluster", "127.0.0.1:1")
    done.assert_mistake("no Ray cluster at '127.0.0.1:1'", "ray start --head")
    shutil.rmtree(tmp_path / "c", ignore_errors=True)

"""What every test shares: one thread, no network, optional data, and tiny trained runs.

pytest-xdist reads this file before it starts its workers, so torch, which takes seconds, is
imported in the fixtures.
"""

import csv
import gc
import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import hypothesis
import pytest
from filelock import FileLock

from commands import call, small_text, write_molecule_settings, write_settings
from ketformer.cli import main
from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.utils.files import cache_folder, replacing

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")

# The tests of a package that is installed nowhere but in test_plugin.py.
collect_ignore = ["plugin"]

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "scripts"))  # the checker of reference files is tested
_OWN_VARIABLES = {k: v for k, v in os.environ.items() if k.startswith("KETFORMER_")}


def pytest_collection_finish(session):
    """A variable that a test file sets while it is imported would hold for all the others."""
    found = {k: v for k, v in os.environ.items() if k.startswith("KETFORMER_")}
    if found != _OWN_VARIABLES:
        raise pytest.UsageError(f"collecting the tests left {found} in the environment")


# The files that take longest, though most have few tests: they start processes or trace graphs.
_LONG = (
    "app/test_browser.py",
    "training/test_processes.py",
    "project/test_plugin.py",
    "project/test_notebooks.py",
    "comparison/test_terms.py",
    "models/test_published_losses.py",
    "models/test_remote_code.py",
    "models/test_transformers_habits.py",
    "attention/test_conformance.py",
    "bench/test_bench.py",
)


def pytest_collection_modifyitems(items):
    """Several workers begin with the long files, or one would be left alone with the last."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        tests = REPOSITORY / "tests"
        items.sort(key=lambda item: item.path.relative_to(tests).as_posix() not in _LONG)


# Which variable names the folder that a file in ../shared/<folder> may lie in instead.
_FOLDERS = {
    "data": "KETFORMER_DATA",
    "published": "KETFORMER_PUBLISHED",
    "zoo": "KETFORMER_ZOO",
}


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; without one the tests fail, for nothing else looks at the pages.

    Its loop ends with the module, or the next one in this process would find it running.
    """
    from playwright.sync_api import sync_playwright

    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    if not any(found):
        pytest.fail("pages are tested in Chromium, which is not here: apt-get install chromium")
    path = next(filter(None, found))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    """A folder for pictures that people may want to see after the tests."""
    folder = REPOSITORY / "build/screenshots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # another user's checkout
        return tmp_path_factory.mktemp("screenshots")
    return folder


@pytest.fixture(scope="session")
def shared_file():
    """``shared_file("data", "qm9.csv")``: its path. Without it, the few tests in need skip."""

    def find(folder, filename):
        variable = _FOLDERS[folder]
        places = [os.environ.get(variable), REPOSITORY.parent / "shared" / folder]
        for place in filter(None, places):
            if (path := Path(place) / filename).is_file():
                return path
        pytest.skip(f"{filename} is neither in {variable} nor in ../shared/{folder}")

    return find


@pytest.fixture(scope="session")
def tinyshakespeare(shared_file):
    """Path of Tiny Shakespeare."""
    return shared_file("data", "tinyshakespeare.txt")


@pytest.fixture(scope="session")
def reference_cases(shared_file):
    """``reference_cases("pam")``: the cases of a mechanism's reference file, by name."""
    from reference import read_cases

    def read(mechanism):
        _, cases = read_cases(shared_file("zoo", f"{mechanism}.json"))
        return {case.name: case for case in cases}

    return read


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small tensors are fastest so, above all when pytest-xdist shares the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal():
    """A background job or `nohup` starts the tests, and what they start, with SIGINT ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def _empty_folders(tmp_path_factory):
    """New folders, one by one; pytest's own would look through all those of earlier tests."""
    base = tmp_path_factory.mktemp("cwd")
    return (base / str(i) for i in itertools.count())


@pytest.fixture(autouse=True)
def _in_an_empty_folder(_empty_folders, monkeypatch):
    """Default outputs such as ``runs/…`` must not land in the checkout."""
    folder = next(_empty_folders)
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_its_own(tmp_path_factory):
    """What is made of data is kept, but not among what the user keeps.

    All workers of pytest share it, with the kernels, which are then compiled once.
    """
    from ketformer.quantum.native import library

    kernels, base = library(), tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        if kernels is not None:
            (cache_folder() / "native").mkdir(parents=True, exist_ok=True)
            with replacing(cache_folder() / "native" / Path(kernels._name).name) as part:
                shutil.copy(kernels._name, part)
        else:  # the user's cache may be read-only: use kernels here if child processes do
            library.cache_clear()
        yield


@pytest.fixture(scope="module", autouse=True)
def _short_collections():
    """Of garbage: each training collects three times, over everything that was ever imported."""
    gc.set_threshold(100_000, 20, 20)  # rarely in between
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _short_timings_and_samples():
    """Inference is timed once on 512 tokens, not 20 times on 16,384.

    Samples have 24 tokens, not 240. A row of a comparison tries one learning rate beyond the grid,
    not four.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ketformer.comparison.search._FURTHER", 1)
        patch.setattr("ketformer.evaluation.speed._TIMED_TOKENS", 512)
        patch.setattr("ketformer.utils.timing._PASSES", 1)
        patch.setattr("ketformer.generation.preview._GLANCE", 24)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """No test cuts the power; a checkpoint waits a tenth of a second for its ten files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_process():
    """Runs are trained in this process; a test of several says so. A worker has one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ketformer.utils.processes.available_cores", lambda: 1)
        for module in ("utils.machine", "cli.demo", "cli.sweep"):
            patch.setattr(f"ketformer.{module}.default_processes", lambda: 1)
        yield


@pytest.fixture
def ketformer(capsys):
    """The command: ``ketformer("audit", run)`` returns its code, output and errors."""
    return lambda *args: call(capsys, *args)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """``once(name, fill)``: a folder that ``fill(folder)`` fills, for all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def filled(name, fill):
        folder, done = base / "once" / name, base / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def trained_once(once, tmp_path_factory):
    """``trained_once(name, settings, *options)``: a copy of a run that one worker has trained."""

    def copied(name, *arguments):
        def train(folder):
            assert main(["train", *arguments, "--out", str(folder / "run")]) == 0

        return shutil.copytree(once(name, train) / "run", tmp_path_factory.mktemp("runs") / name)

    return copied


@pytest.fixture(scope="session")
def text(once):
    """Path of a small text."""

    def write(folder):
        (folder / "text.txt").write_text(small_text(), encoding="utf-8")

    return once("text", write) / "text.txt"


@pytest.fixture(scope="session")
def tiny(once, text):
    """Path of a settings file: classical attention, 20 steps."""
    folder = once("tiny", lambda folder: write_settings(folder / "tiny.yaml", text))
    return str(folder / "tiny.yaml")


@pytest.fixture(scope="session")
def honest(trained_once, tiny):
    """A finished run with classical attention."""
    return trained_once("honest", tiny)


@pytest.fixture(scope="session")
def leaky(trained_once, tiny):
    """A finished run whose attention sees the future, trained until it has learned to use it."""
    return trained_once("leaky", tiny, "--attention", "qisa_published", "--max_steps", "300")


@pytest.fixture(scope="session")
def smiles():
    """The 738 molecules of up to four heavy atoms, canonical; at most 12 tokens each."""
    return embedded_smiles(4)


@pytest.fixture(scope="session")
def smi(once, smiles):
    """Path of a list of them, each with a name."""

    def write(folder):
        lines = (f"{text} molecule-{i}\n" for i, text in enumerate(smiles))
        (folder / "small.smi").write_text("".join(lines))

    return once("smi", write) / "small.smi"


@pytest.fixture(scope="session")
def table(smiles, tmp_path_factory):
    """Path of a table of them: ``name``, ``structure``, and ``score``, empty in each fifth row."""
    path = tmp_path_factory.mktemp("molecules") / "small.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "structure", "score"])
        for i, text in enumerate(smiles):
            writer.writerow([f"molecule {i}, small", text, "" if i % 5 == 0 else 3.5 * (i % 7)])
    return path


@pytest.fixture(scope="session")
def tiny_molecules(once, smi):
    """Path of a settings file: overlap attention with tables of angles, 40 steps."""
    folder = once(
        "tiny-molecules", lambda folder: write_molecule_settings(folder / "tiny.yaml", smi)
    )
    return str(folder / "tiny.yaml")


@pytest.fixture(scope="session")
def molecules(trained_once, tiny_molecules):
    """A finished run on molecules, long enough for half of what it writes to be valid."""
    return trained_once("molecules", tiny_molecules, "--max_steps", "60")


@pytest.fixture(scope="session")
def conditional(trained_once, tiny_molecules):
    """A finished run on molecules with two conditions, either of which may be unknown."""
    options = ("--conditions", "LogP,TPSA", "--condition_pdrop", "0.3", "--max_steps", "60")
    return trained_once("conditional", tiny_molecules, *options)


@pytest.fixture(scope="module")
def nodes():
    """A Ray cluster: a head without cores, where the driver is, and two nodes of one core each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        memory = {"object_store_memory": 80 * 2**20}
        there = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory})
        for _ in range(2):
            there.add_node(num_cpus=1, **memory)
        there.wait_for_nodes()
        yield there
        ray.shutdown()
        there.shutdown()

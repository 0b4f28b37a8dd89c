"""No file is ever executed: what the source may not call, and what Trainer's files may not do."""

import ast
import os
import shutil
from pathlib import Path

import pytest
import torch

import ketformer
from ketformer.training.checkpoints import flaw_of, publish

PACKAGE = Path(ketformer.__file__).parent
SOURCE = sorted(PACKAGE.rglob("*.py"))

# Calls that run what they read, or write to paths from an archive; spelled as in the source.
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open",
    "joblib.load", "yaml.unsafe_load", "yaml.full_load", "runpy.run_path",
    "shutil.unpack_archive", "tarfile.open",
}  # fmt: skip
METHODS = {"extractall", "extract"}
# Calls that start programs or load compiled code, and the files that may make them.
STARTING = {"subprocess", "ctypes.CDLL", "ctypes.cdll", "os.exec", "os.spawn", "os.posix_spawn"}
MAY_START = {
    "runs/directory.py": "asks git for the commit",
    "tasks/wheels.py": "asks pip for a wheel, which it does not install",
    "generation/molecules.py": "asks the C library, already loaded, to return memory",
    "bench/start.py": "times this package's own command",
    "quantum/native/__init__.py": "compiles and loads the package's own C source",
}
# The file that unpacks what another process of the same comparison packed, with tarfile's filter
# against names that lead elsewhere.
MAY_UNPACK = {"utils/cluster.py": "runs sent from node to node"}
# Calls that are safe with these keywords only.
REQUIRED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "yaml.load": ("Loader", "_PlainLoader"),
}


def calls(path):
    """Each call in a file: its name, the method's name, and its keywords as written."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield (
                name,
                name.rpartition(".")[2],
                {k.arg: ast.unparse(k.value) for k in node.keywords},
            )


def offences(path, *, may_start=False, may_unpack=False):
    for name, method, keywords in calls(path):
        safe = name == "tarfile.open" or keywords.get("filter") == "'data'"
        if may_unpack and safe:
            continue
        if not may_start and name.startswith(tuple(STARTING)):
            yield name
        if name in FORBIDDEN or method in METHODS:
            yield name
        if name in REQUIRED and keywords.get(REQUIRED[name][0]) != str(REQUIRED[name][1]):
            yield f"{name} without {REQUIRED[name][0]}={REQUIRED[name][1]}"
        if keywords.get("trust_remote_code") == "True" or keywords.get("shell") == "True":
            yield f"{name} with {keywords}"


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.stem)
def test_the_source_calls_nothing_that_runs_what_it_reads(path):
    name = path.relative_to(PACKAGE).as_posix()
    may = {"may_start": name in MAY_START, "may_unpack": name in MAY_UNPACK}
    assert list(offences(path, **may)) == []


@pytest.mark.parametrize("path", [*MAY_START, *MAY_UNPACK])
def test_each_exception_is_needed(path):
    assert list(offences(PACKAGE / path)) != []


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(f)", "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f)",
        "yaml.load(f, Loader=yaml.Loader)", "archive.extractall()", "eval(text)",
        "run(x, shell=True)", "f(x, trust_remote_code=True)",
        "subprocess.run(x)", "ctypes.CDLL(x)", "os.execv(x, y)",
    ],
)  # fmt: skip
def test_the_rule_itself(tmp_path, line):
    (tmp_path / "a.py").write_text(line)
    assert list(offences(tmp_path / "a.py"))


class Bomb:
    """Unpickling it creates a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def stopped(ketformer, tiny, tmp_path):
    """A run of ten steps, to be resumed up to twenty."""
    assert ketformer("train", tiny, "--max_steps", 10, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def crafted(run, files):
    """Replace files in each checkpoint of a run, and seal them as if training had written them."""
    for folder in (run / "checkpoints").glob("checkpoint-*"):
        part = folder.parent / ".part" / folder.name
        part.parent.mkdir()
        folder.rename(part)
        for name, content in files.items():
            if isinstance(content, str):
                (part / name).write_text(content)
            else:
                torch.save(content, part / name)
        (part / "whole.json").unlink()
        publish(part, folder, processes=1)
        assert flaw_of(folder) is None


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_crafted_checkpoint_is_refused_and_nothing_of_it_runs(ketformer, stopped, name):
    proof = stopped / "proof"
    assert all((path / name).is_file() for path in stopped.glob("checkpoints/checkpoint-*"))
    crafted(stopped, {name: {"state": Bomb(proof)}})
    before = (stopped / "model.safetensors").read_bytes()
    done = ketformer("train", "--out", stopped, "--resume", "--max_steps", 20)
    assert done.code == 2
    assert "refused, a file in it holds more than tensors" in done.err
    assert "Traceback" not in done.err
    assert not proof.exists()
    assert (stopped / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("losses_0.json", '{"total": "much"}', "total, running and logged must be numbers"),
        ("trainer_state.json", '{"global_step": "ten"}', "trainer_state.json: "),
        ("trainer_state.json", '{"nope": 1}', "trainer_state.json: "),
    ],
)
def test_a_crafted_state_is_one_line(ketformer, stopped, name, content, told):
    crafted(stopped, {name: content})
    done = ketformer("train", "--out", stopped, "--resume", "--max_steps", 20)
    assert done.code == 2
    assert told in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_trainers_other_pickles_are_not_loaded(ketformer, stopped):
    """Pickled training arguments, and weights in torch's format beside those in safetensors."""
    proof = stopped / "proof"
    weights = {"lm_head.weight": Bomb(proof)}
    crafted(stopped, {"training_args.bin": Bomb(proof), "pytorch_model.bin": weights})
    done = ketformer("train", "--out", stopped, "--resume", "--max_steps", 20, "--json")
    assert done.json["steps"] == 20
    assert not proof.exists()
    shutil.rmtree(stopped)

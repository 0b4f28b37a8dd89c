"""Shared by the tests of commands: a small text, small settings, and in-process calls.

``conftest.py`` imports it, so torch is imported where it is needed.
"""

import csv
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ketformer.cli import main
from ketformer.utils.locks import in_use

MECHANISMS = ("classical", "qisa", "qisa_a", "qsann", "qisa_published")

_SENTENCE = "the cat sat on a mat and saw the dog that ate my hat while we ran to it"

# The beginning of a program that runs as where ketformer is not installed.
WITHOUT_KETFORMER = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "ketformer":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def small_text(n_words=1500, seed=0):
    """About 5,600 characters from which a small model quickly learns something."""
    draw, words = random.Random(seed), _SENTENCE.split()
    return " ".join(draw.choice(words) for _ in range(n_words)) + "\n"


def settings(data, *, model=None, training=None, **own):
    """The content of a settings file: one block of width 8, context 8, 20 steps."""
    return {
        "name": "tiny",
        "data": str(data),
        "split": "standard",
        **own,
        "model": {
            "attention": "classical",
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 8,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
            **(model or {}),
        },
        "training": {
            "max_steps": 20,
            "per_device_train_batch_size": 16,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "logging_steps": 5,
            "eval_steps": 10,
            "save_steps": 5,
            "save_total_limit": 4,
            "report_to": "none",
            **(training or {}),
        },
    }


def write_settings(path, data, **changes):
    """Write a settings file for ``ketformer train``; return its path as text."""
    path.write_text(yaml.safe_dump(settings(data, **changes)), encoding="utf-8")
    return str(path)


def write_molecule_settings(path, data, *, model=None, training=None, **own):
    """The same for molecules: one block of width 16, overlap attention as published, 40 steps."""
    model = {
        "attention": "overlap",
        "attention_options": {"angles": "embedding", "n_qubits": 6, "layers": 1},
        "hidden_size": 16,
        "max_position_embeddings": 16,
        **(model or {}),
    }
    training = {
        "max_steps": 40,
        "per_device_train_batch_size": 32,
        "learning_rate": 2e-2,
        "eval_steps": 20,
        "save_steps": 10,
        **(training or {}),
    }
    own = {"name": "tiny-molecules", "task": "molecules", **own}
    return write_settings(path, data, model=model, training=training, **own)


@dataclass(frozen=True)
class Outcome:
    """The result of one call of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Standard output as JSON; any character besides the object is an error."""
        return json.loads(self.out)

    def assert_mistake(self, *told):
        """Check a reported mistake: code 2, nothing on standard output, one line that names it."""
        assert self.code == 2, self
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("ketformer: error: ")
        for words in told:
            assert words in lines[0]


def subprocess_environment(**more):
    """An environment with one thread per process: small tensors gain nothing from more."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def run_process(*args, launcher=(), program="ketformer", timeout=200, **more):
    """Run ``python -m ketformer …`` as a separate process, or under another launcher."""
    command = [sys.executable, "-m", *launcher, program, *map(str, args)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=subprocess_environment(**more)
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def weights(run):
    """The saved tensors of a run, by name."""
    from safetensors.torch import load_file

    return load_file(run / "model.safetensors")


def largest_difference(a, b):
    """Largest absolute difference between the weights of two runs."""
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def metrics(run):
    """The lines of a run's ``metrics.jsonl``."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def call(capsys, *args):
    """One call of the command in this process."""
    capsys.readouterr()
    code = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def reproduce(paper, data, folder, **options):
    """Run ``ketformer reproduce`` once; return its arguments, the last of which is its folder."""
    options = {"data": data, **options, "out": folder / "out"}
    args = ["reproduce", paper, *(w for k, v in options.items() for w in (f"--{k}", str(v)))]
    assert main([*args, "--json"]) == 0
    return args


def reproduction(args):
    """The saved results of a reproduction."""
    return json.loads((Path(args[-1]) / "reproduction.json").read_text(encoding="utf-8"))


_TIMES = ("runtime", "per_second")


def without_times(rows):
    return [{k: v for k, v in row.items() if not k.endswith(_TIMES)} for row in rows]


@contextmanager
def at_step(step, act, when="on_step_end"):
    """Call ``act()`` at the end of that step."""
    from ketformer.training.callbacks import ProgressBar

    def hook(self, args, state, control, **_):
        if state.global_step == step:
            act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressBar, when, hook)
        yield


def cut_off(step, when="on_step_end"):
    """Interrupt the training at that step, without time to save."""

    def interrupt():
        raise KeyboardInterrupt

    return at_step(step, interrupt, when)


def start(*args, launcher=()):
    """Start ``ketformer …`` as a separate process, to be killed."""
    command = [sys.executable, "-m", *(launcher or ()), "ketformer", *map(str, args)]
    return subprocess.Popen(
        command,
        env=subprocess_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def forked(*args, errors=os.devnull, at_its_start=None):
    """Start ``ketformer …`` in a process to be killed, forked from one that has imported it.

    Nothing that this process has patched is patched there; to import everything takes longer than
    what is run.

    Args:
        *args: the command's arguments.
        errors: the file that gets its messages.
        at_its_start: called there before the command; defined in a module.

    Returns:
        A process of :mod:`multiprocessing`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ketformer.training.loop", "ketformer.generation.molecules"])
    environment = subprocess_environment()
    process = context.Process(
        target=_command, args=([*map(str, args)], environment, str(errors), at_its_start)
    )
    process.start()
    return process


def _command(args, environment, errors, at_its_start):
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = open(errors, "w", buffering=1)  # noqa: SIM115
    if at_its_start is not None:
        at_its_start()
    sys.exit(main(args))


def ray_workers():
    """Ray's processes that do a job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if command.startswith("ray::_work"):
            found.append(int(path.parent.name))
    return found


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def free_port():
    """A port that is free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def somebody_in(folder):
    """Another user of a folder while the block runs; a thread is as foreign as a process."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with in_use(folder):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(60)
    yield
    leave.set()
    thread.join()


def files_in(folder):
    """Everything in a folder with its time of change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

"""Tiny runs of each kind, trained once, with a separate cache."""

import pytest

from ketformer.app.opened_runs import open_subject
from ketformer.runs import Settings
from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.training import train
from ketformer.utils.logging import quiet_libraries

TEXT = "the cat sat on a mat and saw the dog that ate my hat while we ran to it\n" * 60
MODEL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
TRAINING = {
    "max_steps": 20,
    "per_device_train_batch_size": 16,
    "learning_rate": 2e-2,
    "lr_scheduler_type": "constant",
    "eval_steps": 20,
    "save_steps": 10,
    "report_to": "none",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder for the runs, their data and the cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("app")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr("ketformer.generation.preview._GLANCE", 24)
        quiet_libraries()
        yield folder


def trained(folder, name, attention, *, steps=20, **own):
    """The run directory of a tiny model."""
    settings = Settings(
        name=name,
        model={**MODEL, "attention": attention, **own.pop("model", {})},
        training={**TRAINING, "max_steps": steps},
        **own,
    )
    train(settings, folder / name, progress=False)
    return folder / name


@pytest.fixture(scope="session")
def data(folder):
    """The path of a small text."""
    path = folder / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def writer(folder, data):
    """A text model whose scores and values come from circuits."""
    return trained(folder, "writer", "qsann", data=data)


@pytest.fixture(scope="session")
def leaky(folder, data):
    """A text model that sees the future."""
    return trained(folder, "leaky", "qisa_published", data=data)


@pytest.fixture(scope="session")
def classical(folder, data):
    """A text model without circuits."""
    return trained(folder, "classical", "classical", data=data)


@pytest.fixture(scope="session")
def smi(folder):
    """The path of the molecules with up to four heavy atoms."""
    path = folder / "small.smi"
    path.write_text("\n".join(embedded_smiles(4)) + "\n")
    return str(path)


@pytest.fixture(scope="session")
def chemist(folder, smi):
    """A molecule model with two conditions, either of which may be unknown."""
    model = {
        "attention_options": {"n_qubits": 4},
        "num_attention_heads": 1,
        "hidden_size": 16,
        "condition_pdrop": 0.3,
    }
    return trained(
        folder, "chemist", "overlap", steps=90, task="molecules", data=smi,
        conditions="LogP,TPSA", model=model,
    )  # fmt: skip


@pytest.fixture(scope="session")
def needy(folder, smi):
    """A molecule model that needs its two conditions and holds no statistics of them."""
    model = {"hidden_size": 8, "condition_unknown": False, "num_hidden_layers": 1}
    return trained(
        folder, "needy", "classical", task="molecules", data=smi, conditions="nRot,MW",
        standardise_conditions=False, model=model,
    )  # fmt: skip


@pytest.fixture
def opened():
    """``opened(path)``: the run as the page opens it."""
    return open_subject

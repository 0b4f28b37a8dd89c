"""``ketformer import-checkpoint``: released weights become a run that every command accepts."""

import json
import os
import pickle
import re
import urllib.error
import urllib.request
import zipfile

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands import somebody_in
from ketformer.tasks.molecules.properties import PROPERTIES

RELEASED = {
    "quantum_sequence_epoch_17.pt": ("overlap sequence", 47_704, 17),
    "quantum_conditions_epoch_20.pt": ("overlap conditions", 48_307, 20),
    "classical_eq_sequence_epoch_16.pt": ("classical_eq sequence", 47_704, 16),
}
D, VOCABULARY, CONTEXT = 64, 33, 24
# With seven to nine heavy atoms, like nearly all of QM9.
LIKE_QM9 = """
    CC1CC1C#N CC(=O)NCCO OCC1CC2CC2O1 CC1OC1CCO N#CC1CCCO1 CCC1CC(O)C1 CC1(C)OCC1O COCC(O)C#N
    O=CC1CCC1O CC12CC1CCO2 CCc1ccco1 Cc1cc[nH]c1C OC1CC2OC2C1 CC(C)(O)CC=O C#CC(O)CCO CCOC(=O)CC
    CN1CCC1C=O O=C1CCC2CC12 CC1CC(=O)CO1 NC(=O)C1CC1O CC1CN1CC#N OC1C2CC1CO2 CCC(C)OCC CC1CCCCC1
"""


@pytest.fixture(autouse=True)
def _no_qm9(monkeypatch, tmp_path):
    """QM9 is neither on this machine nor available for download."""

    def no_network(*_, **__):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setenv("KETFORMER_DATA", str(tmp_path / "no-data"))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)


@pytest.fixture
def released(shared_file):
    """``released(name)``: the path of a released file."""
    return lambda name: shared_file("published", name)


def made_up():
    """The content of a released file of the classical kind, with random weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "position_embed": (1, CONTEXT, D), "token_embed.weight": (VOCABULARY, D),
        "block.attention.query.weight": (D, D), "block.attention.key.weight": (D, D),
        "block.attention.value.weight": (D, D),
        "block.attention.projection.weight": (D, D), "block.attention.projection.bias": (D,),
        "block.mlp.0.weight": (256, D), "block.mlp.0.bias": (256,),
        "block.mlp.2.weight": (D, 256), "block.mlp.2.bias": (D,),
        "output.weight": (VOCABULARY, D), "output.bias": (VOCABULARY,),
        **{
            f"{norm}.{part}": (D,)
            for norm in ("block.layer_norm1", "block.layer_norm2", "layer_norm")
            for part in ("weight", "bias")
        },
    }  # fmt: skip
    weights = {name: 0.1 * torch.randn(*s, generator=generator) for name, s in shapes.items()}
    return {
        "model_state_dict": weights,
        "epoch": 2,
        "training_losses": [1.5, 1.25],
        "val_losses": [1.75, 1.5],
        "training_configuration": {"num_qubits": 6},
    }


@pytest.fixture
def file(tmp_path):
    """The path of a file with made-up weights."""
    torch.save(made_up(), tmp_path / "made-up.pt")
    return tmp_path / "made-up.pt"


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_file_works_with_every_verb(ketformer, released, tmp_path, name):
    kind, parameters, epochs = RELEASED[name]
    run = tmp_path / "run"
    facts = ketformer("import-checkpoint", released(name), "--out", run, "--json").json
    assert (facts["kind"], facts["parameters"], facts["epochs"]) == (kind, parameters, epochs)
    assert 0.3 < facts["recorded_loss"] < 0.7

    (tmp_path / "like.smi").write_text(LIKE_QM9.replace(" ", "\n"))
    options = ("--data", tmp_path / "like.smi", "--split", "train", "--limit", 20)
    result = ketformer("evaluate", run, *options, "--samples", 0, "--json").json
    assert (result["molecules"], result["parameters"]) == (20, parameters)
    assert result["loss"] < 1.6  # uniform guessing gives 3.5 nats

    values = (110, 2, 1, 1, 1, 2, 35, 0.3, 1)
    wishes = [f"{name}={value}" for name, value in zip(PROPERTIES, values, strict=True)]
    wish = ("--condition", *wishes) if kind == "overlap conditions" else ()
    done = ketformer("generate", run, "--num", 60, *wish, "--json")
    assert done.code == 0
    assert done.json["validity"] > 0.3
    assert done.json["novelty"] is None  # unknown without QM9
    assert "novelty is not known: cannot download qm9" in done.err

    # With conditions the released code scales by the batch: a sequence sees the others in it.
    audited = ketformer("audit", run, "--require_causal", "--json")
    assert (audited.code, audited.json["causal"]) == (0, True)


def test_the_run_is_like_any_other(ketformer, file, tmp_path):
    run = tmp_path / "folder" / "run"
    facts = ketformer("import-checkpoint", file, "--out", run, "--json").json
    assert facts == {
        "run": str(run),
        "kind": "classical sequence",
        "parameters": sum(tensor.numel() for tensor in made_up()["model_state_dict"].values()),
        "epochs": 2,
        "recorded_loss": 1.5,
    }
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["imported"]["file"] == "made-up.pt"
    assert manifest["imported"]["val_losses"] == [1.75, 1.5]
    assert manifest["data"]["name"] == "qm9"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["loss"], row["eval_loss"]) for row in lines] == [(1.5, 1.75), (1.25, 1.5)]
    model = AutoModelForCausalLM.from_pretrained(run)
    tokenizer = AutoTokenizer.from_pretrained(run)
    assert len(tokenizer) == model.config.vocab_size == VOCABULARY
    ids = tokenizer("C[NH3+]").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "C", "[NH3+]"]
    written = made_up()["model_state_dict"]["output.weight"]
    assert torch.equal(model.lm_head.weight, written)


def test_its_settings_train_a_model_of_the_same_size(ketformer, file, smi, tmp_path):
    assert ketformer("import-checkpoint", file, "--out", tmp_path / "run").code == 0
    shorter = ("--data", smi, "--max_steps", 1, "--out", tmp_path / "again", "--json")
    trained = ketformer("train", tmp_path / "run/settings.yaml", *shorter).json
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    # The data's vocabulary has 19 tokens, not 33, each with 64 + 64 weights and a bias.
    assert trained["parameters"] == manifest["parameters"] - (33 - 19) * (2 * D + 1)
    assert trained["attention"] == "classical"


def test_without_json_the_next_step_is_named(ketformer, file, tmp_path):
    shown = ketformer("import-checkpoint", file, "--out", tmp_path / "run").out
    assert f"next: ketformer generate {tmp_path / 'run'}" in shown
    assert "classical sequence" in shown


# --- Mistakes ------------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_left_alone(ketformer, file, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    ketformer("import-checkpoint", file, "--out", out).assert_mistake("exists; choose another")
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    ketformer("import-checkpoint", file, "--out", file).assert_mistake("exists")
    assert torch.load(file, weights_only=True)["epoch"] == 2


def test_a_folder_that_is_in_use_is_left_alone(ketformer, file, tmp_path):
    with somebody_in(tmp_path / "run"):
        done = ketformer("import-checkpoint", file, "--out", tmp_path / "run")
        done.assert_mistake("in use by process")


class Bomb:
    """Unpickling it creates a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_hostile_file_is_refused_and_nothing_of_it_runs(ketformer, tmp_path, form):
    path, proof = tmp_path / "bomb.pt", tmp_path / "proof"
    content = {**made_up(), "epoch": Bomb(proof)}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(proof), protocol=2))
    out = tmp_path / "folder" / "run"
    ketformer("import-checkpoint", path, "--out", out).assert_mistake("bomb.pt: refused")
    assert not proof.exists()
    assert not out.parent.exists()


def without_output(content):
    del content["model_state_dict"]["output.weight"]


def with_nan(content):
    content["model_state_dict"]["output.bias"][3] = torch.nan


def with_twenty_tokens(content):
    weights = content["model_state_dict"]
    for name in ("token_embed.weight", "output.weight", "output.bias"):
        weights[name] = weights[name][:20].clone()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_output, "do not fit together"),
        (with_nan, "holds NaN or infinity"),
        (with_twenty_tokens, "20 tokens, but QM9 has 33"),
        (lambda content: content.pop("model_state_dict"), "no model_state_dict"),
        (lambda content: content.update(val_losses=3.5), "val_losses"),
    ],
    ids=["half", "nan", "vocabulary", "empty", "one-loss"],
)
def test_a_broken_file_is_one_line(ketformer, tmp_path, change, told):
    content = made_up()
    change(content)
    torch.save(content, tmp_path / "broken.pt")
    out = tmp_path / "folder" / "run"
    done = ketformer("import-checkpoint", tmp_path / "broken.pt", "--out", out)
    done.assert_mistake("broken.pt", told)
    assert not out.parent.exists()


def with_a_claim(content):
    """Claim a terabyte, of which the file holds one number."""
    weights = content["model_state_dict"]
    weights["token_embed.weight"] = torch.zeros(1).expand(2**32, D)


def with_many_qubits(content):
    weights = content["model_state_dict"]
    for name in ("query", "key"):
        del weights[f"block.attention.{name}.weight"]
        weights[f"block.attention.{name}_angles"] = torch.zeros(1, 40)
    weights["token_embed_quantum_parameters.weight"] = torch.zeros(VOCABULARY, 20)
    weights["position_embed_quantum_parameters"] = torch.zeros(1, CONTEXT, 20)
    content["training_configuration"]["num_qubits"] = 40


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_a_claim, "its tensors claim more than the file holds"),
        (with_many_qubits, "40 qubits are too many"),
        (lambda content: content.update(epoch=10**60), "unexpected value of epoch"),
        (lambda content: content.update(epoch={"a": 1}), "unexpected value of epoch"),
        (lambda content: content.update(val_losses=["1"]), "unexpected value of val_losses"),
        (
            lambda content: content.update(training_configuration={"a": [[]]}),
            "unexpected value of training_configuration",
        ),
        (lambda content: content.update(training_configuration=[6]), "unexpected value"),
    ],
    ids=["claim", "qubits", "digits", "epoch", "losses", "nested", "list"],
)
def test_a_file_that_would_fill_the_memory_or_the_manifest_is_one_line(
    ketformer, tmp_path, change, told
):
    content = made_up()
    change(content)
    torch.save(content, tmp_path / "hostile.pt")
    done = ketformer("import-checkpoint", tmp_path / "hostile.pt", "--out", tmp_path / "run")
    done.assert_mistake("hostile.pt", told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "unknown-version"])
def test_a_packed_file_that_is_larger_than_it_seems_is_refused(ketformer, file, tmp_path, hidden):
    with (
        zipfile.ZipFile(file) as sound,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in sound.namelist():
            packed.writestr(name, sound.read(name))
        packed.writestr("made-up/data/999", bytes(1 << 26))
    if hidden:  # torch ignores the version, zipfile refuses it
        content = (tmp_path / "packed.pt").read_bytes()
        entries = content.index(b"PK\1\2")
        changed = re.sub(b"(PK\1\2..).", lambda m: m[1] + b"\x63", content[entries:], flags=re.S)
        (tmp_path / "packed.pt").write_bytes(content[:entries] + changed)
        assert torch.load(tmp_path / "packed.pt", weights_only=True)
    done = ketformer("import-checkpoint", tmp_path / "packed.pt", "--out", tmp_path / "run")
    done.assert_mistake("packed.pt", "zip file version 9.9" if hidden else "it is compressed")


@pytest.mark.parametrize("content", [b"", b"smiles\nCCO\n", b"PK\x03\x04"], ids=repr)
def test_what_is_no_checkpoint_is_one_line(ketformer, tmp_path, content):
    (tmp_path / "no.pt").write_bytes(content)
    done = ketformer("import-checkpoint", tmp_path / "no.pt", "--out", tmp_path / "run")
    done.assert_mistake("no.pt")
    assert not (tmp_path / "run").exists()


def test_a_truncated_file_is_one_line(ketformer, file, tmp_path):
    file.write_bytes(file.read_bytes()[:5000])
    done = ketformer("import-checkpoint", file, "--out", tmp_path / "run")
    done.assert_mistake("made-up.pt: not a complete")
    missing = ketformer("import-checkpoint", tmp_path / "none.pt", "--out", tmp_path / "run")
    missing.assert_mistake("no file")
    assert not (tmp_path / "run").exists()

"""Tools that know only transformers load our models, and no file is executed unless they ask."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from commands import WITHOUT_KETFORMER, subprocess_environment
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM, KetformerModel
from ketformer.models.modeling_ketformer import __file__ as SOURCE
from ketformer.tasks.molecules.tokenizer import smiles_tokenizer
from ketformer.tasks.text import bpe_tokenizer, char_tokenizer

from .helpers import small_config, small_model, some_ids

MODULE = "modeling_ketformer.py"
MODELS = {
    "classical": {},
    "overlap": {"attention": "overlap", "attention_options": {"n_qubits": 3}},
    "strings": {"attention": "qsann", "attention_options": {"observables": "random"}},
    "leaky": {"attention": "qisa_published"},
    "hybrid": {"attention": ["qisa", "overlap"], "attention_options": {"qisa": {"score": "dot"}}},
}
TEXT = "the cat sat on the mat, and the dog sat on the cat. "
TOKENIZERS = {
    "char": (lambda: char_tokenizer(TEXT), TEXT),
    "bpe": (lambda: bpe_tokenizer(TEXT * 9, 300), "the cat\nsät  on 猫"),
    "smiles": (lambda: smiles_tokenizer(["C", "N", "O", "(", ")", "=", "Cl", "[nH]"]), "CC(=O)Cl"),
}

# What such a tool does; it never names ketformer. Its arguments are folders, each with options.
TOOL = """
import json, sys, torch
from pathlib import Path
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
assert "ketformer" not in sys.modules

def opened(folder, options):
    found = {}
    for path in folder.glob("tokenizers/*"):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        text = (folder / f"{path.name}.txt").read_text(encoding="utf-8")
        ids = tokenizer(text)["input_ids"]
        found[path.name] = [ids, tokenizer.decode(ids, skip_special_tokens=True)]
    for path in folder.glob("models/*"):
        try:
            config = AutoConfig.from_pretrained(path, **options)
            model = AutoModelForCausalLM.from_pretrained(path, **options)
        except Exception as error:
            found[path.name] = [type(error).__name__, str(error)]
            continue
        torch.save(model(torch.arange(6)[None]).logits, folder / f"{path.name}.pt")
        model.save_pretrained(folder / "again" / path.name)
        decoder = AutoModel.from_pretrained(path, **options)
        found[path.name] = [type(part).__name__ for part in (config, model, decoder)]
    return found

found = [opened(Path(folder), options) for folder, options in json.loads(sys.argv[1])]
print()  # ends the question that transformers asks before it executes a file
print(json.dumps(found))
"""
BOMB = "from pathlib import Path\nPath({!r}).mkdir()\nraise RuntimeError('executed')\n"


def tool(modules, *jobs, program=TOOL):
    """What the tool found in each folder, by the names of what it opened."""
    listed = json.dumps([[str(folder), options] for folder, options in jobs])
    done = subprocess.run(
        [sys.executable, "-c", program, listed],
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,  # transformers would ask whether to execute the file
        env=subprocess_environment(HF_MODULES_CACHE=str(modules), HF_HUB_OFFLINE="1"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def bombed(folder, proof, name=MODULE):
    """Put a file that would create ``proof`` into a saved model, and make ``auto_map`` name it."""
    (folder / name).write_text(BOMB.format(str(proof)))
    config = json.loads((folder / "config.json").read_text())
    stem = name.removesuffix(".py")
    config["auto_map"] = {key: f"{stem}.{value.partition('.')[2]}"
                          for key, value in config["auto_map"].items()}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of saved models and tokenizers."""
    folder = tmp_path_factory.mktemp("saved")
    for name, changes in MODELS.items():
        small_model(seed=1, **changes).save_pretrained(folder / "models" / name)
    for name, (make, text) in TOKENIZERS.items():
        make().save_pretrained(folder / "tokenizers" / name)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trusted(saved, tmp_path_factory):
    """What a tool finds in it that was told to trust it."""
    return tool(tmp_path_factory.mktemp("modules"), (saved, {"trust_remote_code": True}))[0]


@pytest.fixture(scope="module")
def without(saved, tmp_path_factory):
    """What a tool finds where ketformer is not installed: without trust, then with it.

    There is also a model with another module.
    """
    folder = tmp_path_factory.mktemp("without")
    small_model().save_pretrained(folder / "models/bombed")
    bombed(folder / "models/bombed", folder / "proof")
    jobs = [
        (path, trust) for trust in ({}, {"trust_remote_code": True}) for path in (saved, folder)
    ]
    found = tool(folder / "modules", *jobs, program=WITHOUT_KETFORMER + TOOL)
    return found[0] | found[1], found[2] | found[3]


# --- The module --------------------------------------------------------------------------------


def test_the_module_holds_imports_and_the_line_for_who_lacks_ketformer():
    docstring, block = ast.parse(Path(SOURCE).read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    (imported,) = block.body
    assert (type(imported), imported.module) == (ast.ImportFrom, "ketformer.models")
    assert {type(node) for node in block.handlers[0].body} == {ast.If, ast.Raise}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_saved_with_every_model_and_every_configuration(saved, tmp_path, name):
    config = KetformerConfig.from_pretrained(saved / "models" / name)
    config.save_pretrained(tmp_path)
    for folder in (saved / "models" / name, tmp_path):
        assert (folder / MODULE).read_bytes() == Path(SOURCE).read_bytes()
        mapped = json.loads((folder / "config.json").read_text())["auto_map"]
        assert mapped == {
            "AutoConfig": "modeling_ketformer.KetformerConfig",
            "AutoModel": "modeling_ketformer.KetformerModel",
            "AutoModelForCausalLM": "modeling_ketformer.KetformerForCausalLM",
        }


# --- A tool that trusts it ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_tool_that_never_heard_of_ketformer_gets_the_same_logits(saved, trusted, name):
    assert trusted[name] == ["KetformerConfig", "KetformerForCausalLM", "KetformerModel"]
    ours = small_model(seed=1, **MODELS[name])(torch.arange(6)[None]).logits
    assert torch.equal(torch.load(saved / f"{name}.pt", weights_only=True), ours)


@pytest.mark.parametrize("name", MODELS)
def test_what_it_saves_is_what_it_loaded(saved, trusted, name):
    first, again = saved / "models" / name, saved / "again" / name
    assert {path.name for path in first.iterdir()} == {path.name for path in again.iterdir()}
    for path in first.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


# --- Nobody trusts it, or nobody has Ketformer --------------------------------------------------


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_tokenizers_load_with_trust_and_without_ketformer(trusted, without, name):
    make, text = TOKENIZERS[name]
    ids = make()(text)["input_ids"]
    decoded = make().decode(ids, skip_special_tokens=True)
    for found in (trusted, without[0]):
        assert found[name] == [ids, decoded]


@pytest.mark.parametrize("name", [*MODELS, "bombed"])
def test_without_trust_a_tool_is_refused_and_the_file_is_not_executed(without, name):
    kind, told = without[0][name]
    assert kind == "ValueError"
    assert "trust_remote_code=True" in told


@pytest.mark.parametrize("name", MODELS)
def test_where_ketformer_is_not_installed_one_line_says_how_to_install_it(without, name):
    kind, told = without[1][name]
    assert kind == "ImportError"
    assert told == "this model needs Ketformer, which is not installed here: pip install ketformer"


def test_the_other_module_would_have_been_seen(without):
    assert without[1]["bombed"] == ["RuntimeError", "executed"]


@pytest.mark.parametrize("trust", [{}, {"trust_remote_code": False}, {"trust_remote_code": True}])
def test_after_import_ketformer_no_file_is_executed(tmp_path, trust):
    """Our classes are known then, so even a trusted file has nothing to add."""
    model = small_model("qisa")
    model.save_pretrained(tmp_path / "model")
    char_tokenizer(TEXT).save_pretrained(tmp_path / "model")
    bombed(tmp_path / "model", tmp_path / "proof")
    config = AutoConfig.from_pretrained(tmp_path / "model", **trust)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", **trust)
    decoder = AutoModel.from_pretrained(tmp_path / "model", **trust)
    AutoTokenizer.from_pretrained(tmp_path / "model", **trust)
    AutoModelForCausalLM.from_config(config, **trust)
    assert [type(config), type(loaded), type(decoder)] == [
        KetformerConfig, KetformerForCausalLM, KetformerModel,
    ]  # fmt: skip
    assert torch.equal(loaded(some_ids(2, 5)).logits, model(some_ids(2, 5)).logits)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("trust", [{}, {"trust_remote_code": False}, {"trust_remote_code": True}])
@pytest.mark.parametrize("load", [AutoConfig, AutoModel, AutoModelForCausalLM])
def test_a_map_that_points_elsewhere_is_refused(tmp_path, load, trust):
    small_model().save_pretrained(tmp_path / "model")
    bombed(tmp_path / "model", tmp_path / "proof", "elsewhere.py")
    with pytest.raises(
        KetformerError, match=r"auto_map must name classes of modeling_ketformer\.py"
    ):
        load.from_pretrained(tmp_path / "model", **trust)
    assert not (tmp_path / "proof").exists()


OURS = small_config().auto_map


@pytest.mark.parametrize(
    "given", [None, OURS, {"AutoModel": OURS["AutoModel"]},
              {key: f"me/model--{value}" for key, value in OURS.items()}],
    ids=["none", "ours", "some", "from the Hub"],
)  # fmt: skip
def test_our_own_map_is_read(given):
    config = small_config(auto_map=given)
    assert config.auto_map == json.loads(config.to_json_string())["auto_map"] == OURS


@pytest.mark.parametrize(
    "given",
    [
        {"AutoConfig": "modeling_ketformer.KetformerModel"},
        {"AutoModelForMaskedLM": "modeling_ketformer.KetformerModel"},
        {"AutoConfig": "me/model--evil.KetformerConfig"},
        {"AutoConfig": ["modeling_ketformer.KetformerConfig"]},
        {"AutoConfig": None},
        ["modeling_ketformer.KetformerConfig"],
        "modeling_ketformer",
        3,
    ],
    ids=str,
)
def test_any_other_map_is_one_line(given):
    with pytest.raises(KetformerError, match="auto_map must name classes of") as caught:
        small_config(auto_map=given)
    assert "\n" not in str(caught.value)

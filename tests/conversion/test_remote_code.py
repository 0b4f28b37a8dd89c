"""Converted models in tools that know only transformers, and on their way to the Hub."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from commands import WITHOUT_KETFORMER, subprocess_environment
from conversion.helpers import ARCHITECTURES, converted, some_ids
from hub import Hub
from ketformer.conversion.modeling_ketformer import __file__ as SOURCE
from ketformer.conversion.names import class_names
from ketformer.errors import KetformerError
from ketformer.models.modeling_ketformer import __file__ as NATIVE

MODULE = "modeling_ketformer.py"
# What such a tool does with folders of models; it never names ketformer.
TOOL = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM

def opened(path, trust):
    try:
        model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=trust)
    except Exception as error:
        return [type(error).__name__, str(error)]
    torch.save(model(torch.arange(6)[None]).logits.detach(), path.with_suffix(".pt"))
    model.save_pretrained(path.parent / "again" / path.name)
    return [type(model.config).__name__, type(model).__name__]

paths = [*map(Path, sys.argv[1:])]
untrusted = {path.name: opened(path, False) for path in paths}
assert "ketformer" not in sys.modules
trusted = {path.name: opened(path, True) for path in paths}
print()  # ends the question that transformers asks before it executes a file
print(json.dumps([untrusted, trusted]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Converted models of every architecture, by name, each in a folder."""
    folder = tmp_path_factory.mktemp("saved")
    for name in ARCHITECTURES:
        converted(name, layers=[1]).save_pretrained(folder / name)
    return folder


def tool(saved, program=TOOL):
    """What the tool finds without trust and then with it, each by the name of the folder."""
    done = subprocess.run(
        [sys.executable, "-c", program, *(str(saved / name) for name in ARCHITECTURES)],
        capture_output=True,
        text=True,
        timeout=400,
        stdin=subprocess.DEVNULL,  # transformers would ask whether to execute the file
        env=subprocess_environment(HF_MODULES_CACHE=str(saved / "modules"), HF_HUB_OFFLINE="1"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(saved):
    """What a tool finds that never heard of ketformer, which is installed."""
    return tool(saved)


def test_a_tool_that_never_heard_of_ketformer_gets_the_same_logits(saved, found):
    assert found[1] == {name: list(class_names(name)) for name in ARCHITECTURES}
    for name in ARCHITECTURES:
        ours = converted(name, layers=[1])(torch.arange(6)[None]).logits
        assert torch.equal(torch.load((saved / name).with_suffix(".pt")), ours)
        for path in (saved / name).iterdir():  # it saves what it loaded
            assert (saved / "again" / name / path.name).read_bytes() == path.read_bytes()


def test_where_ketformer_is_not_installed_one_line_says_how_to_install_it(saved):
    told = "this model needs Ketformer, which is not installed here: pip install ketformer"
    _, trusted = tool(saved, WITHOUT_KETFORMER + TOOL)
    assert trusted == {name: ["ImportError", told] for name in ARCHITECTURES}


def test_without_trust_a_tool_is_refused(found):
    assert [*found[0]] == [*ARCHITECTURES]
    for kind, told in found[0].values():
        assert kind == "ValueError"
        assert "trust_remote_code=True" in told


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_map_names_classes_that_the_module_has(saved, name):
    config, causal = class_names(name)
    mapped = json.loads((saved / name / "config.json").read_text())["auto_map"]
    assert mapped == {
        "AutoConfig": f"modeling_ketformer.{config}",
        "AutoModelForCausalLM": f"modeling_ketformer.{causal}",
    }
    assert (saved / name / MODULE).read_bytes() == Path(SOURCE).read_bytes()


def test_the_module_is_that_of_our_own_models_but_for_the_classes():
    """Which a test of theirs holds to be imports, and the line for who lacks Ketformer."""
    ours, theirs = (
        ast.parse(Path(file).read_text(encoding="utf-8")).body[1] for file in (SOURCE, NATIVE)
    )
    (imported,) = ours.body
    assert (type(imported), imported.module) == (ast.ImportFrom, "ketformer.conversion")
    assert ast.dump(ours.handlers[0]) == ast.dump(theirs.handlers[0])


@pytest.mark.parametrize("trust", [{}, {"trust_remote_code": True}])
@pytest.mark.parametrize("load", [AutoConfig, AutoModelForCausalLM])
def test_a_map_that_points_elsewhere_is_refused(tmp_path, load, trust):
    converted().save_pretrained(tmp_path)
    (tmp_path / "elsewhere.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')")
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {key: f"elsewhere.{value.partition('.')[2]}"
                          for key, value in config["auto_map"].items()}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(KetformerError, match=r"auto_map must name classes of modeling_ketformer"):
        load.from_pretrained(tmp_path, **trust)
    assert not (tmp_path / "proof").exists()


def test_what_the_hub_is_sent_is_the_whole_model(tmp_path, monkeypatch):
    hub, model = Hub(monkeypatch), converted()
    model.push_to_hub("me/model")
    assert {"config.json", "model.safetensors", MODULE} <= set(hub.sent)
    hub.saved_to(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert torch.equal(loaded(some_ids()).logits, model(some_ids()).logits)

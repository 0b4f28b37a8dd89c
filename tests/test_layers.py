"""Imports point downwards only, modules stay short, and every registry entry resolves."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ketformer
from ketformer.attention import ATTENTION, Attention, attention_class
from ketformer.models import PRESETS
from ketformer.settings import load_settings

PACKAGE = Path(ketformer.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# The backends adapt other libraries, which they import on first use.
OWN_CODE = [name for name in MODULES if not name.startswith("ketformer.quantum.backends")]

# From the bottom up. A module may import from lower layers and from its own, and `errors` always.
# Names on one line are side by side: they may not import each other.
LAYERS = [
    ["quantum"],
    ["attention"],
    ["models", "tasks"],
    # What several verbs need, then the verbs: one file each, held without a cycle below.
    ["verbs"],
    ["app"],
    ["cli"],
]
EVERYWHERE = {"ketformer.errors", "ketformer.lazy"}
VERBS = "verbs"  # the modules that lie in `ketformer` itself

# What a layer may import from outside the package, besides the standard library.
THIRD_PARTY = {
    "quantum": {"torch"},
    "attention": {"torch"},
}


def layer_of(module):
    """``ketformer.models.gpt1`` is in ``models``, ``ketformer.audit`` among the verbs."""
    part = [*module.split("."), ""][1]
    return part if any(part in row for row in LAYERS) else VERBS


def height_of(layer):
    return next(height for height, row in enumerate(LAYERS) if layer in row)


def imports_of(module):
    """Every module that the file imports, inside functions too, by its full name."""
    path = MODULES[module]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:  # `from ketformer import runs` imports ketformer.runs
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def inner_imports_of(module):
    return {name for name in imports_of(module) if name.split(".")[0] == "ketformer"}


def may_import(importer, imported):
    """Whether the layers allow it."""
    if imported in EVERYWHERE or importer == "ketformer":
        return True
    ours, theirs = layer_of(importer), layer_of(imported)
    return ours == theirs or height_of(theirs) < height_of(ours)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards_only(module):
    upwards = {name for name in inner_imports_of(module) if not may_import(module, name)}
    # `python -m ketformer` is the command.
    assert upwards == ({"ketformer.cli"} if module == "ketformer.__main__" else set())


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("ketformer.quantum.pauli", "ketformer.attention.base", False),
        ("ketformer.attention.qisa", "ketformer.quantum", True),
        ("ketformer.attention.qisa", "ketformer.models", False),
        ("ketformer.models.gpt1", "ketformer.tasks.text", False),
        ("ketformer.tasks.text.metrics", "ketformer.models", False),
        ("ketformer.tasks.datasets", "ketformer.runs", False),
        ("ketformer.models.gpt1", "ketformer.audit", False),
        ("ketformer.training", "ketformer.tasks.text", True),
        ("ketformer.training", "ketformer.cli", False),
        ("ketformer.cli.train", "ketformer.training", True),
        ("ketformer.quantum.simulate", "ketformer.errors", True),
    ],
)
def test_the_rule_itself(importer, imported, allowed):
    assert may_import(importer, imported) is allowed


def test_nothing_imports_the_front_page():
    """It imports everything, so whoever needs it would need everything."""
    users = {module for module in MODULES if "ketformer" in inner_imports_of(module)}
    assert users == set()


def test_no_module_imports_itself_through_others():
    graph = {
        module: {name for name in inner_imports_of(module) if name not in {module, "ketformer"}}
        for module in MODULES
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("module", [m for m in OWN_CODE if layer_of(m) in THIRD_PARTY])
def test_quantum_and_attention_need_torch_only(module):
    outside = {name.split(".")[0] for name in imports_of(module)}
    assert outside - {"ketformer"} - sys.stdlib_module_names <= THIRD_PARTY[layer_of(module)]


@pytest.mark.parametrize("module", OWN_CODE)
def test_a_module_can_be_read_in_one_sitting(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", ATTENTION)
def test_every_mechanism_resolves(name):
    cls = attention_class(name)
    assert issubclass(cls, Attention)
    assert cls.__doc__


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves(name):
    assert load_settings(name).model["attention"] in ATTENTION


def test_the_top_level_exports_what_the_design_promises():
    promised = {
        "ATTENTION",
        "Circuit",
        "KetformerConfig",
        "KetformerForCausalLM",
        "audit_causality",
        "build_attention",
    }
    assert promised <= set(ketformer.__all__)
    assert all(hasattr(ketformer, name) for name in ketformer.__all__)

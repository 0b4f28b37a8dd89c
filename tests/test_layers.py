"""The architecture: rooms on floors, imports that only point downwards, files of limited length."""

import ast
import importlib
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ketformer
from ketformer.attention import ATTENTION, Mixer, attention_class
from ketformer.models import PRESETS
from ketformer.runs import load_settings

PACKAGE = Path(ketformer.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]
# The backends adapt other libraries, which they import on first use.
OWN_CODE = [name for name in MODULES if not name.startswith("ketformer.quantum.backends")]

# From the ground up. A room may import from lower floors and from itself, but not from other rooms
# on the same floor.
FLOORS = [
    ["errors"],
    ["utils"],
    ["quantum", "tasks"],
    ["attention", "drawing"],
    ["models"],
    ["audit", "conversion", "runs"],
    ["circuits", "generation"],
    ["training", "evaluation", "bench", "optimisation"],
    ["comparison", "app"],
    ["report", "reproduction"],
    ["cli"],
    ["__main__"],
]
# The top-level package imports what it exports; nothing imports the top-level package.
FRONT = "ketformer"
ROOT_FILES = {"__init__.py", "__main__.py", "errors.py", "py.typed"}

# What a room may import from outside the package, besides the standard library.
THIRD_PARTY = {"quantum": {"torch"}, "attention": {"torch"}}


def room_of(module):
    return module.split(".")[1]


def floor_of(room):
    return next(floor for floor, rooms in enumerate(FLOORS) if room in rooms)


def imported_by_name(node):
    """The module that ``import_module("…")`` imports, if its argument is a literal."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        called = called.id if isinstance(called, ast.Name) else called
        if called in {"import_module", "__import__"}:
            yield node.args[0].value


def imports_of(source, module):
    """The full name of every module that a source imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        yield from imported_by_name(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:  # `from ketformer.runs import data` imports that module
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def inner_imports_of(module):
    source = MODULES[module].read_text(encoding="utf-8")
    found = {name for name in imports_of(source, module) if name.split(".")[0] == "ketformer"}
    return found - {module}


def may_import(importer, imported):
    """Whether the floors allow this import."""
    if importer == FRONT or imported == FRONT:
        return importer == FRONT
    ours, theirs = room_of(importer), room_of(imported)
    return ours == theirs or floor_of(theirs) < floor_of(ours)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards_only(module):
    assert {name for name in inner_imports_of(module) if not may_import(module, name)} == set()


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("ketformer.quantum.pauli", "ketformer.attention.base", False),
        ("ketformer.attention.qisa", "ketformer.quantum", True),
        ("ketformer.attention.qisa", "ketformer.drawing.figure", False),
        ("ketformer.models.gpt1", "ketformer.tasks.text", True),
        ("ketformer.tasks.text.data", "ketformer.runs.settings", False),
        ("ketformer.report.page", "ketformer.reproduction.qisa", False),
        ("ketformer.training.loop", "ketformer.evaluation", False),
        ("ketformer.conversion.models", "ketformer.models.checks", True),
        ("ketformer.cli.train", "ketformer.training", True),
        ("ketformer.quantum.simulate", "ketformer.errors", True),
        ("ketformer.models.gpt1", "ketformer", False),
        ("ketformer", "ketformer.audit", True),
    ],
)
def test_the_rule_itself(importer, imported, allowed):
    assert may_import(importer, imported) is allowed


def test_an_import_by_name_is_an_import_too():
    source = """
import importlib
def later():
    importlib.import_module("ketformer.cli")
    from importlib import import_module
    import_module("ketformer.report.page")
    import_module(name)
"""
    found = set(imports_of(source, "here"))
    assert {"ketformer.cli", "ketformer.report.page"} <= found


def test_no_module_imports_itself_through_others():
    graph = {module: inner_imports_of(module) - {FRONT} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_every_room_has_its_floor_and_nothing_else_lies_at_the_root():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == ROOT_FILES
    named = [room for floor in FLOORS for room in floor]
    assert sorted(named) == sorted(rooms | {"errors", "__main__"})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_bears_the_name_of_what_its_package_exports(package):
    """Otherwise importing the file would replace the function with a module."""
    exported = getattr(importlib.import_module(package), "__all__", [])
    files = {path.stem for path in MODULES[package].parent.iterdir()}
    assert files & set(exported) == set()
    for name in exported:
        assert getattr(importlib.import_module(package), name) is not None


def test_the_tests_are_cut_the_same_way():
    tests = Path(__file__).parent
    folders = {path.name for path in tests.iterdir() if (path / "__init__.py").is_file()}
    rooms = {room for floor in FLOORS for room in floor} - {"errors", "__main__"}
    # Besides the rooms: the whole repository, fuzzing of the readers, and what needs a GPU.
    assert folders == rooms | {"project", "fuzzing", "gpu"}


@pytest.mark.parametrize(
    "module", [m for m in OWN_CODE if m.split(".")[1:2] and room_of(m) in THIRD_PARTY]
)
def test_quantum_and_attention_need_torch_only(module):
    source = MODULES[module].read_text(encoding="utf-8")
    outside = {name.split(".")[0] for name in imports_of(source, module)}
    assert outside - {"ketformer"} - sys.stdlib_module_names <= THIRD_PARTY[room_of(module)]


@pytest.mark.parametrize("module", OWN_CODE)
def test_a_module_can_be_read_in_one_sitting(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", ATTENTION)
def test_every_mechanism_resolves(name):
    cls = attention_class(name)
    assert issubclass(cls, Mixer)
    assert cls.__doc__


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves(name):
    assert load_settings(name).model.get("attention", "classical") in ATTENTION


def test_the_top_level_exports_what_the_design_promises():
    promised = {
        "ATTENTION",
        "Circuit",
        "KetformerConfig",
        "KetformerForCausalLM",
        "audit_causality",
        "build_attention",
        "convert",
    }
    assert promised <= set(ketformer.__all__)

"""The table of dependencies: complete, true, and no longer than needed."""

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path

import pytest

import ketformer

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# transformers imports them for us; the source does not.
BY_TRANSFORMERS = {"accelerate", "tensorboard"}
# SPDX names of licences for packages whose metadata has no expression.
SPDX = {
    "ISC License (ISCL)": "ISC",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}


def named(requirements):
    """The package names in a list of requirements, without our own extras."""
    names = (re.match(r"[\w.-]+", text)[0] for text in requirements)
    return [name for name in names if name != "ketformer"]


def asked():
    """Each dependency with what requires it: the package, an extra or the build."""
    project = PROJECT["project"]
    pairs = [(name, "ketformer") for name in named(project["dependencies"])]
    for extra, requirements in project["optional-dependencies"].items():
        pairs += [(name, extra) for name in named(requirements)]
    return pairs + [(name, "build") for name in named(PROJECT["build-system"]["requires"])]


def rows():
    """The cells of each row of the table."""
    lines = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def licence_of(name):
    """The licence in an installed package's metadata: an expression, a classifier or a word."""
    found = metadata(name)
    classifiers = found.get_all("Classifier") or []
    said = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    licence = found.get("License-Expression") or next(iter(said), "") or found.get("License")
    return SPDX.get(licence, licence)


def test_the_table_lists_what_is_asked_for_and_nothing_else():
    assert [(row[0], row[1]) for row in rows()] == asked()


def test_every_row_says_what_for_and_who_keeps_it_up():
    assert all(len(row) == 5 and all(row) for row in rows())


def is_installed(name):
    try:
        return bool(metadata(name))
    except PackageNotFoundError:
        return False


def test_all_but_what_the_tests_need_not_is_installed():
    """Exceptions: the fuzzer, the build tool, Ray, what slow tests need, CUDA-Q without wheels."""
    spared = {
        "atheris",
        "hatchling",
        "lm_eval",
        "ray",
        "trl",
        *(["cuda-quantum-cu13"] if sys.platform != "linux" else []),
    }
    assert {row[0] for row in rows() if not is_installed(row[0])} <= spared


@pytest.mark.parametrize(
    "row", [row for row in rows() if is_installed(row[0])], ids=lambda row: row[0]
)
def test_the_licence_is_what_the_installed_package_says(row):
    assert row[3] == licence_of(row[0])


def imported():
    """The distributions of all modules that the package imports, including in functions.

    Of a module that several share, such as ``braket``, those that are asked for.
    """
    tops = set()
    for path in Path(ketformer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                tops.add(str(node.module).split(".")[0])
    outside = tops - set(sys.stdlib_module_names) - {"ketformer"}
    wanted = {name.lower() for name, _ in asked()}
    known = packages_distributions()
    owners = [{name.lower() for name in known.get(top, [])} for top in outside]
    return {name for names in owners for name in (names & wanted or names)}


def test_what_is_imported_is_asked_for_and_what_is_asked_for_is_imported():
    optional = {name.lower() for name, by in asked() if by not in {"ketformer", "build"}}
    required = {name.lower() for name, by in asked() if by == "ketformer"}
    assert imported() - optional == required - BY_TRANSFORMERS

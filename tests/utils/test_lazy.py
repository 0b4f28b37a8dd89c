"""Packages whose exports are imported on first use."""

import importlib.util
import sys

SOURCE = """
from typing import TYPE_CHECKING
from ketformer.utils.lazy import lazily
if TYPE_CHECKING:
    from math import sqrt
__getattr__, __dir__, __all__ = lazily(__name__)
"""


class OnlyExecutes:
    """A loader that gives no source, as pytest's for the packages of installed plugins."""

    def __init__(self, path):
        self.path = path

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.path.read_text(), self.path, "exec"), vars(module))


def test_exports_whatever_loads_the_package(tmp_path, monkeypatch):
    path = tmp_path / "exporting.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("exporting", path, loader=OnlyExecutes(path))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "exporting", module)
    spec.loader.exec_module(module)
    assert module.__all__ == ["sqrt"]
    assert "sqrt" in dir(module)
    assert module.sqrt(4) == 2

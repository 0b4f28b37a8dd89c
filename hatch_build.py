"""Compiles the kernels into the wheel, so that ``pip install`` of it needs no compiler.

Without a compiler the wheel is one for every platform, and the kernels are compiled on first use.
An editable install compiles on first use too.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src/ketformer/quantum/native")


class KernelHook(BuildHookInterface):
    """One shared library for each instruction set in ``levels.py``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the platform in the wheel's file name."""
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if version == "editable" or compiler is None:
            return
        folder = Path(self.root, NATIVE)
        known = runpy.run_path(str(folder / "levels.py"))
        self._made = tempfile.TemporaryDirectory()
        for level in known["levels"]():
            name = f"kernels-{level}.so"
            made = Path(self._made.name, name)
            command = [compiler, *known["FLAGS"], f"-march={level}", "-o", made]
            done = subprocess.run([*command, folder / "kernels.c"], capture_output=True, text=True)
            if done.returncode:
                self.app.display_warning(f"{name} is left out: {done.stderr.strip()}")
                continue
            build_data["force_include"][str(made)] = f"ketformer/quantum/native/{name}"
        if build_data["force_include"]:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the libraries, which are in the wheel by now."""
        if hasattr(self, "_made"):
            self._made.cleanup()

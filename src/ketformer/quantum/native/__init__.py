"""Kernels in C for the CPU: those of the wheel, or else compiled on first use.

Without either, torch does the work. ``KETFORMER_NATIVE=0`` switches them off. ``avx2`` in
``ATEN_CPU_CAPABILITY``, which torch reads, narrows their vectors to 256 bits. Each kernel has a
counterpart in torch, and tests compare the two.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

from ketformer.quantum.native.levels import FLAGS, best_level, narrower_level
from ketformer.utils.files import cache_folder

_FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they are switched off or cannot be compiled."""
    if os.environ.get("KETFORMER_NATIVE", "1") == "0":
        return None
    if (shipped := _shipped()) is not None:
        return shipped
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    sources = sorted(_FOLDER.glob("*.c")) + sorted(_FOLDER.glob("*.inc"))
    command = [compiler, *FLAGS, f"-march={_narrower() or 'native'}"]
    parts = [path.read_bytes() for path in sources]
    parts += [" ".join(command).encode(), _processor().encode()]
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    target = cache_folder() / "native" / f"{name}.so"
    try:
        if not target.exists():
            if sys.stderr.isatty():
                print(f"compiling kernels, once, into {target.parent}", file=sys.stderr)
            _compile([*command, *(str(p) for p in sources if p.suffix == ".c")], target)
        _check_owner(target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        first = reason.strip().splitlines()[0] if reason.strip() else type(error).__name__
        warnings.warn(f"no native kernels, which costs time only: {first}", stacklevel=2)
        return None


def instructions() -> str | None:
    """What the kernels were compiled for, such as ``AVX2``; None without any."""
    found = library()
    if found is None:
        return None
    found.instructions.restype = ctypes.c_char_p
    name: bytes = found.instructions()
    return name.decode()


def _shipped() -> ctypes.CDLL | None:
    """The kernels that the wheel brought for the best instruction set of this processor."""
    level = _narrower() or best_level(_flags().split())
    path = _FOLDER / f"kernels-{level}.so"
    try:
        return ctypes.CDLL(str(path)) if path.is_file() else None
    except OSError:  # of another system
        return None


def _narrower() -> str | None:
    return narrower_level(os.environ.get("ATEN_CPU_CAPABILITY"))


def _compile(command: list[str], target: Path) -> None:
    """Compile to a temporary file, then rename it, so that no other process sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        subprocess.run(
            [*command, "-o", str(made)],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        os.replace(made, target)


def _check_owner(path: Path) -> None:
    """Refuse code that belongs to another user, on systems that have user ids."""
    if hasattr(os, "getuid") and os.stat(path).st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")


def _processor() -> str:
    """What ``-march=native`` stands for here, so that machines can share a home folder."""
    return f"{platform.machine()} {_flags() or platform.processor()}"


def _flags() -> str:
    """The instructions that the processor knows, by Linux; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line for line in lines if line.startswith(("flags", "Features")))
    return next(found, "").partition(":")[2]

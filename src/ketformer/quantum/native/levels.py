"""Instruction sets that wheels bring compiled kernels for.

The build of a wheel runs this file by its path, so it imports nothing of the package.
"""

from __future__ import annotations

import platform
from collections.abc import Collection

#: For every compiler and instruction set.
FLAGS = ("-O3", "-shared", "-fPIC", "-fopenmp-simd", "-fno-math-errno")

# By the compiler's name, the best first, with the flags of /proc/cpuinfo that each needs.
_AVX2 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_X86 = {"x86-64-v4": _AVX2 | _AVX512, "x86-64-v3": _AVX2}
_ARM: dict[str, set[str]] = {"armv8-a": set()}
_LEVELS = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}
#: What torch calls an instruction set in the variable ``ATEN_CPU_CAPABILITY``.
_NARROWER = {"avx2": "x86-64-v3"}


def levels() -> list[str]:
    """The instruction sets to compile for on this kind of processor, the best first."""
    return list(_LEVELS.get(platform.machine().lower(), {}))


def best_level(flags: Collection[str]) -> str | None:
    """The best of these that a processor with such flags runs; None if it runs none."""
    known = _LEVELS.get(platform.machine().lower(), {})
    return next((level for level, needed in known.items() if needed <= set(flags)), None)


def narrower_level(capability: str | None) -> str | None:
    """The one of these that ``ATEN_CPU_CAPABILITY`` asks for; None if it leaves the best."""
    level = _NARROWER.get(capability or "")
    return level if level in levels() else None

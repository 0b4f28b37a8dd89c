"""A wheel brings compiled kernels, and they are used where the processor runs them."""

import platform
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ketformer.quantum import CircuitStates, native, rotation_ring_ansatz, run
from ketformer.quantum.native.levels import best_level, levels, narrower_level

ROOT = Path(__file__).parents[2]
V3 = "avx2 bmi1 bmi2 f16c fma abm movbe"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty folder of kernels and no compiler; what was loaded before comes back after."""
    for name in ("KETFORMER_NATIVE", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(native, "_FOLDER", tmp_path)
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


@pytest.mark.parametrize(
    ("machine", "flags", "level"),
    [
        ("x86_64", V4, "x86-64-v4"),
        ("AMD64", V4.replace("avx512vl", ""), "x86-64-v3"),
        ("x86_64", V3, "x86-64-v3"),
        ("x86_64", V3.replace("fma", ""), None),
        ("x86_64", "", None),
        ("aarch64", "asimd", "armv8-a"),
        ("arm64", "", "armv8-a"),
        ("riscv64", "", None),
    ],
)
def test_the_best_instruction_set(monkeypatch, machine, flags, level):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert best_level(flags.split()) == level
    assert level is None or level in levels()


@pytest.mark.parametrize(
    ("machine", "capability", "level"),
    [
        ("x86_64", "avx2", "x86-64-v3"),
        ("x86_64", "avx512", None),
        ("x86_64", None, None),
        ("aarch64", "avx2", None),
    ],
)
def test_narrower_than_the_best(monkeypatch, machine, capability, level):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert narrower_level(capability) == level


def hook(root, told):
    """The hook of the build, made without hatchling's builder."""
    kind = runpy.run_path(str(ROOT / "hatch_build.py"))["KernelHook"]
    app = SimpleNamespace(display_warning=told.append)
    return kind(str(root), {}, None, None, "", "wheel", app)


def made_by(monkeypatch, compiler, version="standard"):
    """What the hook adds to a wheel with that compiler, and what it says."""
    monkeypatch.setenv("CC", compiler)
    build, told = {"force_include": {}}, []
    own = hook(ROOT, told)
    own.initialize(version, build)
    own.finalize(version, build, "")
    return build, told


def test_the_wheel_is_of_its_platform(monkeypatch, tmp_path):
    script = tmp_path / "compiler"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    build, told = made_by(monkeypatch, str(script))
    kept = [Path(path).name for path in build["force_include"].values()]
    assert kept == [f"kernels-{level}.so" for level in levels()]
    assert not told
    if kept:
        assert build["tag"] == f"py3-none-{sysconfig.get_platform().replace('-', '_')}"
        assert build["pure_python"] is False


def test_a_wheel_without_kernels_is_for_every_platform(monkeypatch, tmp_path):
    assert made_by(monkeypatch, "no-such-compiler") == ({"force_include": {}}, [])
    assert made_by(monkeypatch, "cc", version="editable") == ({"force_include": {}}, [])
    script = tmp_path / "compiler"
    script.write_text("#!/bin/sh\necho no such instruction set >&2\nexit 1\n")
    script.chmod(0o700)
    build, told = made_by(monkeypatch, str(script))
    assert build == {"force_include": {}}
    assert told == [
        f"kernels-{level}.so is left out: no such instruction set" for level in levels()
    ]


@needs_compiler
def test_shipped_kernels_need_no_compiler(folder, monkeypatch, tmp_path_factory):
    assert native.library() is None
    native.library.cache_clear()
    monkeypatch.setattr(native, "best_level", lambda flags: "own")
    source = tmp_path_factory.mktemp("c") / "one.c"
    source.write_text("int one(void) { return 1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "kernels-own.so", source], check=True)
    assert native.library().one() == 1
    native.library.cache_clear()
    monkeypatch.setattr(native, "best_level", lambda flags: "foreign")
    (folder / "kernels-foreign.so").write_text("of another system")
    assert native.library() is None


@pytest.mark.slow
@needs_compiler
def test_the_kernels_of_a_real_wheel(folder, monkeypatch, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    monkeypatch.setenv("CC", "cc")
    subprocess.run([*command, "-w", str(out), str(ROOT)], check=True)
    with zipfile.ZipFile(*out.glob("*.whl")) as wheel:
        for name in wheel.namelist():
            if name.endswith(".so"):
                (folder / Path(name).name).write_bytes(wheel.read(name))
    circuit = rotation_ring_ansatz(4, prefix="p")
    angles = torch.randn(37, 1, 4, dtype=torch.float64)
    shared = torch.zeros(1, 0, dtype=torch.float64)
    tried = levels()[levels().index(best_level(native._flags().split())) :]
    for level in tried:
        monkeypatch.setattr(native, "best_level", lambda flags, level=level: level)
        native.library.cache_clear()
        assert native.library()._name == str(folder / f"kernels-{level}.so")
        found = CircuitStates(circuit, 4)(angles, shared)
        torch.testing.assert_close(found, run(circuit, angles), atol=1e-12, rtol=0)

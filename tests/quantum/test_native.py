"""The native kernels are compiled once, into a folder of the user's own, or done without."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ketformer.quantum import native
from ketformer.quantum.native.levels import best_level

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder, and no library loaded yet; the one of before comes back after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KETFORMER_NATIVE", raising=False)
    monkeypatch.delenv("CC", raising=False)
    native.library.cache_clear()
    yield tmp_path / "ketformer/native"
    native.library.cache_clear()


def compiler(folder, *lines):
    """A shell script in place of the compiler."""
    path = folder / "compiler"
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o700)
    return str(path)


def test_switched_off_nothing_is_compiled(cache, monkeypatch):
    monkeypatch.setenv("KETFORMER_NATIVE", "0")
    assert native.library() is None
    assert not cache.exists()


def test_without_a_compiler_there_is_none(cache, monkeypatch, recwarn):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert native.library() is None
    assert not cache.exists()
    assert not recwarn.list


def test_a_compiler_that_fails_is_one_line(cache, monkeypatch, tmp_path, recwarn):
    failing = compiler(tmp_path, "echo 'cannot do -march' >&2", "echo more >&2", "exit 1")
    monkeypatch.setenv("CC", failing)
    assert native.library() is None
    (warning,) = recwarn.list
    assert str(warning.message) == "no native kernels, which costs time only: cannot do -march"
    assert list(cache.iterdir()) == []  # nothing half made


@needs_compiler
@pytest.mark.skipif(best_level(native._flags().split()) is None, reason="neither AVX2 nor ARM")
def test_torch_s_own_variable_narrows_the_vectors(cache, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    wide = native.instructions()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    native.library.cache_clear()
    narrow = native.instructions()
    assert (wide, narrow) in {("AVX-512", "AVX2"), ("AVX2", "AVX2"), ("NEON", "NEON")}
    monkeypatch.setenv("KETFORMER_NATIVE", "0")
    native.library.cache_clear()
    assert native.instructions() is None


@pytest.mark.slow
def test_the_compiler_of_a_mac_can_make_them(cache, monkeypatch, recwarn):
    monkeypatch.setenv("CC", "clang")
    assert shutil.which("clang"), "apt-get install clang"
    assert native.library().instructions
    assert not recwarn.list


@needs_compiler
def test_what_another_user_put_there_is_not_loaded(cache, monkeypatch):
    assert native.library() is not None
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    native.library.cache_clear()
    assert native.library() is not None  # from the cache
    if not hasattr(os, "getuid"):
        return
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    native.library.cache_clear()
    with pytest.warns(UserWarning, match="costs time only: .*belongs to another user"):
        assert native.library() is None


@needs_compiler
def test_two_processes_that_compile_at_once_both_load_it(cache, tmp_path):
    """The second begins while the first one's compiler has written half a file."""
    log = tmp_path / "begun"
    slow = compiler(
        tmp_path,
        'before=; for word in "$@"; do [ "$before" = -o ] && out=$word; before=$word; done',
        'echo half > "$out"',
        f"echo begun >> {log}",
        f"while [ $(wc -l < {log}) -lt 2 ]; do sleep 0.01; done",
        'exec cc "$@"',
    )
    # The module needs nothing of the package, which takes seconds to import.
    code = "import runpy, sys; sys.exit(runpy.run_path(sys.argv[1])['library']() is None)"
    command = [sys.executable, "-c", code, str(Path(native.__file__))]
    started = []
    try:
        started.append(subprocess.Popen(command, env={**os.environ, "CC": slow}))
        while not log.exists():
            assert started[0].poll() is None
        started.append(subprocess.Popen(command, env={**os.environ, "CC": slow}))
        assert started[1].wait(timeout=100) == 0
        assert started[0].wait(timeout=100) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [path.suffix for path in cache.iterdir()] == [".so"]

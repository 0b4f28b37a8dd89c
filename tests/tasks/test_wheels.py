"""Wheels: fetched by pip from where it is told to look, checked, and read without unpacking."""

import base64
import hashlib
import subprocess
import zipfile
from dataclasses import replace

import pytest

from ketformer.errors import KetformerError
from ketformer.tasks import wheels
from ketformer.tasks.datasets import DataSet, locate
from ketformer.tasks.wheels import csv_rows, fetch_wheel, member
from ketformer.utils.files import cache_folder

NAME = "ketformer_toy_data-1.0-py3-none-any.whl"


def wheel_of(files, folder):
    """A wheel that pip accepts."""
    info = "ketformer_toy_data-1.0.dist-info"
    told = {
        **files,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: ketformer-toy-data\nVersion: 1.0\n"
        b"Requires-Dist: a-package-that-does-not-exist\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()},\n"
        for name, content in told.items()
    )
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        for name, content in {**told, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, content)
    return folder / NAME


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A data set in a wheel that pip finds in a folder, without a network."""
    monkeypatch.delenv("KETFORMER_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    path = wheel_of({"toy/table.csv": b'a,b\n1,x\n2,"y\nz"\n'}, tmp_path / "index")
    return DataSet(
        name="toy",
        description="two rows",
        licence="none",
        filename=NAME,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        package="ketformer_toy_data==1.0",
    )


def cached():
    """Every file in the cache but the lock."""
    return sorted(path.name for path in cache_folder().glob("*") if path.suffix != ".lock")


def test_pip_fetches_a_wheel_once_and_installs_nothing(monkeypatch, toy):
    path = locate(toy)
    assert path == cache_folder() / NAME
    assert cached() == [NAME]
    assert list(csv_rows(path, "toy/table.csv")) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y\nz"}]
    with member(path, "toy/table.csv") as file:
        assert file.readline() == b"a,b\n"
    monkeypatch.setattr(subprocess, "run", None)
    assert locate(toy) == path


def test_a_wheel_with_another_hash_is_refused_and_not_kept(toy):
    with pytest.raises(KetformerError) as caught:
        locate(replace(toy, sha256="0" * 64))
    assert str(caught.value) == (
        "ketformer_toy_data==1.0 is not toy: its SHA-256 is not 000000000000…; put "
        f"{NAME} into a folder and set KETFORMER_DATA to it"
    )
    assert cached() == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("WARNING: one\nERROR: No matching distribution found for toy\n", "No matching dis"),
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("WARNING: Retrying after connection broken by 'x'\nERROR: No\n", "pip reaches no package"),
        ("", "pip failed"),
    ],
)
def test_what_pip_says_is_one_line_with_what_to_do(monkeypatch, tmp_path, said, reason):
    done = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(KetformerError) as caught:
        fetch_wheel("toy==1.0", tmp_path / NAME, "0" * 64, "toy")
    assert str(caught.value).startswith(f"cannot download toy ({reason}")
    assert str(caught.value).endswith(f"put {NAME} into a folder and set KETFORMER_DATA to it")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_wheel_or_lacks_the_file_is_one_line(tmp_path):
    (tmp_path / NAME).write_bytes(b"no zip")
    with pytest.raises(KetformerError, match="is not a wheel with a"), member(tmp_path / NAME, "a"):
        pass
    path = wheel_of({}, tmp_path / "index")
    with pytest.raises(KetformerError, match="is not a wheel with a"), member(path, "a"):
        pass

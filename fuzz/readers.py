"""What every reader must do with any bytes: read them, or refuse them in one line.

Each function here takes the bytes of one file. It raises if the reader did
anything else: another exception, a message of several lines, a value that does not
round-trip, a process started, a file written elsewhere. ``run.py`` drives them with atheris,
``tests/fuzzing`` with everything that atheris found and with hypothesis.
"""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig
from ketformer.models.published import from_published
from ketformer.runs import load_settings
from ketformer.tasks.datasets import load_text
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.tasks.molecules.tables import SUFFIXES, read_table
from ketformer.tasks.molecules.tokenizer import (
    decode_smiles,
    encode_smiles,
    smiles_tokenizer,
    split_smiles,
)
from ketformer.tasks.saved_tokenizer import load_tokenizer
from ketformer.tasks.text import char_tokenizer, encode

_FOLDER = Path(tempfile.mkdtemp(prefix="ketformer-fuzz-"))
_FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen"}
_FORBIDDEN |= {"socket.connect", "shutil.rmtree", "os.remove", "os.rename", "os.mkdir"}
_violations: list[str] = []


def molecules(data: bytes) -> None:
    """A table or list of molecules; the first byte picks the file extension."""
    if not data:
        return
    path = Path(f"a{SUFFIXES[(data[0] & 127) % len(SUFFIXES)]}")
    table = read_table(path, data[1:], None, ("x",) if data[0] & 128 else ())
    some = table.smiles[:50]
    for written, canonical in zip(some, canonicalise(some, processes=1), strict=True):
        if canonical is None:
            _or_refused(split_smiles, written)
            continue
        tokenizer = smiles_tokenizer(split_smiles(canonical))
        ids = encode_smiles(tokenizer, [canonical])
        assert decode_smiles(tokenizer, ids) == [canonical]
        assert canonicalise([canonical]) != [None], "RDKit cannot read what it wrote"


def text(data: bytes) -> None:
    """A text that must survive encoding and decoding, or a ``tokenizer.json``."""
    if data[:1] == b"{":
        (_FOLDER / "tokenizer.json").write_bytes(data)
        tokenizer = load_tokenizer(_FOLDER)
        assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
        _or_refused(encode, tokenizer, "CC(=O)O some text\n")
        return
    (_FOLDER / "text.txt").write_bytes(data)
    content = load_text(str(_FOLDER / "text.txt")).text
    tokenizer = char_tokenizer(content)
    assert tokenizer.decode(encode(tokenizer, content)) == content


def settings(data: bytes) -> None:
    """A settings file, and the model configuration that it describes."""
    (_FOLDER / "settings.yaml").write_bytes(data)
    read = load_settings(str(_FOLDER / "settings.yaml"))
    again = read.override({**read.model, **read.training})
    assert again == read, "settings do not round-trip"
    config = KetformerConfig(**read.model)
    assert KetformerConfig(**config.to_dict()).to_dict() == config.to_dict()


def checkpoint(data: bytes) -> None:
    """A ``.pt`` file or, after a zero byte, a pickle that is put into a valid one."""
    if data[:1] == b"\0":
        data = _around(data[1:])
    (_FOLDER / "weights.pt").write_bytes(data)
    model, _ = from_published(_FOLDER / "weights.pt")
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


READERS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f for f in (molecules, text, settings, checkpoint)
}


def check(name: str, data: bytes) -> bool:
    """Return True if the reader accepted the bytes, False if it refused them in one line.

    Raises:
        Exception: it did neither.
    """
    _violations.clear()
    refusal = None
    try:
        READERS[name](data)
    except KetformerError as error:
        refusal = str(error)
    assert not _violations, _violations
    if refusal is not None:
        assert "\n" not in refusal, f"several lines: {refusal}"
        assert 0 < len(refusal) < 2000, f"{len(refusal)} characters: {refusal[:200]}"
    return refusal is None


def seeds(name: str) -> list[bytes]:
    """Valid files to start from."""
    if name == "molecules":
        csv = b'smiles,x\nCCO,1\n"[NH3+]CC(=O)[O-]",-2.5e3\nC1CC,\n'
        return [
            b"\x80" + csv,
            b"\x00" + csv,
            b"\x02c1ccccc1 benzene\nF/C=C/F\n",
            b"\x81smiles\tx\nC\t1\n",
        ]
    if name == "text":
        found = [b"ab\ncd \xc3\xa9", b"\xef\xbb\xbfone"]
        for tokenizer in (char_tokenizer("abc"), smiles_tokenizer(["C", "O", "[nH]"])):
            found.append(tokenizer.backend_tokenizer.to_str().encode())
        return found
    if name == "settings":
        return [
            b"data: embedded\nmodel: {hidden_size: 8, attention_options: {score: dot}}\n",
            b"name: a\ntask: molecules\ntraining:\n  learning_rate: 3e-3\n  max_steps: 5\n",
            b"model:\n  attention: overlap\n  attention_options: {n_qubits: 4, layers: 2}\n",
            b"noise: {readout: 0.1}\nbackend_options: {shots: 10}\nconditions: LogP,TPSA\n",
        ]
    whole = io.BytesIO()
    torch.save(_released(), whole)
    with zipfile.ZipFile(whole) as archive:
        pickle = next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
    return [whole.getvalue(), b"\0" + pickle]


def forbid() -> None:
    """From now on, starting a process or changing a file elsewhere is a finding."""
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in _FORBIDDEN:
        _violations.append(f"{event}{arguments!r:.200}")
    if event == "open" and isinstance(arguments[0], str) and set(str(arguments[1])) & set("wax+"):
        written = Path(arguments[0])
        if _FOLDER not in written.parents and written.parts[:2] != ("/", "dev"):
            _violations.append(f"writes {written}")


def _or_refused(function: Callable[..., object], *arguments: object) -> None:
    with suppress(KetformerError):
        function(*arguments)


def _released() -> dict[str, object]:
    """The smallest file in the released format: width 2, 3 tokens, 4 positions."""
    shapes = {
        "position_embed": (1, 4, 2), "token_embed.weight": (3, 2),
        "block.attention.query.weight": (2, 2), "block.attention.key.weight": (2, 2),
        "block.attention.value.weight": (2, 2),
        "block.attention.projection.weight": (2, 2), "block.attention.projection.bias": (2,),
        "block.mlp.0.weight": (3, 2), "block.mlp.0.bias": (3,),
        "block.mlp.2.weight": (2, 3), "block.mlp.2.bias": (2,),
        "output.weight": (3, 2), "output.bias": (3,),
        **{
            f"{norm}.{part}": (2,)
            for norm in ("block.layer_norm1", "block.layer_norm2", "layer_norm")
            for part in ("weight", "bias")
        },
    }  # fmt: skip
    return {
        "model_state_dict": {name: torch.ones(shape) for name, shape in shapes.items()},
        "epoch": 1,
        "training_losses": [1.5],
        "val_losses": [1.25],
        "training_configuration": {"num_qubits": 6},
    }


def _around(pickle: bytes) -> bytes:
    """A file as ``torch.save`` writes it, with the given pickle inside."""
    whole = io.BytesIO()
    torch.save(_released(), whole)
    out = io.BytesIO()
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(out, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, pickle if name.endswith("data.pkl") else archive.read(name))
    return out.getvalue()

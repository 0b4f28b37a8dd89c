"""Checkpoints that are there whole or not at all: written aside, sealed, moved into place."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ketformer.errors import KetformerError
from ketformer.runs.directory import CHECKPOINTS_FOLDER
from ketformer.utils.files import write_json
from ketformer.utils.mappings import read_json

#: What was written into a checkpoint, by its hash; the last file to be written.
SEAL = "whole.json"
#: Beside the checkpoints: where the next one is being written.
PART = ".part"


def name_of(step: int) -> str:
    """The folder of the checkpoint of a step, as Trainer names it."""
    return f"{PREFIX_CHECKPOINT_DIR}-{step}"


def step_of(checkpoint: str | Path) -> int:
    """The step that a checkpoint's folder is named after; -1 if it is not named so."""
    prefix, _, step = Path(checkpoint).name.rpartition("-")
    return int(step) if prefix == PREFIX_CHECKPOINT_DIR and step.isdecimal() else -1


def processes_of(checkpoint: str | Path) -> int:
    """How many processes wrote a whole checkpoint."""
    processes: int = read_json(Path(checkpoint) / SEAL)["processes"]
    return processes


def publish(part: Path, target: Path, *, processes: int) -> None:
    """Seal what was written aside and let it appear under its name at once.

    Args:
        part: the written folder; it is on the disk when this returns, even if the power goes.
        target: its name from now on. What has that name already cannot be whole, for nobody
            goes on from a step before a whole checkpoint, and is removed.
        processes: how many wrote it.

    Raises:
        OSError: the disk is full.
    """
    hashes = {}
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        with path.open("rb+") as file:
            hashes[path.relative_to(part).as_posix()] = hashlib.file_digest(
                file, "sha256"
            ).hexdigest()
            os.fsync(file.fileno())
    write_json(part / SEAL, {"processes": processes, "files": hashes})
    if target.exists():
        shutil.rmtree(target)
    part.rename(target)
    part.parent.rmdir()


def flaw_of(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be gone on from; None if it is as it was sealed."""
    try:
        seal = read_json(checkpoint / SEAL)
        if not isinstance(seal["processes"], int):
            return f"no readable {SEAL}"
        for name, sha256 in seal["files"].items():
            if not (checkpoint / name).resolve().is_relative_to(checkpoint.resolve()):
                return f"{name} lies outside of it"
            with (checkpoint / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return f"{name} is not as it was written"
    except KetformerError:
        return f"no readable {SEAL}"
    except FileNotFoundError:
        return f"{name} is missing"
    except (KeyError, AttributeError, TypeError, OSError):
        return "its files cannot be checked"
    return None


def last_checkpoint(out: Path, *, say: bool = True) -> str | None:
    """The newest whole checkpoint of a run, or None.

    Args:
        out: the run directory.
        say: warn of newer ones that are broken or were not finished.
    """
    folder = out / CHECKPOINTS_FOLDER
    found = sorted((p for p in folder.glob("*") if step_of(p) >= 0), key=step_of, reverse=True)
    passed = [
        f"{path.name} was not written to its end" for path in sorted((folder / PART).glob("*"))
    ]
    whole = None
    for path in found:
        flaw = flaw_of(path)
        if flaw is None:
            whole = path
            break
        passed.append(f"{path.name} is incomplete ({flaw})")
    if passed and say:
        used = whole.name if whole else "none: training starts anew"
        warnings.warn(f"{out}: {'; '.join(passed)}; the one used is {used}", stacklevel=2)
    return str(whole) if whole else None


def clear_unusable(out: Path, used: str | None) -> None:
    """Remove what lies after the checkpoint that is gone on from, and what was left aside.

    Trainer keeps the newest ones; a broken one among them would push out a whole one.
    """
    discard_unfinished(out)
    after = step_of(used) if used else -1
    for path in (out / CHECKPOINTS_FOLDER).glob("*"):
        if step_of(path) > after:
            shutil.rmtree(path, ignore_errors=True)


def discard_unfinished(out: Path) -> None:
    """Remove what was being written."""
    shutil.rmtree(out / CHECKPOINTS_FOLDER / PART, ignore_errors=True)


def where_to_go_on(out: Path) -> str:
    """What is safe and how to go on, as the end of a message."""
    safe = last_checkpoint(out, say=False)
    if safe is None:
        return f"{out} has no checkpoint yet"
    return f"{Path(safe).name} in {out} is whole; go on from it with --resume"

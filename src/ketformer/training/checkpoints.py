"""Checkpoints that exist complete or not at all: written aside, sealed, moved into place."""

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

#: The hashes of a checkpoint's files; the last file to be written.
SEAL = "whole.json"
#: The folder next to the checkpoints in which the next one is written.
PART = ".part"


def name_of(step: int) -> str:
    """The name of a step's checkpoint folder, as Trainer names it."""
    return f"{PREFIX_CHECKPOINT_DIR}-{step}"


def step_of(checkpoint: str | Path) -> int:
    """The step in the name of a checkpoint's folder; -1 for any other name."""
    prefix, _, step = Path(checkpoint).name.rpartition("-")
    return int(step) if prefix == PREFIX_CHECKPOINT_DIR and step.isdecimal() else -1


def processes_of(checkpoint: str | Path) -> int:
    """The number of processes that wrote a complete checkpoint."""
    processes: int = read_json(Path(checkpoint) / SEAL)["processes"]
    return processes


def publish(part: Path, target: Path, *, processes: int) -> None:
    """Seal a checkpoint that was written aside and move it to its final name in one step.

    Args:
        part: the written folder; its files are on the disk when this returns, even if the power
            fails.
        target: its final name. A folder already there is removed: it must be incomplete, since
            no run resumes from before a complete checkpoint.
        processes: how many processes wrote it.

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
    """Why a checkpoint cannot be resumed; None if it is unchanged since it was sealed."""
    try:
        seal = read_json(checkpoint / SEAL)
        if not isinstance(seal["processes"], int):
            return f"no readable {SEAL}"
        for name, sha256 in seal["files"].items():
            if not (checkpoint / name).resolve().is_relative_to(checkpoint.resolve()):
                return f"{name} lies outside the checkpoint"
            with (checkpoint / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return f"{name} has changed since it was written"
    except KetformerError:
        return f"no readable {SEAL}"
    except FileNotFoundError:
        return f"{name} is missing"
    except (KeyError, AttributeError, TypeError, OSError):
        return "its files cannot be checked"
    return None


def last_checkpoint(out: Path, *, say: bool = True) -> str | None:
    """The newest complete checkpoint of a run, or None.

    Args:
        out: the run directory.
        say: warn about newer ones that are broken or unfinished.
    """
    folder = out / CHECKPOINTS_FOLDER
    found = sorted((p for p in folder.glob("*") if step_of(p) >= 0), key=step_of, reverse=True)
    passed = [f"{path.name} was not fully written" for path in sorted((folder / PART).glob("*"))]
    whole = None
    for path in found:
        flaw = flaw_of(path)
        if flaw is None:
            whole = path
            break
        passed.append(f"{path.name} is incomplete ({flaw})")
    if passed and say:
        used = f"resuming from {whole.name}" if whole else "starting from scratch"
        warnings.warn(f"{out}: {'; '.join(passed)}; {used}", stacklevel=2)
    return str(whole) if whole else None


def clear_unusable(out: Path, used: str | None) -> None:
    """Remove the checkpoints after the one resumed from, and any unfinished one.

    Trainer keeps the newest ones; a broken one among them would displace a complete one.
    """
    discard_unfinished(out)
    after = step_of(used) if used else -1
    for path in (out / CHECKPOINTS_FOLDER).glob("*"):
        if step_of(path) > after:
            shutil.rmtree(path, ignore_errors=True)


def discard_unfinished(out: Path) -> None:
    """Remove a checkpoint that was not fully written."""
    shutil.rmtree(out / CHECKPOINTS_FOLDER / PART, ignore_errors=True)


def where_to_go_on(out: Path) -> str:
    """The newest complete checkpoint and how to resume from it, as the end of a message."""
    safe = last_checkpoint(out, say=False)
    if safe is None:
        return f"{out} has no checkpoint yet"
    return f"{Path(safe).name} in {out} is complete; resume from it with --resume"

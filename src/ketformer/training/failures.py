"""Failures of the machine in the middle of a run: one line each, with how to resume."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from ketformer.errors import KetformerError
from ketformer.training.checkpoints import discard_unfinished, where_to_go_on

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(out: Path, what: str) -> Iterator[None]:
    """Turn a failure to write, in any library, into a one-line error.

    Raises:
        KetformerError: the disk is full, or ``what`` cannot be written for another reason.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if _peer_died(error):
            raise
        reason = _reason(error, out)
        discard_unfinished(out)  # makes room
        raise KetformerError(
            f"{what} could not be written ({reason}); {where_to_go_on(out)}"
        ) from None


@contextmanager
def surviving(out: Path) -> Iterator[None]:
    """End a training with a one-line error if the disk fills or another process dies.

    Raises:
        KetformerError: the disk is full, or another process has died.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise KetformerError(f"{error.strerror}; {where_to_go_on(out)}") from None
    except RuntimeError as error:
        if not _peer_died(error):
            raise
        raise KetformerError(
            f"another of the {os.environ['WORLD_SIZE']} processes has died; {where_to_go_on(out)}"
        ) from None


def _peer_died(error: Exception) -> bool:
    """Whether an error means that another process of the run is gone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return False
    said = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, torch.distributed.DistError) or any(w in str(error) for w in said)


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # torch and safetensors have their own writers, whose messages describe their internals.
    if f"os error {errno.ENOSPC}" in str(error) or shutil.disk_usage(folder).free < 1 << 16:
        return os.strerror(errno.ENOSPC)
    return " ".join(str(error).split())[:200]

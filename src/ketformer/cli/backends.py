"""The options of verbs that run circuits: backend, shots, noise and the journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser
from ketformer.quantum.backends import BACKENDS, open_backend
from ketformer.utils.declared import constant, field_defaults

if TYPE_CHECKING:
    from ketformer.quantum.backends import Backend
    from ketformer.runs import Run

# Read from their sources, without torch.
_JOURNAL_FILE: str = constant("ketformer.quantum.backends.journal:JOURNAL_FILE")
_MEASUREMENTS: tuple[str, ...] = constant("ketformer.attention.overlap_measurement:MEASUREMENTS")


def add_backend_arguments(parser: Parser) -> None:
    """Add ``--backend``, ``--shots``, ``--noise`` and ``--backend_options``."""
    parser.add_argument(
        "--backend", type=str | None, default=None,
        help=f"run every circuit of the attention on this backend: {', '.join(BACKENDS)}",
    )  # fmt: skip
    parser.add_argument(
        "--shots", type=int | None, default=None,
        help="shots for each circuit (exact expectations)",
    )  # fmt: skip
    names = ", ".join(field_defaults("ketformer.quantum.noise:Noise"))
    parser.add_argument(
        "--noise", type=dict[str, float], default={},
        help=f"error probabilities of gates and readout ({names}), e.g. --noise.two_qubit 0.01",
    )  # fmt: skip
    parser.add_argument(
        "--backend_options", type=dict[str, Any], default={},
        help="the backend's own options, e.g. --backend_options.device fake_torino for qiskit or "
        "--backend_options.target nvidia for cudaq",
    )  # fmt: skip


def add_measurement_argument(parser: Parser, where: str, more: str = "") -> None:
    """Add ``--measurement``, whose help begins with where it applies."""
    parser.add_argument(
        "--measurement", type=str | None, default=None,
        help=f"{where}: how overlap's scores are measured: {', '.join(_MEASUREMENTS)} "
        f"({_MEASUREMENTS[0]}){more}",
    )  # fmt: skip


def add_journal_argument(parser: Parser) -> None:
    """Add ``--journal``."""
    parser.add_argument(
        "--journal", type=str | None, default=None,
        help="with shots: file that keeps each batch of circuits once it is measured, so that the "
        "same command goes on where it was stopped; none keeps nothing "
        f"({_JOURNAL_FILE} in the run)",
    )  # fmt: skip


def chosen_journal(options: Any, run: Run, backend: Backend | None = None) -> Path | None:
    """The journal that the options name, by default one in the run if the backend has shots."""
    exact = backend is not None and backend.shots is None
    if options.journal == "none" or (options.journal is None and exact):
        return None
    return Path(options.journal or run.path / _JOURNAL_FILE)


def chosen_backend(options: Any, seed: int = 0) -> Backend:
    """Open the backend that the options name."""
    return open_backend(
        options.backend,
        **{"shots": options.shots, "noise": options.noise, "seed": seed, **options.backend_options},
    )

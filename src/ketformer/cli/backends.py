"""The options of verbs that run circuits: backend, shots and noise."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ketformer.cli.common import Parser
from ketformer.quantum import Noise
from ketformer.quantum.backends import BACKENDS, Backend, open_backend


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
    names = ", ".join(field.name for field in fields(Noise))
    parser.add_argument(
        "--noise", type=dict[str, float], default={},
        help=f"error probabilities of gates and readout ({names}), e.g. --noise.two_qubit 0.01",
    )  # fmt: skip
    parser.add_argument(
        "--backend_options", type=dict[str, Any], default={},
        help="the backend's own options, e.g. --backend_options.device fake_torino for qiskit or "
        "--backend_options.target nvidia for cudaq",
    )  # fmt: skip


def chosen_backend(options: Any, seed: int = 0) -> Backend:
    """Open the backend that the options name."""
    return open_backend(
        options.backend,
        **{"shots": options.shots, "noise": options.noise, "seed": seed, **options.backend_options},
    )

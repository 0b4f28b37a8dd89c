"""The runs that a page shows, opened and audited once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from ketformer.attention import Mixer
from ketformer.attention.measured import quantum_mechanisms
from ketformer.audit import Audit, audit_causality
from ketformer.circuits.mechanisms import experiments
from ketformer.errors import KetformerError
from ketformer.generation.molecules import known_molecules
from ketformer.runs import Run, open_run
from ketformer.runs.directory import weights_sha256
from ketformer.tasks.molecules.data import Known

# Enough for any leak to show, and quick with large models.
_SEQUENCES, _LENGTH = 2, 32


@dataclass(frozen=True, eq=False)
class Subject:
    """A run that the page shows.

    Attributes:
        run: the opened run.
        audit: its audit on a few random sequences.
    """

    run: Run
    audit: Audit

    @property
    def is_molecules(self) -> bool:
        """Whether it writes molecules; otherwise text."""
        return self.run.task == "molecules"

    @property
    def attention(self) -> str:
        """The mechanism's registry name; for a hybrid, those of all layers."""
        return str(self.run.model.config.attention_name)

    @property
    def has_circuits(self) -> bool:
        """Whether its attention has circuits."""
        modules = self.run.model.modules()
        return any(isinstance(m, Mixer) and m.has_circuits() for m in modules)

    @cached_property
    def measures_scores(self) -> bool:
        """Whether circuits give the scores or the queries and keys, not only the values."""
        quantum = quantum_mechanisms(self.run.model)
        return any(set(experiments(m, batch=1, length=1)) != {"value"} for m in quantum)

    @cached_property
    def known(self) -> tuple[Known | None, list[str]]:
        """The molecules of its data, None if they are gone, and warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            known = known_molecules(self.run, progress=False)
        told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        return known, told


def open_subject(path: str | Path) -> Subject:
    """Open a run for the page; it is read again only if its weights have changed.

    Raises:
        KetformerError: the run is unfinished or broken.
    """
    if not str(path).strip():
        raise KetformerError("no run directory is given")
    folder = Path(str(path).strip()).expanduser().resolve()
    return _opened(folder, weights_sha256(folder))


@cache
def _opened(path: Path, sha256: str | None) -> Subject:
    run = open_run(path)
    length = min(run.model.config.max_position_embeddings, _LENGTH)
    return Subject(run, audit_causality(run.model, length=length, sequences=_SEQUENCES))


def names_of(subjects: Sequence[Subject]) -> list[str]:
    """Folder names, or full paths where two names are the same."""
    short = [subject.run.path.name for subject in subjects]
    return [
        name if short.count(name) == 1 else str(subject.run.path)
        for name, subject in zip(short, subjects, strict=True)
    ]

"""A short sample of what a run writes."""

from __future__ import annotations

from ketformer.generation.options import MoleculeSampling, Sampling
from ketformer.generation.sampling import sample_molecules
from ketformer.generation.text import generate_text
from ketformer.runs import Run

_GLANCE = 240  # tokens of the passage shown beside a result


def sample_of(run: Run) -> str:
    """A short sample of what a run writes: a passage of text, or ten molecules, one per line."""
    if run.task == "molecules":
        every = run.model.config.condition_names
        typical = dict(zip(every or [], run.model.config.condition_means or [], strict=True))
        needed = {} if run.model.config.condition_unknown else typical
        molecules = next(sample_molecules(run, 10, MoleculeSampling(conditions=needed)))
        return "\n".join(molecules)
    return generate_text(run, "", sampling=Sampling(max_new_tokens=_GLANCE))[0]

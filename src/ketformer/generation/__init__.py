"""Generating text and molecules with a trained model."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.generation.molecules import (
        Sampled as Sampled,
        generate_molecules as generate_molecules,
        write_molecules as write_molecules,
    )
    from ketformer.generation.sampling import (
        MoleculeSampling as MoleculeSampling,
        sample_molecules as sample_molecules,
    )
    from ketformer.generation.text import (
        Sampling as Sampling,
        generate_text as generate_text,
        stream_text as stream_text,
    )

__getattr__, __dir__, __all__ = lazily(__name__)

"""Generating text and molecules with a trained model."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.generation.molecules import (
        Sampled as Sampled,
        generate_molecules as generate_molecules,
        write_molecules as write_molecules,
    )
    from ketformer.generation.options import (
        MoleculeSampling as MoleculeSampling,
        Sampling as Sampling,
    )
    from ketformer.generation.sampling import sample_molecules as sample_molecules
    from ketformer.generation.text import (
        generate_text as generate_text,
        stream_text as stream_text,
    )

__getattr__, __dir__, __all__ = lazily(__name__)

"""Draw, count and check the circuits of a mechanism or of a trained run."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.circuits.check import check_backends as check_backends
    from ketformer.circuits.mechanisms import (
        CircuitPicture as CircuitPicture,
        circuit_pictures as circuit_pictures,
        circuits_of as circuits_of,
    )
    from ketformer.circuits.methods import measurement_methods as measurement_methods
    from ketformer.circuits.resources import resource_table as resource_table

__getattr__, __dir__, __all__ = lazily(__name__)

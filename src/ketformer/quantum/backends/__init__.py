"""Where circuits run: our simulators, and external ones as extras, imported on first use."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.quantum.backends.base import Backend as Backend, BackendOptions as BackendOptions
    from ketformer.quantum.backends.journal import Journal as Journal
    from ketformer.quantum.backends.registry import (
        BACKENDS as BACKENDS,
        backend_class as backend_class,
        open_backend as open_backend,
    )

__getattr__, __dir__, __all__ = lazily(__name__)

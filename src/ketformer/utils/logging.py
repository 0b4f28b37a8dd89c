"""Control over what other libraries print."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Keep transformers' own progress bars and the libraries' chatter off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    # Raised for each module at each evaluation; nothing here writes into what a module returns.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)

"""What other libraries say on the terminal."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Keep transformers' own progress bars and the libraries' chatter off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    # At each evaluation, for each module; nothing here writes into what a module returned.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)

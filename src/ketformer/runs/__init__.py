"""A run: its settings, its directory, its data and its card."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.runs.directory import (
        Run as Run,
        open_run as open_run,
        read_metrics as read_metrics,
    )
    from ketformer.runs.settings import Settings as Settings
    from ketformer.runs.settings_file import load_settings as load_settings

__getattr__, __dir__, __all__ = lazily(__name__)

"""What all mechanisms of the leaderboard share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ketformer.runs.settings import Settings
from ketformer.runs.settings_file import load_settings


@dataclass(frozen=True)
class Terms:
    """What all mechanisms share on one task.

    Attributes:
        preset: its settings.
        changes: what differs from them.
        seeds: how many.
    """

    preset: str
    changes: Mapping[str, Any]
    seeds: int

    def settings(self, changes: Mapping[str, Any]) -> Settings:
        """The settings, with further changes."""
        return load_settings(self.preset).override({**self.changes, **changes})


#: The terms on each task.
TERMS = {
    "text": Terms(
        "char-small",
        {
            "num_hidden_layers": 2,
            "data": "tinyshakespeare",
            "max_steps": 600,
            "per_device_train_batch_size": 16,
        },
        5,
    ),
    "molecules": Terms("overlap-small", {"data": "qm9", "max_steps": 600}, 3),
}

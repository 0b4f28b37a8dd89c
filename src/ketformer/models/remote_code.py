"""How tools that know only transformers find our classes: ``auto_map`` and the module it names."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from ketformer.errors import KetformerError
from ketformer.utils.files import write_text


class SavedWithModule(PreTrainedConfig):
    """What a configuration needs to be loaded with ``trust_remote_code=True``.

    It is saved with a module that imports its classes, and its ``auto_map`` names that module; one
    that names anything else is refused.
    """

    _module: ClassVar[Path]

    @classmethod
    def _auto_classes(cls) -> Mapping[str, str]:
        """The names of our classes, by that of the Auto class that loads them."""
        raise NotImplementedError  # abstract

    @classmethod
    def own_auto_map(cls) -> dict[str, str]:
        """The only ``auto_map`` that such a configuration has."""
        return {auto: f"{cls._module.stem}.{name}" for auto, name in cls._auto_classes().items()}

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the given ``auto_map``, and put ours in its place.

        From the Hub, transformers puts the repository before each name:
        ``me/model--modeling_ketformer.…``.

        Raises:
            KetformerError: naming an ``auto_map`` that isn't ours.
        """
        own, given = self.own_auto_map(), kwargs.get("auto_map")
        named = given.items() if isinstance(given, dict) else [("", given)]
        if given is not None and any(
            own.get(key) != str(value).rpartition("--")[2] for key, value in named
        ):
            raise KetformerError(
                f"auto_map must name classes of {self._module.name}, got {given!r}"
            )
        super().__post_init__(**{**kwargs, "auto_map": own})

    def to_json_file(self, json_file_path: str | PathLike[str], use_diff: bool = True) -> None:
        """As in transformers, with the module that ``auto_map`` names beside it."""
        super().to_json_file(json_file_path, use_diff)
        beside = Path(json_file_path).with_name(self._module.name)
        write_text(beside, self._module.read_text(encoding="utf-8"))

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Nothing: transformers would save a copy of our source instead of that module."""

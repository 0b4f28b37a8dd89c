"""The model card: describes a saved model in the form that the Hugging Face Hub reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ketformer.attention import ATTENTION, attention_class, attention_options
from ketformer.models.configuration import KetformerConfig
from ketformer.models.feed_forward import FEED_FORWARD, feed_forward_class, feed_forward_options
from ketformer.utils.markdown import markdown_table
from ketformer.utils.registry import Registry

CARD = "README.md"

_LEAK = (
    "**This model is not causal.** Each position sees the tokens that it should predict, so its "
    "loss is not that of a language model. It is kept to measure that leak."
)
# Ends a card that nobody has edited: the hash covers everything above it.
_SEAL = re.compile(r"\n<!-- made by ketformer, [0-9a-f]{16} -->\n?\Z")
# Marks the card that transformers writes when it uploads a model.
_TEMPLATE = "This model card has been automatically generated."

_LOADING = """## How to load it

```python
import ketformer  # registers the model with transformers
from transformers import AutoModelForCausalLM
{first}
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
```

Tools that know only transformers load it with `trust_remote_code=True` if Ketformer is installed
(`pip install ketformer`).
"""


class CardWriter:
    """A mixin for transformers' models that saves a card with the model."""

    config: KetformerConfig

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        raise NotImplementedError

    def save_pretrained(
        self, save_directory: str | PathLike[str], is_main_process: bool = True, **kwargs: Any
    ) -> None:
        """Save as in transformers, with a model card unless there is an edited one."""
        save: Any = super().save_pretrained  # type: ignore[misc]
        save(save_directory, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            self._write_card(save_directory)

    def _upload_modified_files(
        self, working_dir: str | PathLike[str], *args: Any, **kw: Any
    ) -> Any:
        # transformers has just replaced our card with an empty one or with the Hub's.
        self._write_card(working_dir)
        return super()._upload_modified_files(working_dir, *args, **kw)  # type: ignore[misc]

    def _write_card(self, folder: str | PathLike[str]) -> None:
        parameters = self.num_parameters()  # type: ignore[attr-defined]
        write_card(folder, compose_card(self.config, parameters, self.is_causal))


def compose_card(
    config: KetformerConfig,
    parameters: int,
    causal: bool,
    *,
    name: str | None = None,
    sections: Iterable[str] = (),
    tags: Iterable[str] = (),
    **metadata: Any,
) -> str:
    """The text of a model card.

    Args:
        config: the model's configuration.
        parameters: how many it has.
        causal: whether no position sees a later one.
        name: the title.
        sections: Markdown to append to the description of the model.
        tags: for the Hub, besides the usual ones.
        metadata: further keys of huggingface_hub's ``ModelCardData``.
    """
    data = ModelCardData(
        library_name="ketformer",
        pipeline_tag="text-generation",
        tags=["ketformer", "transformers", *config.mechanisms, *tags],
        model_name=name,
        **metadata,
    )
    title = name or f"Ketformer, {config.attention_name} attention"
    first = f"# {title}\n" if causal else f"{_LEAK}\n\n# {title}\n"
    facts = {
        **_attention_facts(config),
        "parameters": f"{parameters:,}",
        "causal": "yes" if causal else "**NO**",
        "blocks, heads": f"{config.num_hidden_layers}, {config.num_attention_heads}",
        **_feed_forward_facts(config),
        "positions": config.positions,
        "vocabulary, context": f"{config.vocab_size:,}, {config.max_position_embeddings:,} tokens",
    }
    if config.condition_names:
        facts["conditions"] = ", ".join(config.condition_names)
    about_it = "A language model with interchangeable self-attention: quantum, quantum-inspired or "
    body = [
        first,
        f"{about_it}classical.\n",
        markdown_table(["", ""], facts.items()),
        _loading(config),
        *sections,
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(body)


def _attention_facts(config: KetformerConfig) -> dict[str, str]:
    """Rows about each mechanism; in a hybrid they name it, and its layers, counted from 0."""
    facts: dict[str, str] = {}
    for name, given in config.mechanisms.items():
        hybrid = len(config.mechanisms) > 1
        layers = [str(i) for i, own in enumerate(config.layer_attention) if own == name]
        at = f" of {'layers' if len(layers) > 1 else 'layer'} {', '.join(layers)}" if hybrid else ""
        about = (attention_class(name).__doc__ or "").split("\n")[0]
        options = {**attention_options(name), **given}
        facts[f"attention{at}"] = f"`{name}`: {about}"
        of = f" of {name}" if hybrid else ""
        if package := ATTENTION.package_of(name):
            facts[f"package{of}"] = f"`{package}`"
        listed = ", ".join(f"`{key}={value}`" for key, value in options.items())
        facts[f"options{of}"] = listed or "none"
    return facts


def _feed_forward_facts(config: KetformerConfig) -> dict[str, str]:
    """Rows about the sizes, and about a feed-forward layer that is not the usual one."""
    width, name = f"{config.hidden_size}", config.feed_forward
    if config.intermediate_size is not None:
        facts = {"width, feed-forward width": f"{width}, {config.intermediate_size}"}
    else:
        facts = {"width": width}
    if name == KetformerConfig.feed_forward:
        return facts
    about = (feed_forward_class(name).__doc__ or "").split("\n")[0]
    options = {**feed_forward_options(name), **(config.feed_forward_options or {})}
    facts["feed-forward layer"] = f"`{name}`: {about}"
    if package := FEED_FORWARD.package_of(name):
        facts["package of the feed-forward layer"] = f"`{package}`"
    listed = ", ".join(f"`{key}={value}`" for key, value in options.items())
    facts["options of the feed-forward layer"] = listed or "none"
    return facts


def _loading(config: KetformerConfig) -> str:
    """How to load the model, including what its mechanisms and its other layers need first."""
    used: list[tuple[str, Registry[Any], Collection[str]]] = [
        ("attention", ATTENTION, list(config.mechanisms)),
        ("feed-forward layer", FEED_FORWARD, [config.feed_forward]),
    ]
    first = "".join(
        f'\nketformer.{registry.kind.upper()}.register("{name}", "{target}")'
        "  # where it is defined\n"
        for _, registry, names in used
        for name in names
        if (target := registry.registered_as(name))
    )
    text = _LOADING.format(first=first)
    for what, registry, names in used:
        for package in sorted({p for name in names if (p := registry.package_of(name))}):
            text += f"\nIts {what} is in a separate package: `pip install '{package}'`.\n"
    return text


def write_card(folder: str | PathLike[str], text: str) -> bool:
    """Write a card unless there is an edited one, and return whether it was written."""
    file = Path(folder) / CARD
    if file.is_file() and not _may_replace(file.read_text(encoding="utf-8")):
        return False
    sealed = f"{text}\n<!-- made by ketformer, {_hash(text)} -->\n"
    ModelCard(sealed).save(file)
    return True


def _may_replace(text: str) -> bool:
    own = _SEAL.search(text)
    if own is None:
        return _TEMPLATE in text
    return _hash(text[: own.start()]) in own[0]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""The registry of feed-forward layers.

To add one, put a file beside this one and a line in `FEED_FORWARD`, or declare an entry point in
another package.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ketformer.attention.options import check_option_types
from ketformer.errors import KetformerError
from ketformer.utils.choices import Activation
from ketformer.utils.registry import Registry

# The names alone need no torch, which takes a second to import.
if TYPE_CHECKING:
    from ketformer.models.feed_forward.base import FeedForward


def _check(name: str, found: Any) -> None:
    from ketformer.models.feed_forward.base import FeedForward

    if not (isinstance(found, type) and issubclass(found, FeedForward)):
        raise KetformerError(f"feed_forward {name!r}: {found!r} is not a subclass of FeedForward")


#: Every feed-forward layer by name, including those of other packages
#: (:mod:`ketformer.utils.registry`).
FEED_FORWARD: Registry[type[FeedForward]] = Registry(
    "feed_forward",
    "ketformer.feed_forward",
    __name__,
    {
        "mlp": "ketformer.models.feed_forward.mlp:Mlp",
        "vqc": "ketformer.models.feed_forward.vqc:VQC",
    },
    _check,
)

# Keywords that the decoder sets for every layer; all others are options.
_WIDTH = "intermediate_size"
_DECODER = ("hidden_size", _WIDTH, "hidden_act", "dropout")


def feed_forward_class(name: str) -> type[FeedForward]:
    """The class behind a registry name.

    Raises:
        KetformerError: no feed-forward layer has that name, or its package cannot be imported.
    """
    return FEED_FORWARD.load(name)


def has_width(name: str) -> bool:
    """Whether its width can be chosen, by ``intermediate_size``."""
    return _WIDTH in inspect.signature(feed_forward_class(name)).parameters


def feed_forward_options(name: str) -> dict[str, Any]:
    """The layer's options with their defaults."""
    return {
        key: parameter.default
        for key, parameter in inspect.signature(feed_forward_class(name)).parameters.items()
        if key not in _DECODER and parameter.kind is not parameter.VAR_KEYWORD
    }


def check_feed_forward_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a layer does not have, or of the wrong type.

    Raises:
        KetformerError: naming the option.
    """
    offered = feed_forward_options(name)
    if unknown := sorted(set(options) - set(offered)):
        raise KetformerError(
            f"feed_forward {name} has no option {', '.join(unknown)}; "
            f"its options: {', '.join(offered) or 'none'}"
        )
    check_option_types(f"feed_forward {name}", feed_forward_class(name), options)


def build_feed_forward(
    name: str,
    hidden_size: int,
    *,
    intermediate_size: int | None = None,
    hidden_act: Activation = "gelu",
    dropout: float = 0.0,
    **options: Any,
) -> FeedForward:
    """Build a feed-forward layer by its registry name.

    Args:
        name: a key of :data:`FEED_FORWARD`.
        hidden_size: width of the model.
        intermediate_size: width of the layer, 4 × ``hidden_size`` by default; only for one whose
            width can be chosen.
        hidden_act: ``relu``, ``gelu`` or ``gelu_new``.
        dropout: probability of dropping a number of the output while training.
        **options: the layer's options, see :func:`feed_forward_options`.

    Raises:
        KetformerError: an unknown name or option, an option of the wrong type, or an invalid
            size.
    """
    check_feed_forward_options(name, options)
    if has_width(name):
        options[_WIDTH] = 4 * hidden_size if intermediate_size is None else intermediate_size
    elif intermediate_size is not None:
        raise KetformerError(f"feed_forward {name} has no {_WIDTH}: leave it out")
    return feed_forward_class(name)(hidden_size, hidden_act=hidden_act, dropout=dropout, **options)

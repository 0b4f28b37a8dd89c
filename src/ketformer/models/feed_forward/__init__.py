"""Feed-forward layers of the decoder, one file each, and their registry."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.models.feed_forward.base import (
        FeedForward as FeedForward,
        FeedForwardOptions as FeedForwardOptions,
    )
    from ketformer.models.feed_forward.registry import (
        FEED_FORWARD as FEED_FORWARD,
        build_feed_forward as build_feed_forward,
        check_feed_forward_options as check_feed_forward_options,
        feed_forward_class as feed_forward_class,
        feed_forward_options as feed_forward_options,
        has_width as has_width,
    )

__getattr__, __dir__, __all__ = lazily(__name__)

"""Attention mechanisms, one file each, and their registry. Needs only torch and `quantum`."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.attention.ansatz import (
        ANSATZE as ANSATZE,
        with_files_read as with_files_read,
    )
    from ketformer.attention.base import (
        Attention as Attention,
        CommonOptions as CommonOptions,
    )
    from ketformer.attention.inputs import (
        ConditionEmbedding as ConditionEmbedding,
        InputSizes as InputSizes,
        TokenInputs as TokenInputs,
    )
    from ketformer.attention.leaks import LeakWarning as LeakWarning
    from ketformer.attention.masking import attention_mask as attention_mask
    from ketformer.attention.mixer import (
        Mixer as Mixer,
        MixerOptions as MixerOptions,
    )
    from ketformer.attention.recurrent import (
        LinearMixer as LinearMixer,
        RecurrentMixer as RecurrentMixer,
    )
    from ketformer.attention.registry import (
        ATTENTION as ATTENTION,
        attention_class as attention_class,
        attention_options as attention_options,
        build_attention as build_attention,
    )

__getattr__, __dir__, __all__ = lazily(__name__)

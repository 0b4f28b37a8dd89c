"""Language modelling on text, by character or by byte-pair token."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.tasks.text.encoding import encode as encode
    from ketformer.tasks.text.metrics import (
        count_characters as count_characters,
        error_rates as error_rates,
    )
    from ketformer.tasks.text.tokenizer import (
        bpe_from as bpe_from,
        bpe_tokenizer as bpe_tokenizer,
        char_tokenizer as char_tokenizer,
    )
    from ketformer.tasks.text.windows import (
        SPLITS as SPLITS,
        TextWindows as TextWindows,
        split_text as split_text,
    )

__getattr__, __dir__, __all__ = lazily(__name__)

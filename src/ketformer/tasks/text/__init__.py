"""Language modelling on text, by character or by byte-pair token."""

from ketformer.tasks.text.metrics import (
    TeacherForced,
    error_rates,
    inference_seconds,
    prefix_cross_entropy,
    teacher_forced,
)
from ketformer.tasks.text.tokenizer import bpe_from, bpe_tokenizer, char_tokenizer, encode
from ketformer.tasks.text.windows import SPLITS, TextWindows, split_text

__all__ = [
    "SPLITS",
    "TeacherForced",
    "TextWindows",
    "bpe_from",
    "bpe_tokenizer",
    "char_tokenizer",
    "encode",
    "error_rates",
    "inference_seconds",
    "prefix_cross_entropy",
    "split_text",
    "teacher_forced",
]

"""Error rates of texts."""

from __future__ import annotations

import jiwer


def error_rates(references: list[str], hypotheses: list[str]) -> tuple[float, float]:
    """Character and word error rate: edits over reference length, summed over all texts (jiwer).

    Spaces and line breaks count as characters and separate words. Texts without words
    count only towards the character rate. Insertions can bring either rate above 1.
    """
    characters = jiwer.process_characters(
        references,
        hypotheses,
        reference_transform=_CHARACTERS,
        hypothesis_transform=_CHARACTERS,
    )
    worded = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r.split()]
    words = jiwer.process_words(
        [" ".join(r.split()) for r, _ in worded], [" ".join(h.split()) for _, h in worded]
    )
    return characters.cer, words.wer


# jiwer's own default strips the texts; white space is part of what a character model predicts.
_CHARACTERS = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])

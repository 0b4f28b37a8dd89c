"""How text and molecules are sampled: options, which need no model and so none of its imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ketformer.errors import KetformerError

if TYPE_CHECKING:
    from ketformer.tasks.molecules.substructure import Part

#: How many molecules a shortlist holds at most.
BEST = 1000


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: tokens to write after the prompt.
        temperature: divides the logits; 0 takes the most likely token.
        top_k: choose among the k most likely tokens; 0 for all.
        top_p: choose among the most likely tokens that hold this much probability.
        num_beams: beam search with that many beams; it needs temperature 0.
        seed: seed of the sampling.
        use_cache: keep keys and values between tokens; the text is the same without.
    """

    max_new_tokens: int = 400
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 1
    seed: int = 42
    use_cache: bool = True

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise KetformerError(f"max_new_tokens must be positive, got {self.max_new_tokens}")
        if self.temperature < 0:
            raise KetformerError(f"temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise KetformerError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0 or self.num_beams < 1:
            raise KetformerError("top_k must not be negative and num_beams must be positive")
        if not 0 <= self.seed < 2**32:
            raise KetformerError(f"seed must lie in [0, 2**32), got {self.seed}")
        if self.num_beams > 1 and self.temperature > 0:
            raise KetformerError("beam search needs --temperature 0")


def share_of(num: int, part: int, parts: int) -> int:
    """How many of ``num`` molecules a shard samples; shards differ by one at most.

    Raises:
        KetformerError: fewer molecules than shards.
    """
    if num < parts:
        raise KetformerError(f"--num {num} is too few for {parts} shards")
    return num // parts + (part <= num % parts)


@dataclass(frozen=True)
class MoleculeSampling:
    """How molecules are sampled.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_k: choose among the k most likely tokens; 0 for all.
        top_p: choose among the most likely tokens that hold this much probability.
        seed: seed of the sampling.
        use_cache: keep keys and values between tokens; the result is the same without.
        special_tokens: whether a model may write ``[CLS]`` and padding, as in the released
            code of arXiv 2502.19214.
        conditions: requested values in their own units; omitted ones are unknown.
        shard: ``(3, 8)`` for the third of eight shards, each with random numbers of its own.
        constrained: sample only tokens after which a sound molecule can still be written.
        guidance: weight of the conditions; see :func:`~.decoding.sample_sequences`.
        best_of: sample that many for each molecule, and keep the one nearest to the conditions.
        prompt: how every SMILES begins.
        scaffold: a SMILES that every molecule is to contain, perhaps with attachment points.
        fragments: SMILES that every molecule is to contain, linked.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 42
    use_cache: bool = True
    special_tokens: bool = False
    conditions: Mapping[str, float] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    constrained: bool = False
    guidance: float = 1.0
    best_of: int = 1
    prompt: str = ""
    scaffold: str | None = None
    fragments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise KetformerError(f"temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise KetformerError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise KetformerError(f"top_k must not be negative, got {self.top_k}")
        if not 0 <= self.seed < 2**32:
            raise KetformerError(f"seed must lie in [0, 2**32), got {self.seed}")
        if self.shard and not 1 <= self.shard[0] <= self.shard[1]:
            raise KetformerError(f"no shard {self.shard[0]} of {self.shard[1]}")
        if not 0 <= self.guidance < float("inf"):
            raise KetformerError(f"guidance must not be negative, got {self.guidance}")
        if self.best_of < 1:
            raise KetformerError(f"best_of must be positive, got {self.best_of}")
        if self.constrained and self.special_tokens:
            raise KetformerError(
                "--constrained lets no special tokens be written; leave out --special_tokens"
            )
        if self.guidance != 1 and not self.conditions:
            raise KetformerError("--guidance needs a --condition to be guided by")
        if self.parts and self.prompt:
            raise KetformerError(
                "give either --prompt or what the molecule is to contain, not both"
            )

    @property
    def parts(self) -> list[Part]:
        """What every molecule is to contain."""
        if self.scaffold is None and not self.fragments:
            return []
        from ketformer.generation.scaffolds import parts_of

        return parts_of(self.scaffold, self.fragments)

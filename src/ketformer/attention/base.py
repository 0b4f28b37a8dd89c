"""The base class of attention: query/key map -> score -> normalise -> mix the value map.

A mechanism implements one method, :meth:`Attention.project`. Everything else (masks,
cache, dropout, the fused kernel) is implemented here once.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ketformer.attention import alibi, rotary
from ketformer.attention.checks import require_choice
from ketformer.attention.inputs import InputSizes, TokenInputs, positions_of
from ketformer.attention.leaks import warn_of_leak
from ketformer.attention.masking import causal_mask
from ketformer.attention.mixer import Mixer, MixerOptions
from ketformer.attention.mixing import OF_DISTANCES, Weighting, mix
from ketformer.attention.scores import NORMALISE, SCORES, Normalise, Score
from ketformer.attention.shift import KeyValueCache, halves_of, shifted
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import native

Mixing = Literal["causal", "transposed"]
#: The experiment with a row per pair of positions i >= j; others have a row per token.
SCORE = "score"


class CommonOptions(MixerOptions, total=False):
    """Options that every mechanism accepts and passes on to :class:`Attention`."""

    score: Score | None
    normalise: Normalise | None
    temperature: float
    learnable_temperature: bool
    initial_spread: float | None
    mixing: Mixing


class Attention(Mixer):
    """Multi-head self-attention with a replaceable query/key map, score and value map.

    Args:
        hidden_size: width d of the model.
        num_heads: number of heads H; the head width is d / H.
        bias: whether the mechanism's linear maps have a bias; None for the mechanism's
            default.
        dropout: probability of dropping an attention weight while training.
        score: ``gaussian`` -‖q-k‖²/t, ``dot`` q·k/(sqrt(d_head) t) or with the mechanism's
            own scale (see :meth:`dot_scale`), ``square`` and ``absolute`` the same with (q·k)² and
            |q·k|, or ``double_exponential`` exp(-‖q-k‖²/t) as in the code of arXiv 2603.03318.
            None for the mechanism's default.
        normalise: how a query's scores become weights: ``softmax``; ``sum``, over their sum, for
            scores that are never negative; or ``l2``, over their Euclidean norm
            (:func:`~ketformer.attention.scores.weights_of`). In the last two ALiBi is a factor,
            exp of what it adds to a score in a softmax, and q·k has no scale in ``sum``. None for
            the mechanism's default.
        temperature: t above; a positive number.
        learnable_temperature: train one temperature per head, starting at ``temperature``.
        initial_spread: standard deviation of a query's scores over the keys at the start, for
            layer-normalised hidden states (:mod:`ketformer.attention.spread`); the weights that
            set it are scaled. None keeps the mechanism's own start.
        token_shift: replace half of the channels of each hidden state by those of the previous
            token, 0 before the first, in what queries, keys and values are computed from
            (:mod:`ketformer.attention.shift`). Tables of tokens are not shifted.
        mixing: ``causal``, or ``transposed``: position j sums the values of
            positions i >= j, as the released code of arXiv 2603.03318 does. This leaks
            the future; the option exists to measure the leak.
        inputs: what the decoder's inputs are like: their sizes, for a mechanism with tables of its
            own, and how positions are known. None means nothing of either.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_score: ClassVar[Score] = "gaussian"
    default_normalise: ClassVar[Normalise] = "softmax"
    #: Whether q·k is never negative, so that its rows can be divided by their sums.
    dot_is_positive: ClassVar[bool] = False
    #: The least sum that ``normalise=sum`` divides a row by: smaller sums count as this, and a row
    #: without any key, or whose scores all vanish, gives 0.
    least_sum: ClassVar[float] = 1e-9
    #: Whether queries and keys are states of qubits, whose overlap is the score.
    queries_are_states: ClassVar[bool] = False
    has_weights = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        bias: bool | None = None,
        dropout: float = 0.0,
        score: Score | None = None,
        normalise: Normalise | None = None,
        temperature: float = 1.0,
        learnable_temperature: bool = False,
        initial_spread: float | None = None,
        token_shift: bool = False,
        mixing: Mixing = "causal",
        inputs: InputSizes | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_heads,
            bias=bias,
            dropout=dropout,
            token_shift=token_shift,
            inputs=inputs,
        )
        score = self.default_score if score is None else score
        require_choice("score", score, SCORES)
        require_choice("mixing", mixing, get_args(Mixing))
        if not 0 < temperature < math.inf:
            raise KetformerError(f"temperature must be positive and finite, got {temperature}")
        if initial_spread is not None and not 0 < initial_spread < math.inf:
            raise KetformerError(
                f"initial_spread must be positive and finite, got {initial_spread}"
            )
        self.score: Score = score
        self._has_kernel = score in OF_DISTANCES and native.library() is not None
        self.normalise: Normalise = self.default_normalise if normalise is None else normalise
        require_choice("normalise", self.normalise, NORMALISE)
        self.mixing = mixing
        self.initial_temperature = temperature
        self.initial_spread = initial_spread
        self.log_temperature = (
            nn.Parameter(torch.empty(num_heads, 1, 1)) if learnable_temperature else None
        )
        if self.normalise != "softmax":
            self._check_scores(fixed_scale=temperature == 1 and not learnable_temperature)
        if not self.is_causal:
            warn_of_leak(type(self).__name__)

    def _check_scores(self, *, fixed_scale: bool) -> None:
        """Refuse scores that ``sum`` or ``l2`` cannot take, and options that do nothing there."""
        name, how = type(self).__name__, f"normalise={self.normalise}"
        if not fixed_scale and self.score != "double_exponential":
            raise KetformerError(
                f"{how} divides the temperature out of {self.score} scores; leave it at 1"
            )
        if self.initial_spread is not None:
            raise NotOfferedError(
                f"{how} has no initial_spread, which is that of a softmax's scores"
            )
        if self.normalise != "sum" or self.score == "double_exponential":
            return
        if self.score != "dot" or not self.dot_is_positive:
            raise KetformerError(
                f"{name}: {how} needs scores that are never negative, as double_exponential is; "
                f"{self.score} scores can be"
            )
        if self.positions == "rotary" and type(self).rotate is Attention.rotate:
            raise NotOfferedError(
                f"{name}: positions=rotary turns queries and keys, which would make some scores "
                f"negative, and {how} divides by their sum; use alibi or learned positions"
            )

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return self.mixing == "causal"

    @property
    def temperature(self) -> Tensor | float:
        """A number, or ``[H, 1, 1]`` if it is trained."""
        if self.log_temperature is None:
            return self.initial_temperature
        return self.log_temperature.exp()

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys ``[B, H, T, Dk]`` and values ``[B, H, T, head_dim]``.

        Args:
            hidden_states: ``[B, T, hidden_size]``.
            tokens: the inputs that the hidden states come from; most mechanisms ignore them.
        """
        raise NotImplementedError  # abstract

    def factors(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None, *, cached: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
        """As :meth:`project`, for keys that are products of parts.

        The last are the widths of these parts, which lie side by side; those of queries, too,
        unless they are wider. There are none by default, and queries and keys are those of
        :meth:`project`.

        Args:
            hidden_states: as for :meth:`project`.
            tokens: likewise.
            cached: keys go to a cache, where narrow ones are better.
        """
        return (*self.project(hidden_states, tokens), ())

    def project_measured(
        self, hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`project`, from the outcomes of :meth:`experiments`.

        Args:
            hidden_states: ``[B, T, hidden_size]``.
            tokens: the inputs that the hidden states come from.
            outcomes: for each name ``[B, N, H, S]``, where ``N`` is the experiment's number
                of rows.
        """
        raise NotImplementedError  # abstract

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys turned by their positions, if positions are ``rotary``.

        A mechanism whose states evolve with the position in :meth:`project` and
        :meth:`experiments` returns them as they are.

        Args:
            queries: ``[B, H, T, Dk]``, from :meth:`project` or :meth:`project_measured`.
            keys: ``[B, H, T, Dk]``.
            position_ids: ``[B or 1, T]``.

        Raises:
            KetformerError: Dk is 1.
        """
        assert self.inputs is not None  # it says that positions are rotary
        base = self.inputs.rotary_base
        return rotary.rotate(queries, position_ids, base), rotary.rotate(keys, position_ids, base)

    def dot_scale(self, width: int) -> float:
        """The factor of q·k in the score ``dot``, for queries of that width."""
        return float(width**-0.5)

    def reset_parameters(self) -> None:
        """Initialise the parameters that do not belong to a linear layer."""
        super().reset_parameters()
        if self.log_temperature is not None:
            nn.init.constant_(self.log_temperature, math.log(self.initial_temperature))

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        return_weights: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Apply attention to the hidden states.

        Args:
            hidden_states: ``[B, Tq, hidden_size]``.
            mask: bool, broadcastable to ``[B, 1, Tq, Tk]``, see
                :func:`~ketformer.attention.attention_mask`. None means plain
                causal attention without padding.
            cache: takes the new keys and values, returns all keys and values so far; with
                ``token_shift`` it must have ``previous``, see
                :class:`~ketformer.attention.shift.KeyValueCache`.
            return_weights: also return the weights ``[B, H, Tq, Tk]``; row i
                says what position i takes from each position.
            tokens: the inputs that the hidden states come from, see :meth:`project`.

        Returns:
            ``[B, Tq, hidden_size]``, and the weights or None.

        Raises:
            KetformerError: a cache was given to a mechanism that is not causal, or without
                ``tokens`` where positions matter here.
        """
        if cache is not None:
            if self.expect is not None:
                raise KetformerError("measured attention cannot use a cache; pass use_cache=False")
            if not self.is_causal:
                raise KetformerError(
                    f"{type(self).__name__} sees the future, so it cannot use a key-value cache; "
                    "pass use_cache=False"
                )
        hidden_states, halves = self.shift(hidden_states, mask, cache)
        parts: tuple[int, ...] = ()
        if self.expect is None:
            queries, keys, values, parts = self.factors(
                hidden_states, tokens, cached=cache is not None
            )
        else:
            outcomes = {
                name: torch.stack([self.expect(e) for e in heads], dim=-2).to(hidden_states.dtype)
                for name, heads in self.experiments(hidden_states, tokens).items()
            }
            queries, keys, values = self.project_measured(hidden_states, tokens, outcomes)
            if SCORE in outcomes and self.positions == "rotary":
                evolves = type(self).rotate is not Attention.rotate
                rotary.require_evolution(type(self).__name__, evolves)
        if cache is not None and tokens is None and self.positions in ("rotary", "alibi"):
            raise KetformerError(
                f"positions={self.positions} with a cache needs the positions: pass `tokens`"
            )
        if self.positions == "rotary":
            queries, keys = self.rotate(queries, keys, positions_of(hidden_states, tokens))
        if cache is not None:
            if self.positions == "alibi":
                keys = alibi.attach(keys, positions_of(hidden_states, tokens))
            if halves is not None:  # the next position needs them
                values = torch.cat([values, halves.to(values.dtype)], dim=-1)
            keys, values = cache(keys, values)
            values = values[..., : self.head_dim]
        bias = None
        if self.positions == "alibi":
            places = positions_of(hidden_states, tokens)
            keys, seen = (keys, places) if cache is None else alibi.detach(keys)
            bias = alibi.LinearBias(self.num_heads, places, seen)
        if mask is None and 1 < queries.shape[-2] != keys.shape[-2]:
            mask = causal_mask(queries, keys)
        how = Weighting(
            self.score,
            self.temperature,
            1.0 if self.normalise == "sum" else self.dot_scale(queries.shape[-1]),
            self.is_causal,
            self.dropout,
            self.training,
            bias,
            self.normalise,
            self.least_sum,
            parts,
            self._has_kernel,
        )
        mixed, weights = mix(how, queries, keys, values, mask, return_weights=return_weights)
        merged = mixed.transpose(1, 2).flatten(2)
        return self.output(merged), weights

    def shift(
        self, hidden_states: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What :meth:`project` gets, and with ``token_shift`` what the next position takes over.

        Arguments as in :meth:`forward`. Without ``token_shift`` the hidden states and None.
        """
        if not self.token_shift:
            return hidden_states, None
        seen, last = (0, None) if cache is None else cache.previous()
        # The last query sees every key that is not padding.
        is_token = None if mask is None else mask[..., -1, seen : seen + hidden_states.shape[1]]
        halves = halves_of(hidden_states, self.num_heads, is_token)
        earlier = None if last is None else last[..., self.head_dim :]
        return shifted(hidden_states, halves, earlier), halves

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        normalise = "" if self.normalise == "softmax" else f", normalise={self.normalise}"
        return f"heads={self.num_heads}, score={self.score}{normalise}, mixing={self.mixing}"

"""The base class of all mechanisms: query/key map -> score -> softmax -> mix the value map.

A mechanism implements one method, :meth:`Attention.project`. Everything else (masks,
cache, dropout, the fused kernel) is implemented here once.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn

from ketformer.attention import alibi, rotary
from ketformer.attention.checks import check_weights, require_choice
from ketformer.attention.inputs import InputSizes, Positions, TokenInputs, positions_of
from ketformer.attention.leaks import warn_of_leak
from ketformer.attention.masking import attention_mask
from ketformer.attention.mixing import Weighting, mix
from ketformer.attention.scores import SCORES, Score
from ketformer.attention.shift import KeyValueCache, halves_of, shifted
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Expect, Experiment

Mixing = Literal["causal", "transposed"]
#: The experiment with a row per pair of positions i >= j; others have a row per token.
SCORE = "score"


class CommonOptions(TypedDict, total=False):
    """Options that every mechanism accepts and passes on to :class:`Attention`."""

    bias: bool | None
    dropout: float
    score: Score | None
    temperature: float
    learnable_temperature: bool
    initial_spread: float | None
    token_shift: bool
    mixing: Mixing
    inputs: InputSizes | None


class Attention(nn.Module):
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

    #: Defaults of a mechanism.
    default_score: ClassVar[Score] = "gaussian"
    default_bias: ClassVar[bool] = False
    #: The arXiv number of the paper that published it.
    paper: ClassVar[str] = ""
    #: What it controls for, if it is a control for other mechanisms.
    control: ClassVar[str] = ""
    #: Whether queries and keys are states of qubits, whose overlap is the score.
    queries_are_states: ClassVar[bool] = False
    #: Whether it accepts no positions but ``learned``, whatever the options.
    learned_positions: ClassVar[bool] = False
    #: Whether values are ``value_proj`` of the hidden states, and nothing else.
    linear_values: ClassVar[bool] = False
    #: Whether every position sees later ones, whatever the options.
    leaks: ClassVar[bool] = False

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        bias: bool | None = None,
        dropout: float = 0.0,
        score: Score | None = None,
        temperature: float = 1.0,
        learnable_temperature: bool = False,
        initial_spread: float | None = None,
        token_shift: bool = False,
        mixing: Mixing = "causal",
        inputs: InputSizes | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise KetformerError(f"{num_heads} heads do not divide hidden_size {hidden_size}")
        check_weights("hidden_size", hidden_size, hidden_size)
        score = self.default_score if score is None else score
        require_choice("score", score, SCORES)
        require_choice("mixing", mixing, get_args(Mixing))
        if not 0 < temperature < math.inf:
            raise KetformerError(f"temperature must be positive and finite, got {temperature}")
        if initial_spread is not None and not 0 < initial_spread < math.inf:
            raise KetformerError(
                f"initial_spread must be positive and finite, got {initial_spread}"
            )
        if inputs is not None:
            require_choice("positions", inputs.positions, get_args(Positions))
        if token_shift and hidden_size < 2 * num_heads:
            raise KetformerError("token_shift halves the width of a head: it must be at least 2")
        if not 0 <= dropout < 1:
            raise KetformerError(f"dropout must lie in [0, 1), got {dropout}")
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.score = score
        self.mixing = mixing
        self.inputs = inputs
        self.dropout = dropout
        self.initial_temperature = temperature
        self.initial_spread = initial_spread
        self.token_shift = token_shift
        self.log_temperature = (
            nn.Parameter(torch.empty(num_heads, 1, 1)) if learnable_temperature else None
        )
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        #: Source of the circuits' outcomes; None computes them in closed form.
        self.expect: Expect | None = None
        self.bias = self.default_bias if bias is None else bias
        if not self.is_causal:
            warn_of_leak(type(self).__name__)

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return self.mixing == "causal"

    @property
    def positions(self) -> Positions:
        """How positions are known; ``learned`` is the decoder's matter, not the mechanism's."""
        return "learned" if self.inputs is None else self.inputs.positions

    def require_learned_positions(self, why: str) -> None:
        """Refuse other positions, in a mechanism that cannot have them.

        Raises:
            NotOfferedError: saying why, if positions are not ``learned``.
        """
        if self.positions != "learned":
            raise NotOfferedError(f"{why}, so it needs positions=learned, not {self.positions}")

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

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """What hardware would run for these tokens: for each name, one experiment per head.

        Arguments as in :meth:`project`. The experiment ``score`` has a row for each pair of
        positions i >= j, any other a row for each token. A classical mechanism has none.
        """
        return {}

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

    def output(self, merged: Tensor) -> Tensor:
        """The output of the joined heads, both ``[B, T, hidden_size]``; ``out_proj`` by default."""
        out: Tensor = self.out_proj(merged)
        return out

    def output_experiments(self, merged: Tensor) -> dict[str, list[Experiment]]:
        """What hardware would run for :meth:`output`, if that is a circuit's."""
        return {}

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

    def phases(self, hidden_states: Tensor, tokens: TokenInputs | None, count: int) -> Tensor:
        """How far each token's state evolves, ``[B or 1, T, count]`` in radians.

        For a mechanism that overrides :meth:`rotate`; ``count`` is its number of frequencies,
        usually one per qubit, see :func:`ketformer.attention.rotary.phases`.
        """
        assert self.inputs is not None  # it says that positions are rotary
        places = positions_of(hidden_states, tokens)
        return rotary.phases(places, count, self.inputs.rotary_base, hidden_states.dtype)

    @classmethod
    def has_circuits(cls) -> bool:
        """Whether the mechanism is quantum, that is, overrides :meth:`experiments`."""
        return cls.experiments is not Attention.experiments

    @classmethod
    def circuit_sizes(cls, n_qubits: int, layers: int) -> list[dict[str, Any]]:
        """Sizes and options that give each form of its circuits these qubits and layers.

        By default they set the options ``n_qubits`` and ``layers``. A mechanism without the
        option ``n_qubits`` gets a hidden state of 2^n amplitudes instead.
        """
        options = inspect.signature(cls).parameters
        width = {"hidden_size": 2**n_qubits, "num_heads": max(2**n_qubits // 8, 1)}
        own = {"n_qubits": n_qubits} if "n_qubits" in options else width
        return [own | ({"layers": layers} if "layers" in options else {})]

    @classmethod
    def options_at(cls, hidden_size: int) -> dict[str, Any]:
        """Heads and options for a study of its circuits across model widths.

        By default each head has width 16, so that a wider state does not mean more observables.
        """
        return {"num_heads": max(hidden_size // 16, 1)}

    @classmethod
    def classical_operations(cls, hidden_size: int, length: int) -> int:
        """Multiply-adds of classical attention for what its circuits compute; 0 if nothing."""
        return 0

    def dot_scale(self, width: int) -> float:
        """The factor of q·k in the score ``dot``, for queries of that width."""
        return float(width**-0.5)

    def score_weights(self) -> list[Tensor]:
        """The weights, or views of a part of them, whose size sets the spread of the scores.

        Empty, as by default, if there are none, as where circuits measure queries and keys.
        """
        return []

    def reset_parameters(self) -> None:
        """Initialise the parameters that do not belong to a linear layer."""
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
        if self.expect is None:
            queries, keys, values = self.project(hidden_states, tokens)
        else:
            outcomes = {
                name: torch.stack([self.expect(e) for e in heads], dim=-2).to(hidden_states.dtype)
                for name, heads in self.experiments(hidden_states, tokens).items()
            }
            queries, keys, values = self.project_measured(hidden_states, tokens, outcomes)
            if SCORE in outcomes and self.positions == "rotary":
                evolves = type(self).rotate is not Attention.rotate
                rotary.require_evolution(type(self).__name__, evolves)
        places = positions_of(hidden_states, tokens)
        if self.positions == "rotary":
            queries, keys = self.rotate(queries, keys, places)
        if cache is not None:
            if tokens is None and self.positions in ("rotary", "alibi"):
                raise KetformerError(
                    f"positions={self.positions} with a cache needs the positions: pass `tokens`"
                )
            if self.positions == "alibi":
                keys = alibi.attach(keys, places)
            if halves is not None:  # the next position needs them
                values = torch.cat([values, halves.to(values.dtype)], dim=-1)
            keys, values = cache(keys, values)
            values = values[..., : self.head_dim]
        bias = None
        if self.positions == "alibi":
            keys, seen = (keys, places) if cache is None else alibi.detach(keys)
            bias = alibi.LinearBias(self.num_heads, places, seen)
        if mask is None and queries.shape[-2] != keys.shape[-2]:
            offset = keys.shape[-2] - queries.shape[-2]
            mask = attention_mask(
                queries.shape[-2], keys.shape[-2], offset=offset, device=queries.device
            )
        how = Weighting(
            self.score,
            self.temperature,
            self.dot_scale(queries.shape[-1]),
            self.is_causal,
            self.dropout,
            self.training,
            bias,
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

    def split_heads(self, merged: Tensor) -> Tensor:
        """``[B, T, H * w]`` to ``[B, H, T, w]``."""
        return merged.reshape(*merged.shape[:-1], self.num_heads, -1).transpose(1, 2)

    def extra_repr(self) -> str:
        """What ``print(model)`` says about the mechanism."""
        return f"heads={self.num_heads}, score={self.score}, mixing={self.mixing}"

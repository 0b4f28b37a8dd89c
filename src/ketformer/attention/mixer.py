"""The base class of all token mixers: what a block of the decoder puts where attention goes.

A mixer brings its own :meth:`Mixer.forward` and its own cache. One kind is
:class:`~ketformer.attention.base.Attention`, which weights values by scores and keeps keys and
values; another is :class:`~ketformer.attention.recurrent.RecurrentMixer`, which keeps a state.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, TypedDict, get_args

from torch import Tensor, nn

from ketformer.attention import rotary
from ketformer.attention.checks import check_weights, require_choice
from ketformer.attention.inputs import InputSizes, TokenInputs, positions_of
from ketformer.attention.leaks import warn_of_leak
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Expect, Experiment
from ketformer.utils.choices import Positions


class MixerOptions(TypedDict, total=False):
    """Options that every mixer accepts and passes on to :class:`Mixer`."""

    bias: bool | None
    dropout: float
    token_shift: bool
    inputs: InputSizes | None


class Mixer(nn.Module):
    """What any mixer needs: sizes, positions, the output layer, and what it says about itself.

    Args:
        hidden_size: width d of the model.
        num_heads: number of heads H; the head width is d / H.
        bias: whether the mixer's linear maps have a bias; None for its default.
        dropout: probability of dropping while training; each kind of mixer says what is dropped.
        token_shift: replace half of the channels of each hidden state by those of the previous
            token, 0 before the first, in what the mixer sees
            (:mod:`ketformer.attention.shift`). Tables of tokens are not shifted.
        inputs: what the decoder's inputs are like: their sizes, for a mixer with tables of its
            own, and how positions are known. None means nothing of either.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_bias: ClassVar[bool] = False
    #: The arXiv number of the paper that published it, or a DOI; several are separated by ", ".
    paper: ClassVar[str] = ""
    #: What it controls for, if it is a control for other mechanisms.
    control: ClassVar[str] = ""
    #: Arms of a comparison that do the same without anything quantum, such as ``classical_tanh``.
    twins: ClassVar[tuple[str, ...]] = ()
    #: Whether it accepts no positions but ``learned``, whatever the options.
    learned_positions: ClassVar[bool] = False
    #: Whether positions can be ``rotary``, whatever the options.
    rotary_positions: ClassVar[bool] = True
    #: Whether values are ``value_proj`` of the hidden states, and nothing else.
    linear_values: ClassVar[bool] = False
    #: Whether every position sees later ones, whatever the options.
    leaks: ClassVar[bool] = False
    #: Whether it computes with complex numbers, for which torch's compiler has no code of its own.
    is_complex: ClassVar[bool] = False
    #: Whether it can return what each position takes from each other, as weights.
    has_weights: ClassVar[bool] = False
    #: Names of the ways to measure its circuits, the default first; empty if there is only one.
    measurements: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        bias: bool | None = None,
        dropout: float = 0.0,
        token_shift: bool = False,
        inputs: InputSizes | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise KetformerError(f"{num_heads} heads do not divide hidden_size {hidden_size}")
        check_weights("hidden_size", hidden_size, hidden_size)
        if inputs is not None:
            require_choice("positions", inputs.positions, get_args(Positions))
        if token_shift and hidden_size < 2 * num_heads:
            raise KetformerError("token_shift halves the width of a head: it must be at least 2")
        if not 0 <= dropout < 1:
            raise KetformerError(f"dropout must lie in [0, 1), got {dropout}")
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.inputs = inputs
        self.dropout = dropout
        self.token_shift = token_shift
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        #: Source of the circuits' outcomes; None computes them in closed form.
        self.expect: Expect | None = None
        #: How its circuits are measured, one of :attr:`measurements`; see :meth:`measure_by`.
        self.measurement = next(iter(self.measurements), "")
        self.bias = self.default_bias if bias is None else bias
        if self.leaks:
            warn_of_leak(type(self).__name__)

    @classmethod
    def papers(cls) -> list[str]:
        """Each arXiv number and DOI in :attr:`paper`."""
        return [each for each in cls.paper.split(", ") if each]

    @classmethod
    def weights_of_context(cls, hidden_size: int, max_positions: int) -> int:
        """How many of its weights are there for the length of the context; few mechanisms have any.

        Args:
            hidden_size: width of the model.
            max_positions: the longest context.
        """
        return 0

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return not self.leaks

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

    def experiments(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> dict[str, list[Experiment]]:
        """What hardware would run for these tokens: for each name, one experiment per head.

        Arguments as in :meth:`forward`. The experiment ``score`` has a row for each pair of
        positions i >= j, any other a row for each token. A classical mechanism has none.
        """
        return {}

    def measure_by(self, measurement: str) -> None:
        """Choose one of :attr:`measurements`.

        Raises:
            KetformerError: it is none of them; a ``NotOfferedError`` if it does not go with the
                mechanism's options.
        """
        if measurement not in self.measurements:
            known = ", ".join(self.measurements) or "only one way"
            raise KetformerError(
                f"{type(self).__name__} has no measurement {measurement!r}; known: {known}"
            )
        self.measurement = measurement

    def output(self, merged: Tensor) -> Tensor:
        """The output ``[B, T, hidden_size]`` of what was mixed; ``out_proj`` of it by default."""
        out: Tensor = self.out_proj(merged)
        return out

    def output_experiments(self, merged: Tensor) -> dict[str, list[Experiment]]:
        """What hardware would run for :meth:`output`, if that is a circuit's."""
        return {}

    def phases(self, hidden_states: Tensor, tokens: TokenInputs | None, count: int) -> Tensor:
        """How far each token's state evolves, ``[B or 1, T, count]`` in radians.

        For a mechanism that turns its own states; ``count`` is its number of frequencies, usually
        one per qubit, see :func:`ketformer.attention.rotary.phases`.
        """
        assert self.inputs is not None  # it says that positions are rotary
        places = positions_of(hidden_states, tokens)
        return rotary.phases(places, count, self.inputs.rotary_base, hidden_states.dtype)

    @classmethod
    def has_circuits(cls) -> bool:
        """Whether the mechanism is quantum, that is, overrides :meth:`experiments`."""
        return cls.experiments is not Mixer.experiments

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

    def score_weights(self) -> list[Tensor]:
        """The weights, or views of a part of them, whose size sets the spread of the scores.

        Empty, as by default, if there are none, as where circuits measure queries and keys.
        """
        return []

    def reset_parameters(self) -> None:
        """Initialise the parameters that do not belong to a linear layer."""

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: Tensor | None = None,
        cache: Any = None,
        return_weights: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Mix the tokens.

        Args:
            hidden_states: ``[B, Tq, hidden_size]``.
            mask: bool, broadcastable to ``[B, 1, Tq, Tk]``, see
                :func:`~ketformer.attention.attention_mask`. None means plain
                causal mixing without padding.
            cache: what the mixer keeps of earlier positions: a
                :class:`~ketformer.attention.shift.KeyValueCache` or a
                :class:`~ketformer.attention.recurrent.StateCache`, as its kind says.
            return_weights: also return the weights ``[B, H, Tq, Tk]``; row i says what position
                i takes from each position.
            tokens: the inputs that the hidden states come from; most mechanisms ignore them.

        Returns:
            ``[B, Tq, hidden_size]``, and the weights or None.

        Raises:
            NotOfferedError: weights of a mixer that has none (:attr:`has_weights`).
        """
        raise NotImplementedError  # abstract

    def split_heads(self, merged: Tensor) -> Tensor:
        """``[B, T, H * w]`` to ``[B, H, T, w]``."""
        return merged.reshape(*merged.shape[:-1], self.num_heads, -1).transpose(1, 2)

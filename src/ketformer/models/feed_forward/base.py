"""The base class of all feed-forward layers: what a block of the decoder puts after attention."""

from __future__ import annotations

from typing import ClassVar, TypedDict, get_args

from torch import Tensor, nn

from ketformer.attention.checks import require_choice
from ketformer.errors import KetformerError
from ketformer.models.dropout import Dropout
from ketformer.utils.choices import Activation


class FeedForwardOptions(TypedDict, total=False):
    """What every feed-forward layer accepts and passes on to :class:`FeedForward`."""

    hidden_act: Activation
    dropout: float


class FeedForward(nn.Module):
    """Maps each position on its own; a subclass implements :meth:`transform`.

    A subclass whose width can be chosen takes ``intermediate_size``, and by it comparisons match
    numbers of parameters; one of fixed size does not. Further keywords of its ``__init__`` are its
    options.

    Args:
        hidden_size: width d of the model.
        hidden_act: ``relu``, ``gelu``, or ``gelu_new`` (the tanh form of GPT-1).
        dropout: probability of dropping a number of the output while training.

    Raises:
        KetformerError: an invalid size or option.
    """

    #: The arXiv number of the paper that published it.
    paper: ClassVar[str] = ""

    def __init__(
        self, hidden_size: int, *, hidden_act: Activation = "gelu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if hidden_size < 1:
            raise KetformerError(f"hidden_size must be positive, got {hidden_size}")
        require_choice("hidden_act", hidden_act, get_args(Activation))
        if not 0 <= dropout < 1:
            raise KetformerError(f"dropout must lie in [0, 1), got {dropout}")
        # A second of imports, which the configuration and its checks do not need.
        from transformers.activations import ACT2FN

        self.hidden_size = hidden_size
        self.act: nn.Module = ACT2FN[hidden_act]
        self.dropout = Dropout(dropout)

    def transform(self, hidden_states: Tensor) -> Tensor:
        """The output before dropout, ``[..., hidden_size]`` of the same."""
        raise NotImplementedError  # abstract

    def reset_parameters(self) -> None:
        """Initialise the parameters that do not belong to a linear layer."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Hidden states ``[B, T, hidden_size]`` to the same shape."""
        out: Tensor = self.dropout(self.transform(hidden_states))
        return out

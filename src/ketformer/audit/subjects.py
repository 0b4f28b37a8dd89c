"""What is audited, behind one interface: a function from tokens or vectors to outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ketformer.attention import Mixer
from ketformer.audit.precision import float64_copy, in_float64
from ketformer.errors import KetformerError, one_line

#: Tokens in a sequence: of a model whose context is known, at most; of others; of a mechanism.
LONGEST, UNKNOWN, VECTORS = 64, 32, 16
#: What configurations call the context, in transformers and in small training codes.
_CONTEXTS = ("max_position_embeddings", "context_length", "block_size", "max_seq_len")


class Subject:
    """A decoder that maps token ids ``[B, T]`` to logits ``[B, T, V]``.

    Args:
        model: a torch module, which may be from transformers, or any callable; one that cannot
            take a tensor gets a NumPy array.
        vocab_size: the number of tokens; None takes it from the model's configuration, or else
            from its first embedding.

    Raises:
        KetformerError: not callable, no known or too small a vocabulary.
    """

    def __init__(self, model: Any, vocab_size: int | None = None) -> None:
        if not callable(model):
            raise KetformerError(
                f"an audit needs a callable from token ids [B, T] to logits [B, T, V], "
                f"got {type(model).__name__}"
            )
        self.model = model
        self.module = model if isinstance(model, nn.Module) else None
        self.config = getattr(model, "config", None)
        self.name = _name_of(model, self.config)
        self.vocab_size = _vocab_size_of(self, vocab_size)
        found = (getattr(self.config, name, None) for name in _CONTEXTS)
        self.context = next((size for size in found if isinstance(size, int)), None)
        self.longest = UNKNOWN if self.context is None else LONGEST
        self.parameters = _parameters_of(self.module or model)
        self.is_encoder_decoder = bool(getattr(self.config, "is_encoder_decoder", False))
        self._given: dict[str, Tensor] = {}  # the rest of the input, the same in every pass
        self._as_array = False
        self._float64 = False

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        parameter = next(self.module.parameters(), None) if self.module else None
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def eps(self) -> float:
        """The relative rounding of its coarsest weights; 0 if it has none."""
        weights = self.module.parameters() if self.module else iter(())
        types = {weight.dtype for weight in weights if weight.is_floating_point()}
        return max((torch.finfo(dtype).eps for dtype in types), default=0.0)

    def draw(self, rows: int, length: int, generator: torch.Generator) -> Tensor:
        """Random inputs; conditions of our models and the text of an encoder are drawn too."""
        shape = (rows, length)
        ids = torch.randint(self.vocab_size, shape, generator=generator).to(self.device)
        if names := getattr(self.config, "condition_names", ()):
            drawn = torch.randn(rows, len(names), generator=generator)
            config: Any = self.config
            means, stds = map(torch.tensor, (config.condition_means, config.condition_stds))
            self._given["conditions"] = (means + stds * drawn).to(self.device)
        if self.is_encoder_decoder:
            text = torch.randint(self.vocab_size, shape, generator=generator)
            self._given["input_ids"] = text.to(self.device)
        self._shift = torch.randint(1, max(self.vocab_size, 2), (rows,), generator=generator)
        return ids

    def replaced(self, tokens: Tensor) -> Tensor:
        """Other tokens instead of ``[B]`` or ``[B, T]``."""
        shift = self._shift.to(tokens.device)
        shift = shift if tokens.ndim == 1 else shift[:, None]
        return (tokens + shift) % self.vocab_size

    def accepts(self, option: str) -> bool:
        """Whether the module's forward names this argument."""
        return option in self.parameters

    def raw(self, inputs: Tensor, *, rows: slice = slice(None), **options: Any) -> Any:
        """What the model returns.

        Args:
            inputs: ``[B, T]``.
            rows: which of the drawn rows they belong to.
            options: arguments of the model.
        """
        given = {name: value[rows] for name, value in self._given.items()} | options
        if self.accepts("use_cache"):
            given.setdefault("use_cache", False)
        if self.is_encoder_decoder:
            return self.model(decoder_input_ids=inputs, **given)
        return self.model(inputs.cpu().numpy() if self._as_array else inputs, **given)

    def __call__(self, inputs: Tensor, *, rows: slice = slice(None)) -> Tensor:
        """The outputs ``[B, T, V]``, checked.

        Raises:
            KetformerError: the model fails, or returns something else or NaN.
        """
        try:
            returned = self._returned(inputs, rows)
        except KetformerError:
            raise
        except Exception as error:  # the model may raise anything
            hint = "" if self.context else " (if they are too long, give a length)"
            raise KetformerError(
                f"{self.name} fails on ids of shape {list(inputs.shape)}{hint}: {one_line(error)}"
            ) from error
        outputs = outputs_of(returned, inputs)
        if bool((wrong := outputs.isnan()).any()):
            row, position, _ = wrong.nonzero()[0].tolist()
            raise KetformerError(
                f"the logits of {self.name} are NaN, first in row {row} at position {position}"
            )
        return outputs

    def _returned(self, inputs: Tensor, rows: slice) -> Any:
        try:
            return self.raw(inputs, rows=rows)
        except Exception:
            if self.module is not None or self._as_array:
                raise
            self._as_array = True
            try:
                return self.raw(inputs, rows=rows)
            except Exception:  # which may say less than the first
                self._as_array = False
            raise

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout is off; afterwards every module is in its former mode."""
        modes = {part: part.training for part in self.module.modules()} if self.module else {}
        if self.module is not None:
            self.module.eval()
        try:
            if self._float64:
                with in_float64():
                    yield
            else:
                yield
        finally:
            for part, mode in modes.items():
                part.training = mode

    def in_float64(self) -> Subject:
        """A copy that computes in float64 and is given the same inputs.

        Raises:
            Exception: anything, if there can be none.
        """
        if self.module is None:
            raise ValueError("a function computes as it is written")
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.model = twin.module = float64_copy(self.module)
        twin._given = {
            name: value.double() if value.is_floating_point() else value
            for name, value in self._given.items()
        }
        twin._float64 = True
        return twin


class Mechanism(Subject):
    """A bare attention mechanism: vectors ``[B, T, hidden_size]`` to vectors."""

    def __init__(self, model: Mixer) -> None:
        self.model: Any = model
        self.module = model
        self.config = None
        self.name = type(model).__name__
        self.vocab_size = 0  # it has no tokens
        self.context = model.inputs.max_positions if model.inputs else None
        self.longest = VECTORS
        self.parameters = frozenset({"return_weights"})
        self._as_array = False
        self.is_encoder_decoder = False
        self._given = {}
        self._float64 = False

    def draw(self, rows: int, length: int, generator: torch.Generator) -> Tensor:
        """Random vectors."""
        wide = (rows, length, self.model.hidden_size)
        dtype = next(self.model.parameters()).dtype
        return torch.randn(wide, generator=generator).to(self.device, dtype)

    def replaced(self, tokens: Tensor) -> Tensor:
        """Other vectors."""
        return -3 * tokens + 1

    def raw(self, inputs: Tensor, *, rows: slice = slice(None), **options: Any) -> Any:
        """The mixed vectors, and the weights or None."""
        return self.model(inputs.double() if self._float64 else inputs, **options)


def outputs_of(returned: Any, inputs: Tensor) -> Tensor:
    """The logits ``[B, T, V]`` in what a model returns for ``[B, T]``.

    Raises:
        KetformerError: there are none, or not for every position.
    """
    found = returned
    for name in ("logits", "last_hidden_state"):
        has = found.get if isinstance(found, Mapping) else partial(getattr, found)
        found = has(name, found)
    if isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor):
        array = np.asarray(found)
        if array.dtype.kind not in "fiu":
            raise KetformerError(f"the model returns {type(found).__name__}, not logits [B, T, V]")
        found = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    rows, length = inputs.shape[:2]
    if found.ndim != 3 or found.shape[:2] != (rows, length):
        raise KetformerError(
            f"the model must return logits of every position, [{rows}, {length}, V] for ids "
            f"[{rows}, {length}], but they have shape {list(found.shape)}"
        )
    return found.detach() if found.is_floating_point() else found.double()


def difference(left: Tensor, right: Tensor) -> Tensor:
    """The absolute difference in float64; 0 where both are the same infinity.

    Complex numbers become two real ones, on a further axis.
    """
    if left.is_complex():
        left, right = torch.view_as_real(left), torch.view_as_real(right)
    left, right = left.double(), right.double()
    return (left - right).abs().masked_fill(left == right, 0)


def _name_of(model: Any, config: Any) -> str:
    names = ("attention_name", "model_type")
    named = next(filter(None, (getattr(config, name, None) for name in names)), None)
    if isinstance(named, str) and named:
        return named
    described = model if hasattr(model, "__name__") else type(model)
    return str(described.__name__)


def _vocab_size_of(subject: Subject, given: int | None) -> int:
    text = getattr(subject.config, "get_text_config", lambda: subject.config)()
    found = given if given is not None else getattr(text, "vocab_size", None)
    if found is None and subject.module is not None:
        embeddings = (m for m in subject.module.modules() if isinstance(m, nn.Embedding))
        found = getattr(next(embeddings, None), "num_embeddings", None)
    if found is None:
        raise KetformerError(
            f"{subject.name} has neither a configuration nor an embedding that says how many "
            "tokens there are: give vocab_size"
        )
    if given is not None and given < 2:
        raise KetformerError(f"vocab_size must be at least 2, got {given}")
    return int(found)


def _parameters_of(model: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(getattr(model, "forward", model)).parameters)
    except (TypeError, ValueError):  # built in, or written in C
        return frozenset()

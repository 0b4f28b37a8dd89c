"""Test cases for the conformance suite: mechanisms, token batches, padding and a cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.attention.inputs import InputSizes, TokenInputs
from ketformer.attention.masking import attention_mask
from ketformer.attention.mixer import Mixer
from ketformer.attention.recurrent import State
from ketformer.attention.registry import build_attention
from ketformer.utils.conformance import Check

#: Positions in a sequence.
LENGTH = 6
#: Float types that every number is computed in.
TYPES = (torch.float32, torch.float64)
_SIZES = InputSizes(vocab_size=11, max_positions=128)


@dataclass(frozen=True)
class Batch:
    """A batch of sequences, in the form that the decoder passes to a mechanism.

    Attributes:
        states: hidden states ``[B, T, hidden_size]``.
        tokens: the inputs that the hidden states come from.
        is_token: ``[B, T]`` bool, false for padding.
    """

    states: Tensor
    tokens: TokenInputs
    is_token: Tensor

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.states.shape[1]

    def mask(self, queries: int | None = None, keys: int | None = None) -> Tensor:
        """The attention mask of the last ``queries`` among the first ``keys`` positions."""
        keys = keys or self.length
        queries = queries or keys
        padding = self.is_token[:, :keys]
        return attention_mask(queries, keys, offset=keys - queries, padding=padding)

    def attend(
        self,
        attention: Mixer,
        mask: Tensor | None = None,
        *,
        called: Callable[..., Any] | None = None,
        **path: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """The output and weights of the mechanism, or of its compiled form ``called``."""
        run = attention if called is None else called
        output, weights = run(self.states, mask=mask, tokens=self.tokens, **path)
        return output, weights

    def through(self, attention: Mixer, mask: Tensor | None = None, **path: Any) -> Tensor:
        """The mechanism's output ``[B, T, hidden_size]``."""
        return self.attend(attention, mask, **path)[0]

    def outcome(
        self, attention: Mixer, mask: Tensor | None = None, **path: Any
    ) -> dict[str, Tensor]:
        """The output, and gradients of a scalar made from it by hidden states and parameters."""
        attention.zero_grad()
        states = self.states.detach().clone().requires_grad_()
        output = replace(self, states=states).through(attention, mask, **path)
        weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
        (output * weight.to(output)).mean().backward()
        named = {"hidden states": states, **dict(attention.named_parameters())}
        gradients = {name: t.grad for name, t in named.items() if t.grad is not None}
        return {"output": output.detach(), **gradients}

    def changed_at(self, position: int) -> Batch:
        """The batch with different tokens at one position."""
        states, ids = self.states.clone(), self.ids.clone()
        states[:, position] = 1 - 2 * states[:, position]
        ids[:, position] = (ids[:, position] + 1) % _SIZES.vocab_size
        return replace(self, states=states, tokens=replace(self.tokens, input_ids=ids))

    @property
    def ids(self) -> Tensor:
        """Token ids ``[B, T]``."""
        assert self.tokens.input_ids is not None
        return self.tokens.input_ids

    def with_gaps(self) -> Batch:
        """The batch with about a third of its tokens declared padding."""
        some = torch.rand(self.is_token.shape, generator=torch.Generator().manual_seed(2)) < 0.7
        return replace(self, is_token=some.to(self.states.device))

    def rows(self, row: int) -> Batch:
        """One sequence of the batch."""
        return self._part(slice(row, row + 1), slice(None))

    def split(self, lengths: Sequence[int]) -> Iterator[Batch]:
        """Consecutive parts of the positions, with the given lengths."""
        begin = 0
        for length in lengths:
            yield self._part(slice(None), slice(begin, begin + length))
            begin += length

    def to(self, dtype: torch.dtype) -> Batch:
        """The batch in another float type."""
        conditions = self.tokens.conditions
        conditions = None if conditions is None else conditions.to(dtype)
        tokens = replace(self.tokens, conditions=conditions)
        return replace(self, states=self.states.to(dtype), tokens=tokens)

    def _part(self, rows: slice, positions: slice) -> Batch:
        old = self.tokens
        tokens = TokenInputs(
            self.ids[rows, positions],
            old.position_ids[rows, positions],
            None if old.conditions is None else old.conditions[rows],
            None if old.unknown is None else old.unknown[rows],
        )
        return Batch(self.states[rows, positions], tokens, self.is_token[rows, positions])


@dataclass(frozen=True)
class Case:
    """A mechanism, its size and its options.

    Attributes:
        attention: registry name of the mechanism.
        hidden_size: width of the model.
        num_heads: number of heads.
        options: the mechanism's options, and optionally ``inputs`` to replace the suite's
            table sizes.
        device: where the mechanism and its inputs are; None is the CPU.
    """

    attention: str
    hidden_size: int = 16
    num_heads: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | str | None = None

    @property
    def sizes(self) -> InputSizes:
        """Sizes of the mechanism's input tables, as the decoder passes them."""
        sizes: InputSizes = self.options.get("inputs", _SIZES)
        return sizes

    def build(self, *, seed: int = 0, dtype: torch.dtype | None = None, **more: Any) -> Mixer:
        """Build the mechanism with seeded weights and Pauli strings, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = self.as_built(**more)
            # Parameters that start at 0, such as the angles of an ansatz, would hide mistakes.
            for parameter in built.parameters():
                if not parameter.is_meta and not parameter.any():
                    nn.init.normal_(parameter, std=0.3)
        built = built.to(dtype or torch.float32).eval()
        return built if self.device is None else built.to(self.device)

    def as_built(self, **more: Any) -> Mixer:
        """The mechanism as the registry builds it, with weights from torch's generator."""
        options = {"inputs": self.sizes, **self.options, **more}
        return build_attention(self.attention, self.hidden_size, self.num_heads, **options)

    def paths(self, attention: Mixer, batch: Batch) -> list[dict[str, Any]]:
        """Arguments of ``forward`` that take different ways through it."""
        weights = [{"return_weights": True}] if attention.has_weights else []
        return [{}, {"mask": batch.mask()}, *weights]

    def batch(
        self, size: int, length: int, *, seed: int = 0, dtype: torch.dtype = torch.float32
    ) -> Batch:
        """Random sequences, the same in every float type."""
        generator = torch.Generator().manual_seed(seed)
        states = torch.randn(size, length, self.hidden_size, generator=generator)
        ids = torch.randint(self.sizes.vocab_size, (size, length), generator=generator)
        conditions = torch.randn(1, self.sizes.n_conditions, generator=generator)
        # Drawn on the CPU, so that every device gets the same numbers.
        states, ids, conditions = (x.to(self.device or "cpu") for x in (states, ids, conditions))
        conditions = conditions.expand(size, -1)
        tokens = TokenInputs(
            ids,
            torch.arange(length, device=self.device).expand(size, -1),
            conditions if self.sizes.n_conditions else None,
            torch.zeros_like(conditions, dtype=torch.bool) if self.sizes.n_conditions else None,
        )
        return Batch(states, tokens, torch.ones_like(ids, dtype=torch.bool)).to(dtype)

    def padded(self, sequences: Sequence[Batch], side: str, *, filler: float = 1.0) -> Batch:
        """The sequences as one batch, padded to two positions more than the longest.

        Args:
            sequences: batches of one row each.
            side: where the padding goes, ``left`` or ``right``.
            filler: scale of the hidden states in the padding.
        """
        length = 2 + max(sequence.length for sequence in sequences)
        like = sequences[0].states
        batch = self.batch(len(sequences), length, seed=9, dtype=like.dtype)
        states, is_token = filler * batch.states, torch.zeros_like(batch.is_token)
        ids, tokens = batch.ids.clone(), batch.tokens
        conditions = [s.tokens.conditions for s in sequences if s.tokens.conditions is not None]
        for row, sequence in enumerate(sequences):
            begin = 0 if side == "right" else length - sequence.length
            own = slice(begin, begin + sequence.length)
            states[row, own], ids[row, own] = sequence.states[0], sequence.ids[0]
            is_token[row, own] = True
        tokens = replace(
            tokens,
            input_ids=ids,
            position_ids=(is_token.cumsum(dim=-1) - 1).clamp_min(0),  # as the decoder counts
            conditions=torch.cat(conditions) if conditions else None,
        )
        return Batch(states, tokens, is_token)


def on_case(body: Callable[[Case], Iterator[float]]) -> Check:
    """The check that calls ``body`` with a mechanism's registry name, sizes and options."""

    @functools.wraps(body)
    def on(
        attention: str,
        hidden_size: int = 16,
        num_heads: int = 2,
        device: torch.device | str | None = None,
        **options: Any,
    ) -> Iterator[float]:
        return body(Case(attention, hidden_size, num_heads, options, device))

    return Check(body.__name__.strip("_"), on)


class GrowingCache:
    """The simplest cache: it stores all keys and values and returns them, or it keeps a state."""

    def __init__(self) -> None:
        self.seen = 0
        self.last: State | None = None
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.append(keys)
        self.values.append(values)
        return torch.cat(self.keys, dim=-2), torch.cat(self.values, dim=-2)

    def previous(self) -> tuple[int, Tensor | None]:
        """The number of positions, and the values of the last one."""
        seen = sum(values.shape[-2] for values in self.values)
        return seen, self.values[-1][..., -1:, :] if seen else None

    def state(self) -> tuple[int, State | None]:
        """The number of positions, and the state after the last one."""
        return self.seen, self.last

    def keep(self, state: State, positions: int) -> None:
        """Replace the state."""
        self.seen, self.last = self.seen + positions, state


def load_as_transformers(module: Any, state: Mapping[str, Tensor]) -> None:
    """Load weights into a module built on the meta device, as ``from_pretrained`` does.

    Saved tensors are assigned and buffers that are not saved get arbitrary memory. Then
    ``reset_parameters`` runs, with ``torch.nn.init`` leaving loaded tensors alone.

    Args:
        module: a mechanism, or another module with ``reset_parameters``.
        state: its saved tensors.
    """
    loaded = {name: tensor.clone() for name, tensor in state.items()}
    module.load_state_dict(loaded, assign=True)
    device = next(iter(loaded.values())).device
    kept = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_meta:
                part._buffers[name] = torch.zeros_like(buffer, device=device)
    with torch.no_grad(), _init_keeps(kept):
        module.reset_parameters()


@contextmanager
def _init_keeps(kept: set[int]) -> Iterator[None]:
    """Inside this context, functions of ``torch.nn.init`` return these tensors unchanged."""
    originals = {n: f for n, f in vars(nn.init).items() if n.endswith("_") and n[0] != "_"}

    def guarded(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def initialise(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return tensor if id(tensor) in kept else original(tensor, *args, **kwargs)

        return initialise

    for name, original in originals.items():
        setattr(nn.init, name, guarded(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(nn.init, name, original)

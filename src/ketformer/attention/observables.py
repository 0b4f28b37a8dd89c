"""Pauli observables of a mechanism: a set of strings for each head, saved with the model."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ketformer.attention.checks import require_choice
from ketformer.attention.drawn import Drawn
from ketformer.attention.shared_unitary import MAX_DENSE_QUBITS, KeptUnitary
from ketformer.errors import KetformerError
from ketformer.quantum import (
    Circuit,
    CircuitValues,
    PauliPlan,
    PauliStrings,
    amplitude_encode,
    apply,
    distinct_strings,
    random_strings,
)

Observables = Literal["distinct", "random"]


class PauliObservables(Drawn):
    """Expectations of ``S`` fixed Pauli strings per head, after a circuit that all tokens share.

    The strings are drawn once, from torch's global generator, and stored in a buffer, so
    that a reloaded model gives the same outputs.

    Args:
        strings: one set for each of H heads, all of the same size.
        circuit: circuit with P angles applied before the measurement; None for no circuit.
    """

    codes: Tensor

    def __init__(self, strings: list[PauliStrings], circuit: Circuit | None = None) -> None:
        super().__init__()
        self.circuit = circuit
        self.unitary = None if circuit is None else KeptUnitary(circuit)
        self.register_drawn("codes", torch.stack([s.codes for s in strings]))  # [H, S, n]
        self._tables: _Tables | None = None
        self._joined: tuple[list[_Tables], CircuitValues] | None = None
        if not self.codes.is_meta:
            self.prepare()

    @classmethod
    def draw(
        cls,
        kind: Observables,
        num_heads: int,
        count: int,
        n_qubits: int,
        circuit: Circuit | None = None,
    ) -> PauliObservables:
        """Draw ``count`` strings for each head: ``random`` as published, or ``distinct``.

        Random strings differ between the heads. Distinct ones are the same for every head;
        the heads then differ in what they apply before the measurement.

        Raises:
            KetformerError: an unknown kind, or more distinct strings than exist.
        """
        require_choice("observables", kind, get_args(Observables))
        if kind == "random":
            return cls([random_strings(count, n_qubits) for _ in range(num_heads)], circuit)
        try:
            return cls([distinct_strings(count, n_qubits)] * num_heads, circuit)
        except ValueError as error:
            raise KetformerError(str(error)) from None

    @property
    def strings(self) -> list[PauliStrings]:
        """The strings of each head."""
        return [PauliStrings.from_codes(codes) for codes in self.drawn("codes")]

    def forward(
        self,
        real: Tensor,
        imag: Tensor | None = None,
        angles: Tensor | None = None,
        others: Sequence[PauliObservables] = (),
        normalise: bool = False,
    ) -> Tensor:
        """<state|C† P C|state> for each head's strings.

        Args:
            real: ``[N, H or 1, d]``, the real parts of the first d amplitudes of N states; the
                others are 0. With 1, all heads start from the same state.
            imag: the imaginary parts; None for real states.
            angles: ``[H, P]``, the angles of the circuit; None without a circuit.
            others: observables with the same circuit and number of heads, to be measured in the
                same states by the same call, see :meth:`can_join`. Angles are then those of all
                heads, in order.
            normalise: encode the states, which are real, by :func:`.amplitude_encode` first.

        Returns:
            ``[N, H, S]``, with ``others`` those of all heads, 0 beyond the last string of each.

        Raises:
            ValueError: angles without a circuit, or a circuit without angles.
        """
        if (angles is None) != (self.circuit is None):
            raise ValueError("angles must be given if, and only if, there is a circuit")
        if real.is_meta:
            return real.new_empty(len(real), *self.codes.shape[:2])
        native = self._native(real, others)
        if native is None:
            real = amplitude_encode(real) if normalise else real
            return self._by_torch(self._current().plans, real, imag, angles)
        if others and real.shape[1] > 1:  # each set of heads starts from these states
            real = real.repeat(1, 1 + len(others), 1)
            imag = None if imag is None else imag.repeat(1, 1 + len(others), 1)
        # Products of amplitudes lose too many digits in half precision.
        wide = torch.promote_types(real.dtype, torch.float32)
        imag, angles = (None if part is None else part.to(wide) for part in (imag, angles))
        return native(real.to(wide), imag, angles, normalise).to(real.dtype)

    def can_join(self, like: Tensor) -> bool:
        """Whether a call for states such as these may have ``others``: one of the kernel may.

        A compiled graph could not build the tables for several observables.
        """
        return not torch.compiler.is_compiling() and self._native(like) is not None

    def _native(
        self, like: Tensor, others: Sequence[PauliObservables] = ()
    ) -> CircuitValues | None:
        """The kernel's tables of these strings and those of others; None where torch does it."""
        # An exported program should need torch alone.
        if like.device.type != "cpu" or torch.compiler.is_exporting():
            return None
        tables = [each._current() for each in (self, *others)]
        if not others:
            return tables[0].native
        if self._joined is None or not all(map(operator.is_, self._joined[0], tables)):
            strings = [heads for each in (self, *others) for heads in each.strings]
            with torch.inference_mode(False):
                self._joined = tables, CircuitValues(strings, self.circuit)
        return self._joined[1]

    def _by_torch(
        self, plans: list[PauliPlan], real: Tensor, imag: Tensor | None, angles: Tensor | None
    ) -> Tensor:
        """The readable reference for the native kernel; also used on a GPU."""
        missing = (1 << self.codes.shape[-1]) - real.shape[-1]
        re = F.pad(real, (0, missing)).permute(1, 2, 0)
        im = None if imag is None else F.pad(imag, (0, missing)).permute(1, 2, 0)
        if self.circuit is not None and self.unitary is not None:
            assert angles is not None
            if self.circuit.n_qubits <= MAX_DENSE_QUBITS:
                re, im = apply_shared(self.unitary(angles), re, im)
            else:
                state = re if im is None else torch.complex(re, im)
                state = apply(self.circuit, state.mT, angles.unsqueeze(-2)).mT
                re, im = state.real, state.imag
        if len(plans) == 1:  # all heads measure the same strings
            return plans[0](re, im).permute(2, 0, 1)
        heads = (plan(re[h], None if im is None else im[h]) for h, plan in enumerate(plans))
        return torch.stack(list(heads)).permute(2, 0, 1)

    def prepare(self) -> _Tables:
        """Build the tables of the strings.

        Calling it is optional: :meth:`forward` does so when the strings have changed. A compiled
        or exported graph cannot, so it also happens wherever strings are drawn, loaded or moved.
        """
        strings, device = self.strings, self.codes.device
        distinct = strings if len(set(strings)) > 1 else strings[:1]
        # Ordinary tensors, so that training works after an evaluation in inference mode.
        with torch.inference_mode(False):
            plans = [PauliPlan(s, device) for s in distinct]
            native = CircuitValues(strings, self.circuit) if self._has_kernel() else None
        self._tables = _Tables(self.codes, _version(self.codes), plans, native)
        return self._tables

    def _has_kernel(self) -> bool:
        return self.codes.device.type == "cpu" and CircuitValues.can_run(self.circuit)

    def _current(self) -> _Tables:
        tables = self._tables
        if tables is not None and torch.compiler.is_exporting():
            return tables  # the codes of a model that is being exported cannot be read
        if tables is None or tables.codes is not self.codes:
            if not torch.compiler.is_compiling():
                return self.prepare()
            # Outside the graph. Not a decorator, which would import the compiler, a second of it,
            # together with this module.
            rebuilt: _Tables = torch.compiler.disable(PauliObservables.prepare)(self)
            return rebuilt
        if not torch.compiler.is_compiling() and tables.version != _version(self.codes):
            return self.prepare()
        return tables

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not self.codes.is_meta:
            self.prepare()

    def _apply(self, *args: Any, **kwargs: Any) -> PauliObservables:
        super()._apply(*args, **kwargs)
        if not self.codes.is_meta:
            self.prepare()
        return self


class _Tables(NamedTuple):
    """Tables of the strings, and the codes that they were built from."""

    codes: Tensor
    version: int | None
    plans: list[PauliPlan]
    native: CircuitValues | None


def _version(codes: Tensor) -> int | None:
    """The counter of in-place changes; None for a tensor made in inference mode."""
    return None if codes.is_inference() else codes._version


def by_token(values: Tensor, hidden_states: Tensor) -> Tensor:
    """``[BT, H, S]`` reshaped to ``[B, H, T, S]``, the shape in which values are mixed."""
    tokens: Tensor = values.unflatten(0, hidden_states.shape[:2])
    return tokens.transpose(1, 2)


def apply_shared(
    unitaries: Tensor, real: Tensor, imag: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Apply unitaries ``[H, D, D]`` to columns ``[H or 1, D, N]``; complex numbers are pairs."""
    a = unitaries.real.to(real.dtype)
    if not unitaries.is_complex():
        return a @ real, None if imag is None else a @ imag
    b = unitaries.imag.to(real.dtype)
    if imag is None:
        return a @ real, b @ real
    return a @ real - b @ imag, a @ imag + b @ real

"""Our own simulators as backends: exact, and with finitely many shots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor

from ketformer.quantum.backends.base import Backend, BackendOptions
from ketformer.quantum.circuit import Circuit
from ketformer.quantum.noise import noisy_expectations, noisy_probabilities, run_noisy
from ketformer.quantum.pauli import PauliStrings
from ketformer.quantum.pauli_plan import PauliPlan
from ketformer.quantum.simulate import run

# Numbers in memory at once; larger batches are split.
_CHUNK = 1 << 22


class TorchBackend(Backend):
    """Exact simulation in torch: statevectors, or Pauli vectors under noise."""

    name = "torch"
    tolerance = 1e-10

    def __init__(
        self,
        *,
        device: str | None = None,
        **common: Unpack[BackendOptions],
    ) -> None:
        super().__init__(**common)
        self.device = device

    def _states(self, circuit: Circuit, rows: Tensor) -> Tensor:
        return self._chunked(lambda part: run(circuit, part).to(torch.complex128), circuit, rows)

    def _distributions(self, circuit: Circuit, rows: Tensor) -> Tensor:
        if self.noise.on_gates:
            return self._chunked(
                lambda part: noisy_probabilities(run_noisy(circuit, part, self.noise)),
                circuit,
                rows,
            )
        return self._chunked(lambda part: run(circuit, part).abs().square(), circuit, rows)

    def _expectations(self, circuit: Circuit, rows: Tensor, strings: PauliStrings) -> Tensor:
        if self.noise.on_gates:
            return self._chunked(
                lambda part: noisy_expectations(run_noisy(circuit, part, self.noise), strings),
                circuit,
                rows,
            )
        plan = PauliPlan(strings, rows.device if self.device is None else torch.device(self.device))

        def expectations(part: Tensor) -> Tensor:
            state = run(circuit, part).mT
            return (plan(state.real, state.imag) if state.is_complex() else plan(state)).mT

        return self._chunked(expectations, circuit, rows)

    def _outcomes(self, circuit: Circuit, rows: Tensor, shots: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        probabilities = self._distributions(circuit, rows)
        return torch.multinomial(probabilities, shots, replacement=True, generator=generator)

    def _chunked(self, what: Callable[[Tensor], Tensor], circuit: Circuit, rows: Tensor) -> Tensor:
        size = max(1, _CHUNK >> (circuit.n_qubits * (2 if self.noise.on_gates else 1)))
        parts = rows.split(size) if len(rows) else (rows,)
        with torch.no_grad():
            return torch.cat([what(part.to(self.device or part.device)).cpu() for part in parts])


class ShotsBackend(TorchBackend):
    """Finitely many shots drawn from the exact state; 1,000 by default."""

    name = "shots"

    def __init__(self, *, device: str | None = None, **common: Unpack[BackendOptions]) -> None:
        if common.get("shots") is None:
            common["shots"] = 1000
        super().__init__(device=device, **common)

"""What shots, noise and gradient rules do to a trained model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ketformer.attention import Mixer
from ketformer.attention.measured import measured_by
from ketformer.evaluation.backend import Sequences, compare_with_exact, evaluation_sequences
from ketformer.evaluation.shot_search import check_repeats, interval
from ketformer.models import KetformerForCausalLM
from ketformer.quantum import Expect, Experiment, Noise
from ketformer.quantum.backends import open_backend
from ketformer.quantum.backends.registry import backend_class, installed_backends
from ketformer.quantum.gradients import GRADIENTS, outcomes_of
from ketformer.runs import Run
from ketformer.tasks.losses import total_loss
from ketformer.utils.progress import Bars

SHOTS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
#: Error probabilities of a CNOT; one-qubit gates fail ten times less often.
ERRORS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)

#: Evaluations for each number of shots.
REPEATS = 5


def noise_study(
    run: Run,
    *,
    limit: int = 16,
    shots: Sequence[int] = SHOTS,
    errors: Sequence[float] = ERRORS,
    repeats: int = REPEATS,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure how attention weights and the loss degrade with few shots and with noisy gates.

    Args:
        run: an opened run with a quantum mechanism.
        limit: number of sequences from the test part.
        shots: numbers of shots to try, without noise.
        errors: CNOT error probabilities to try, with exact expectations; one-qubit gates get a
            tenth.
        repeats: evaluations for each number of shots; without shots all would be alike.
        seed: seed of the shots.
        progress: show bars on standard error.

    Returns:
        ``shots`` and ``noise``: rows with the measurements of
        :func:`~ketformer.evaluation.evaluate_on_backend`, each with its ``shots`` or
        ``two_qubit`` error. Those with shots are means over the repeats, next to the
        interval in which one evaluation lies with 95 %: ``loss_low`` and ``loss_high``, and
        likewise of ``mean_weight_difference``.

    Raises:
        KetformerError: the attention has no circuits, or fewer than 3 repeats.
    """
    check_repeats(repeats)
    rows, source = evaluation_sequences(run, limit=limit, progress=progress)
    out: dict[str, Any] = {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        **source,
        "sequences": len(rows),
        "shots": [],
        "noise": [],
    }
    out["repeats"] = repeats
    total = repeats * len(shots) + len(errors)
    with Bars(progress, "evaluation") as bars:
        step = bars("shots and noise")
        for place, number in enumerate(shots):
            measured = []
            for repeat in range(repeats):
                backend = open_backend("shots", shots=number, seed=seed + repeat)
                measured.append(compare_with_exact(run.model, rows, backend))
                step(repeats * place + repeat + 1, total)
            out["shots"].append({"shots": number, **_over_repeats(measured)})
        for error in errors:
            backend = open_backend("torch", noise=Noise(error / 10, error))
            found = compare_with_exact(run.model, rows, backend)
            out["noise"].append({"two_qubit": error, "one_qubit": error / 10, **found})
            step(repeats * len(shots) + len(out["noise"]), total)
    return out


def _over_repeats(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The means of all measurements, and intervals of those that are drawn."""
    first, number = measured[0], len(measured)
    out = {
        key: math.fsum(m[key] for m in measured) / number if isinstance(value, float) else value
        for key, value in first.items()
    }
    for key in ("loss", "mean_weight_difference"):
        _, out[f"{key}_low"], out[f"{key}_high"] = interval([m[key] for m in measured])
    return out


def gradient_study(
    run: Run,
    *,
    limit: int = 4,
    shots: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare gradient rules with the exact gradient of a trained model's loss.

    The gradient is taken with respect to the parameters of :func:`circuit_parameters`. The
    exact one is autograd through the closed form.

    Args:
        run: an opened run with a quantum mechanism.
        limit: number of sequences from the test part.
        shots: number of shots for the rules tried with shots.
        seed: seed of the shots and of SPSA's directions.
        progress: show a bar on standard error.

    Returns:
        ``rows``: each with ``gradient``, ``backend``, what
        :meth:`~ketformer.quantum.backends.Backend.provenance` says of it, ``cosine`` with the
        exact gradient, ``norm_ratio`` and the number of ``circuits``.
    """
    rows, source = evaluation_sequences(run, limit=limit, progress=progress)
    names = circuit_parameters(run.model, rows)
    exact = _gradient(run.model, rows, names)
    tried: list[tuple[str, str, int | None]] = [
        ("parameter_shift", "torch", None),
        ("parameter_shift", "shots", shots),
        ("spsa", "torch", None),
        ("spsa", "shots", shots),
    ]
    for name in installed_backends():
        if hasattr(backend_class(name), "adjoint"):
            tried.insert(2, ("adjoint", name, None))
    out = []
    with Bars(progress, "rule") as bars:
        step = bars("gradients")
        for done, (rule, name, number) in enumerate(tried):
            backend = open_backend(name, shots=number, seed=seed)
            # SPSA divides shot noise by its step, so it needs a larger step with shots.
            epsilon = 0.01 if number is None else 0.3
            assert rule in GRADIENTS
            expect = outcomes_of(backend, rule, epsilon=epsilon, seed=seed)  # type: ignore[arg-type]
            found = _gradient(run.model, rows, names, expect)
            out.append(
                {
                    "gradient": rule,
                    "backend": name,
                    **backend.provenance(),
                    "cosine": float(F.cosine_similarity(found, exact, dim=0)),
                    "norm_ratio": float(found.norm() / exact.norm()),
                    "circuits": backend.circuits_run,
                }
            )
            step(done + 1, len(tried))
    return {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        **source,
        "sequences": len(rows),
        "parameters": sum(dict(run.model.named_parameters())[name].numel() for name in names),
        "rows": out,
    }


def circuit_parameters(model: KetformerForCausalLM, rows: Sequences) -> list[str]:
    """Names of the attention parameters that any circuit's angles depend on.

    Attention parameters of earlier blocks reach a later circuit through the hidden state and
    count too; parameters of other modules are left out.
    """
    angles: list[Tensor] = []

    def listen(experiment: Experiment) -> Tensor:
        angles.append(experiment.angles)
        return outcomes_of(open_backend("torch"))(experiment)

    with torch.enable_grad(), measured_by(model, listen):
        model(**rows.row(0).inputs, use_cache=False)
    own = {
        f"{prefix}.{name}": parameter
        for prefix, module in model.named_modules()
        if isinstance(module, Mixer)
        for name, parameter in module.named_parameters()
    }
    total = torch.stack([a.double().square().sum() for a in angles]).sum()
    found = torch.autograd.grad(total, list(own.values()), allow_unused=True)
    return [name for name, grad in zip(own, found, strict=True) if grad is not None]


def _gradient(
    model: KetformerForCausalLM, rows: Sequences, names: list[str], expect: Expect | None = None
) -> Tensor:
    """The gradient of the mean loss over all targets, as one vector."""
    own = dict(model.named_parameters())
    wanted = [own[name] for name in names]
    total = [torch.zeros_like(p, dtype=torch.float64) for p in wanted]
    targets = int((rows.targets != -100).sum())
    for index in range(len(rows)):
        row = rows.row(index)
        with torch.enable_grad():
            if expect is None:
                logits = model(**row.inputs, use_cache=False).logits
            else:
                with measured_by(model, expect):
                    logits = model(**row.inputs, use_cache=False).logits
            loss = total_loss(logits, row.targets) / targets
            grads = torch.autograd.grad(loss, wanted, allow_unused=True)
        for sum_, grad in zip(total, grads, strict=True):
            if grad is not None:
                sum_ += grad
    return torch.cat([t.flatten() for t in total])

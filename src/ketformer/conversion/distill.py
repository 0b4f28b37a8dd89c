"""Warm starts: new attentions fitted to the outputs of the old ones, then to the logits.

The first stage is the attention transfer of LoLCATs (arXiv 2410.10254): each new attention gets the
hidden states that the old one gets, and learns its output by the mean squared error, here relative
to the variance of the output. Output layers that were drawn start from a ridge regression. The
second stage there trains adapters on a language model's loss; here all new attentions learn the
old model's logits, by the Kullback-Leibler divergence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.conversion.attention import ConvertedAttention
from ketformer.conversion.layouts import Layout
from ketformer.conversion.models import ConvertedModel
from ketformer.errors import KetformerError, NotFiniteError
from ketformer.utils.progress import Bars

# Rows on which errors are measured, and on which output layers are solved for.
_MEASURED = 64
_SOLVED = 256
# Relative to the mean square of an input of the output layer.
_RIDGE = 1e-2


@dataclass(frozen=True)
class Distillation:
    """How new attentions are fitted.

    Attributes:
        steps: updates of each attention on the old one's outputs.
        logit_steps: updates of all of them together on the old model's logits, afterwards.
        learning_rate: of the first stage, for AdamW with a cosine schedule.
        logit_learning_rate: of the second.
        batch_size: rows in a step.
        context: tokens in a row, if the calibration text is not already in rows.
        held_out: share of the rows that only measures the errors.
        seed: of the order of the rows.
        progress: show bars on standard error.

    Raises:
        KetformerError: a number that makes no sense.
    """

    steps: int = 300
    logit_steps: int = 0
    learning_rate: float = 1e-2
    logit_learning_rate: float = 3e-4
    batch_size: int = 8
    context: int = 128
    held_out: float = 0.1
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, least in (("steps", 0), ("logit_steps", 0), ("batch_size", 1), ("context", 2)):
            if getattr(self, name) < least:
                raise KetformerError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("learning_rate", "logit_learning_rate"):
            if not 0 < getattr(self, name) < 1:
                raise KetformerError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise KetformerError(f"held_out must lie in (0, 1), got {self.held_out}")


def calibration_rows(
    calibration: str | Tensor | Sequence[int], tokenizer: Any, config: Any, context: int
) -> Tensor:
    """Token ids ``[rows, T]`` of a calibration text.

    Args:
        calibration: a text; its ids; or ids in rows ``[rows, T]``.
        tokenizer: the model's, for a text.
        config: the model's configuration.
        context: tokens in a row, at most the model's context.

    Raises:
        KetformerError: no tokenizer for a text, ids that the model does not have, or too few.
    """
    if isinstance(calibration, str):
        if tokenizer is None:
            raise KetformerError("calibration is a text: pass its tokenizer too, or pass token ids")
        calibration = tokenizer(calibration, add_special_tokens=False, verbose=False)["input_ids"]
    ids = torch.as_tensor(calibration)
    if (ids.numel() and ids.is_floating_point()) or ids.dim() not in (1, 2):
        raise KetformerError("calibration must be a text, or token ids: a list, or rows [rows, T]")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < config.vocab_size:
        raise KetformerError(
            f"calibration has token {int(ids.max())}; the model has 0 to {config.vocab_size - 1}"
        )
    if ids.dim() == 1:
        context = min(context, config.max_position_embeddings)
        ids = ids[: len(ids) // context * context].view(-1, context)
    elif ids.shape[1] > config.max_position_embeddings:
        raise KetformerError(
            f"calibration has rows of {ids.shape[1]} tokens, longer than the model's context of "
            f"{config.max_position_embeddings}"
        )
    if len(ids) < 2:
        raise KetformerError(
            f"calibration needs two rows of {ids.shape[1]} tokens, one of them held out, and has "
            f"{len(ids)}; give a longer text or a smaller context"
        )
    return ids.long()


def distill(
    teacher: Any,
    student: ConvertedModel,
    layout: Layout,
    layers: Sequence[int],
    rows: Tensor,
    how: Distillation,
) -> dict[str, Any]:
    """Fit the new attentions of these layers.

    Args:
        teacher: the model before.
        student: the converted model.
        layout: that of their architecture.
        layers: numbers of the layers to fit.
        rows: token ids ``[rows, T]``.
        how: how to fit.

    Returns:
        ``layers``, for each a row with its error on training rows and on held-out ones, at the
        start and after the first stage: the share of the old outputs' variance that is missed.
        ``kl``: the divergence of the student's next-token distribution from the teacher's, nats
        per token of the held-out rows, at the ``start`` and after each stage. ``rows``,
        ``held_out_rows`` and ``tokens``: what they were measured and fitted on.

    Raises:
        NotFiniteError: a loss became infinite or NaN.
    """
    held_out = max(1, round(how.held_out * len(rows)))
    generator = torch.Generator().manual_seed(how.seed)
    device = teacher.get_input_embeddings().weight.device
    rows = rows[torch.randperm(len(rows), generator=generator)].to(device)
    kept, train = rows[:held_out], rows[held_out:]
    fits = [
        _Fit(teacher.get_submodule(f"{layout.blocks}.{number}.{layout.attention}"), own, number)
        for number, own in student.converted().items()
        if number in layers
    ]
    with Bars(how.progress, "step", delay=1.0) as bars, _still(teacher, student):
        kl = {"start": _divergence(teacher, student, kept, how)}
        before = after = _errors(teacher, fits, train, how), _errors(teacher, fits, kept, how)
        if how.steps:
            drawn = [fit for fit in fits if not fit.new.has_old_output]
            _solve_outputs(teacher, drawn, train[:_SOLVED], how)
            _fit_layers(teacher, fits, train, how, generator, bars("attention"))
            kl["attention"] = _divergence(teacher, student, kept, how)
        after = _errors(teacher, fits, train, how), _errors(teacher, fits, kept, how)
        if how.logit_steps:
            _fit_logits(teacher, student, fits, train, how, generator, bars("logits"))
            kl["logits"] = _divergence(teacher, student, kept, how)
    found = [
        {
            "layer": fit.number,
            "attention": type(fit.new.mechanism).__name__,
            "parameters": sum(p.numel() for p in fit.new.parameters()),
            "error_start": before[0][i],
            "error_end": after[0][i],
            "held_out_start": before[1][i],
            "held_out_end": after[1][i],
        }
        for i, fit in enumerate(fits)
    ]
    counts = {"rows": len(train), "held_out_rows": len(kept), "tokens": train.numel()}
    return {"layers": found, "kl": kl, **counts}


class _Fit:
    """An old attention and the new one, which is called as the old one was last."""

    def __init__(self, old: nn.Module, new: ConvertedAttention, number: int) -> None:
        self.old, self.new, self.number = old, new, number
        self.last: tuple[Any, Any, Tensor] | None = None

    def remember(self, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.last = args, kwargs, output[0]

    def pair(self) -> tuple[Tensor, Tensor]:
        """The new output and the old, ``[B, T, hidden_size]`` in the type of the new weights."""
        assert self.last is not None  # the old model has been called
        args, kwargs, target = self.last
        wide = next(self.new.parameters()).dtype
        mixed = self.new(
            *(_as(value, wide) for value in args),
            **{name: _as(value, wide) for name, value in kwargs.items()},
        )[0]
        return mixed, target.to(wide)


def _as(value: Any, wide: torch.dtype) -> Any:
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(wide) if is_float else value


@contextmanager
def _still(*models: nn.Module) -> Iterator[None]:
    """Without dropout."""
    training = [{m: m.training for m in model.modules()} for model in models]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for modules in training:
            for module, was in modules.items():
                module.training = was


@contextmanager
def _recorded(fits: Sequence[_Fit]) -> Iterator[None]:
    hooks = [fit.old.register_forward_hook(fit.remember, with_kwargs=True) for fit in fits]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for fit in fits:
            fit.last = None


@contextmanager
def _trained(fits: Sequence[_Fit]) -> Iterator[list[nn.Parameter]]:
    """The parameters to train, in single precision at least; half would lose small updates."""
    types = [next(fit.new.parameters()).dtype for fit in fits]
    try:
        for fit, dtype in zip(fits, types, strict=True):
            fit.new.to(torch.promote_types(dtype, torch.float32))
        yield [p for fit in fits for p in fit.new.parameters() if p.requires_grad]
    finally:
        for fit, dtype in zip(fits, types, strict=True):
            fit.new.to(dtype)


def _batches(rows: Tensor, how: Distillation) -> Iterator[Tensor]:
    """The rows on which errors are measured."""
    yield from rows[:_MEASURED].split(how.batch_size)


def _drawn(rows: Tensor, count: int, how: Distillation, generator: torch.Generator) -> Any:
    for _ in range(count):
        size = min(how.batch_size, len(rows))
        yield rows[torch.randperm(len(rows), generator=generator)[:size].to(rows.device)]


def _missed(mixed: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The squared error, and the variance of the target over rows and positions, in sums."""
    mean = target.mean(dim=(0, 1), keepdim=True)
    return (mixed - target).square().sum(), (target - mean).square().sum()


@torch.no_grad()
def _errors(teacher: Any, fits: Sequence[_Fit], rows: Tensor, how: Distillation) -> list[float]:
    sums = torch.zeros(len(fits), 2, dtype=torch.float64)
    with _recorded(fits):
        for batch in _batches(rows, how):
            teacher(batch, use_cache=False)
            for i, fit in enumerate(fits):
                sums[i] += torch.stack(_missed(*fit.pair())).double().cpu()
    return [float(missed / max(whole, 1e-30)) for missed, whole in sums.tolist()]


@torch.no_grad()
def _solve_outputs(teacher: Any, fits: Sequence[_Fit], rows: Tensor, how: Distillation) -> None:
    """Output layers by ridge regression on the old attention's outputs, around what they are.

    For freshly drawn ones, which can be wrong by orders of magnitude: gradients would need many
    steps to mend that.
    """
    for fit in fits:
        given: list[Tensor] = []
        output = getattr(fit.new.mechanism, "out_proj", None)
        if output is None:  # a circuit maps to the output
            continue
        hook = output.register_forward_pre_hook(lambda _, args, into=given: into.append(args[0]))
        square = torch.zeros(output.in_features + 1, output.in_features + 1, dtype=torch.float64)
        product = torch.zeros(output.in_features + 1, output.out_features, dtype=torch.float64)
        with _recorded([fit]):
            for batch in rows.split(how.batch_size):
                teacher(batch, use_cache=False)
                mixed, target = fit.pair()
                inputs = F.pad(given.pop(), (0, 1), value=1.0).flatten(0, 1).double().cpu()
                square += inputs.mT @ inputs
                product += inputs.mT @ (target - mixed).flatten(0, 1).double().cpu()
        hook.remove()
        square.diagonal().add_(_RIDGE * square.diagonal()[:-1].mean())
        change = torch.linalg.solve(square, product)
        output.weight.add_(change[:-1].mT.to(output.weight))
        output.bias.add_(change[-1].to(output.bias))


def _fit_layers(
    teacher: Any,
    fits: Sequence[_Fit],
    rows: Tensor,
    how: Distillation,
    generator: torch.Generator,
    step: Callable[[int, int], None],
) -> None:
    """All layers in one pass: no loss depends on another's parameters."""

    def loss_of(batch: Tensor) -> Tensor:
        with torch.no_grad():
            teacher(batch, use_cache=False)
        parts = (_missed(*fit.pair()) for fit in fits)
        return torch.stack([missed / whole.clamp_min(1e-30) for missed, whole in parts]).sum()

    with _recorded(fits), _trained(fits) as parameters:
        batches = _drawn(rows, how.steps, how, generator)
        _optimise(parameters, how.learning_rate, how.steps, batches, loss_of, step)


def _fit_logits(
    teacher: Any,
    student: ConvertedModel,
    fits: Sequence[_Fit],
    rows: Tensor,
    how: Distillation,
    generator: torch.Generator,
    step: Callable[[int, int], None],
) -> None:
    """The new attentions together; the other weights of the student stay as they are."""
    trained: Mapping[nn.Parameter, bool] = {p: p.requires_grad for p in student.parameters()}
    with _trained(fits) as parameters:
        chosen = set(map(id, parameters))
        try:
            for parameter in trained:
                parameter.requires_grad_(id(parameter) in chosen)
            batches = _drawn(rows, how.logit_steps, how, generator)
            _optimise(
                parameters,
                how.logit_learning_rate,
                how.logit_steps,
                batches,
                lambda batch: _kl(teacher, student, batch),
                step,
            )
        finally:
            for parameter, was in trained.items():
                parameter.requires_grad_(was)


def _optimise(
    parameters: Sequence[nn.Parameter],
    rate: float,
    steps: int,
    batches: Iterator[Tensor],
    loss_of: Callable[[Tensor], Tensor],
    step: Callable[[int, int], None],
) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for done, batch in enumerate(batches, 1):
            loss = loss_of(batch)
            if not loss.isfinite():
                raise NotFiniteError(
                    f"distillation: the loss of step {done} is {loss.item()}; lower the learning "
                    f"rate (it is {rate:g})"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step(done, steps)
    optimizer.zero_grad()


def _kl(teacher: Any, student: Any, batch: Tensor) -> Tensor:
    """Mean over the tokens of KL(teacher ‖ student), in nats."""
    with torch.no_grad():
        wanted = teacher(batch, use_cache=False).logits.float().log_softmax(-1)
    half = teacher.dtype in (torch.bfloat16, torch.float16)  # with the attentions in float32
    with torch.autocast(batch.device.type, teacher.dtype) if half else nullcontext():
        logits = student(batch, use_cache=False).logits
    found = logits.float().log_softmax(-1)
    return F.kl_div(found, wanted, log_target=True, reduction="none").sum(-1).mean()


@torch.no_grad()
def _divergence(teacher: Any, student: Any, rows: Tensor, how: Distillation) -> float:
    values = [float(_kl(teacher, student, batch)) * len(batch) for batch in _batches(rows, how)]
    return sum(values) / len(rows[:_MEASURED])

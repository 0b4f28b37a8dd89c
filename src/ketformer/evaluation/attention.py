"""The ``attention`` verb: pictures of what a model attends to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ketformer.drawing.attention import (
    AttentionMap,
    attention_figure,
    share_of_the_future,
    token_matrix,
)
from ketformer.drawing.figure import inline_svg
from ketformer.drawing.molecules import atom_weights, coloured_atoms
from ketformer.errors import KetformerError, UnreadableError
from ketformer.generation.sampling import requested_conditions
from ketformer.runs import Run
from ketformer.tasks.molecules.tokenizer import encode_smiles
from ketformer.tasks.text import encode


@torch.inference_mode()
def attention_weights(
    run: Run, text: str, *, conditions: Mapping[str, float] | None = None
) -> tuple[list[str], NDArray[np.floating]]:
    """All attention weights of a model over one text or molecule.

    Args:
        run: an opened run.
        text: the input, at most as long as the model's context; for a molecule model a SMILES,
            to which ``[CLS]`` is prepended.
        conditions: requested values in their own units, for a molecule model.

    Returns:
        The ``T`` tokens, and weights ``[layers, heads, T, T]``: row i says how much position
        i attends to each position j.

    Raises:
        UnreadableError: the text is empty or too long, or has tokens the model does not know.
    """
    ids = _token_ids(run, text).to(run.model.device)
    wanted = requested_conditions(run, conditions or {})
    out = run.model(
        ids[None],
        conditions=None if wanted is None else wanted[None],
        output_attentions=True,
        use_cache=False,
    )
    weights = torch.stack(out.attentions)[:, 0].float().cpu().numpy()
    return _labels(run, ids.tolist()), weights


def attention_svg(
    tokens: Sequence[str], weights: NDArray[np.floating], *, layers: int = 3, heads: int = 4
) -> str:
    """The weights of the first layers and heads as an ``<svg>`` element for a page.

    Args:
        tokens: T labels.
        weights: ``[L, H, T, T]``, from :func:`attention_weights`.
        layers: the most layers to draw.
        heads: the most heads to draw.
    """
    shown = weights[:layers, :heads]
    label = (
        f"Attention weights over {len(tokens)} tokens, {shown.shape[0]} by {shown.shape[1]} layers "
        f"and heads; {share_of_the_future(shown):.0%} of the weight lies on later tokens"
    )
    return inline_svg(lambda: attention_figure(tokens, weights, layers=layers, heads=heads), label)


def attention_map(
    run: Run, text: str, *, layer: int = -1, conditions: Mapping[str, float] | None = None
) -> AttentionMap:
    """The attention weights of one layer.

    Args:
        run: an opened run.
        text: as in :func:`attention_weights`; molecule models are trained on canonical SMILES.
        layer: index of the block; negative values count from the last.
        conditions: requested values in their own units.

    Raises:
        KetformerError: there is no such layer; or as in :func:`attention_weights`.
    """
    layers = run.model.config.num_hidden_layers
    if not -layers <= layer < layers:
        raise KetformerError(f"no layer {layer}: {run.path} has {layers}")
    tokens, weights = attention_weights(run, text, conditions=conditions)
    return AttentionMap(text, tokens, weights[layer])


def draw_attention(
    attention: AttentionMap, folder: Path, head: int | None = None, *, atoms: bool
) -> list[Path]:
    """Draw ``tokens`` (the matrix) and, for a molecule, ``atoms`` (coloured), as PNG and SVG.

    Raises:
        KetformerError: there is no such head, or the SMILES is invalid; nothing is written.
    """
    attention.of_head(head)
    if atoms:
        atom_weights(attention, head)
    pictures = {"tokens": token_matrix, **({"atoms": coloured_atoms} if atoms else {})}
    return [
        draw(folder / f"{name}.{kind}", attention, head)
        for name, draw in pictures.items()
        for kind in ("png", "svg")
    ]


def _token_ids(run: Run, text: str) -> Tensor:
    """The model's input ids, ``[T]``."""
    if run.task == "molecules":
        ids = encode_smiles(run.tokenizer, [text])[0, :-1]
    elif text:
        ids = encode(run.tokenizer, text)
    else:
        raise UnreadableError("an empty text has no tokens")
    context = run.model.config.max_position_embeddings
    if len(ids) > context:
        raise UnreadableError(f"{len(ids)} tokens do not fit into the model's context of {context}")
    return ids


def _labels(run: Run, ids: list[int]) -> list[str]:
    """The text of each token, or its vocabulary name if it is only part of a character."""
    names = run.tokenizer.convert_ids_to_tokens(ids)
    if run.task == "molecules":
        return list(names)
    texts = [run.tokenizer.decode([i]) for i in ids]
    return [name if "�" in text else text for name, text in zip(names, texts, strict=True)]

"""One verb: attention. What a model of molecules looks at, as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ketformer.errors import KetformerError
from ketformer.runs import Run
from ketformer.sampling import requested_conditions
from ketformer.tasks.molecules.pictures import (
    AttentionMap,
    atom_weights,
    coloured_atoms,
    token_matrix,
)
from ketformer.tasks.molecules.tokenizer import encode_smiles


@torch.inference_mode()
def attention_map(
    run: Run, smiles: str, *, layer: int = -1, conditions: Mapping[str, float] | None = None
) -> AttentionMap:
    """Attention weights of one layer over a molecule, ``[CLS]`` in front.

    Args:
        run: an opened run of the molecule task.
        smiles: as the model is to read it; models are trained on canonical SMILES.
        layer: which block; negative ones count from the last.
        conditions: requested values in their own units.

    Raises:
        KetformerError: no such layer, or tokens the model does not have.
    """
    if run.settings.get("task") != "molecules":
        raise KetformerError(f"{run.path} is a model of text, not of molecules")
    layers = run.model.config.num_hidden_layers
    if not -layers <= layer < layers:
        raise KetformerError(f"no layer {layer}: {run.path} has {layers}")
    ids = encode_smiles(run.tokenizer, [smiles])[:, :-1].to(run.model.device)
    wanted = requested_conditions(run, conditions or {})
    out = run.model(
        ids,
        conditions=None if wanted is None else wanted[None],
        output_attentions=True,
        use_cache=False,
    )
    tokens = run.tokenizer.convert_ids_to_tokens(ids[0].tolist())
    return AttentionMap(smiles, tokens, out.attentions[layer][0].float().cpu().numpy())


def draw_attention(attention: AttentionMap, folder: Path, head: int | None = None) -> list[Path]:
    """``tokens`` (the matrix) and ``atoms`` (the molecule), each as PNG and SVG.

    Raises:
        KetformerError: the SMILES is not valid; nothing is written then.
    """
    atom_weights(attention, head)
    return [
        draw(folder / f"{name}.{kind}", attention, head)
        for name, draw in (("tokens", token_matrix), ("atoms", coloured_atoms))
        for kind in ("png", "svg")
    ]

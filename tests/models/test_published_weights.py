"""Weights released with arXiv 2502.19214: their forward pass, their losses, broken files."""

import math
import os
import pickle
from functools import reduce

import pytest
import torch
from torch.nn import functional as F

from ketformer.errors import KetformerError
from ketformer.models.published import PUBLISHED_CONDITIONS, from_published
from ketformer.runs import open_run
from ketformer.runs.import_checkpoint import import_checkpoint

from .helpers import assert_equal_to

VOCABULARY, CONTEXT, HIDDEN, QUBITS = 33, 24, 64, 6
KINDS = [
    (attention, conditional)
    for attention in ("overlap", "classical", "classical_eq")
    for conditional in (False, True)
]
PARAMETERS = {"overlap": (47_704, 48_307), "classical_eq": (47_704, 48_307)}
every_kind = pytest.mark.parametrize(("attention", "conditional"), KINDS)

# --- Checkpoints made here, in the released names and shapes -------------------------------------


def released_shapes(attention, conditional, layers=1):
    d, width = HIDDEN, 2 if conditional else 3
    shapes = {"position_embed": (1, CONTEXT, d), "token_embed.weight": (VOCABULARY, d)}
    for norm in ("block.layer_norm1", "block.layer_norm2", "layer_norm"):
        shapes |= {f"{norm}.weight": (d,), f"{norm}.bias": (d,)}
    shapes["block.attention.value.weight"] = (d, d)
    linear = {
        "block.attention.projection": (d, d),
        "block.mlp.0": (256, d),
        "block.mlp.2": (d, 256),
        "output": (VOCABULARY, d),
    }
    if conditional:
        linear["physchem_embed"] = (d, 9)
    if attention == "overlap":
        shapes["token_embed_quantum_parameters.weight"] = (VOCABULARY, layers * width)
        shapes["position_embed_quantum_parameters"] = (1, CONTEXT, layers * width)
        shapes["block.attention.query_angles"] = (1, 1, layers * QUBITS)
        shapes["block.attention.key_angles"] = (1, 1, layers * QUBITS)
        if conditional:
            linear["physchem_embed_quantum_parameters"] = (layers * width, 9)
    elif attention == "classical_eq":
        shapes["reduced_token_embed.weight"] = (VOCABULARY, width)
        shapes["reduced_position_embed"] = (1, CONTEXT, width)
        if conditional:
            linear["reduced_physchem_embed"] = (width, 9)
    if attention != "overlap":
        query = (d, d) if attention == "classical" else (3 if conditional else 2, width)
        shapes |= {f"block.attention.{part}.weight": query for part in ("query", "key")}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def released(attention, conditional, layers=1):
    """A whole checkpoint with random weights."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in released_shapes(attention, conditional, layers).items():
        angles = "quantum" in name or "angles" in name or "reduced" in name
        scale = 0.2 if "physchem" in name or not angles else 1.5
        weights[name] = scale * torch.randn(shape, generator=generator)
        if "layer_norm" in name and "weight" in name:
            weights[name] += 1
    return {
        "model_state_dict": weights,
        "training_configuration": {"num_qubits": QUBITS, "ansatz_layers": layers},
        "epoch": 3,
        "training_losses": [3.0, 2.0, 1.0],
        "val_losses": [3.5, 2.5, 1.5],
        "optimizer_state_dict": {"state": {}},
    }


def saved(content, path):
    torch.save(content, path)
    return path


# --- The released forward pass, reimplemented ----------------------------------------------------


def rings(angles, n):
    """Matrices ``[..., 2^n, 2^n]`` of layers of (RY on each qubit, CNOT ring)."""
    ring = torch.eye(2**n, dtype=angles.dtype)
    for control in range(n if n > 1 else 0):
        target, rows = (control + 1) % n, torch.arange(2**n)
        flips = (rows >> (n - 1 - control) & 1) << (n - 1 - target)
        ring = torch.eye(2**n, dtype=angles.dtype)[rows ^ flips] @ ring
    whole = torch.eye(2**n, dtype=angles.dtype)
    for layer in angles.reshape(-1, n):
        cos, sin = (layer / 2).cos(), (layer / 2).sin()
        ry = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        whole = ring @ reduce(torch.kron, ry) @ whole
    return whole


def overlap_scores(w, ids, phys):
    n = QUBITS // (2 if phys is None else 3)
    tables = [w["token_embed_quantum_parameters.weight"], w["position_embed_quantum_parameters"][0]]
    token, place = (torch.stack([rings(row, n)[:, 0] for row in table]) for table in tables)
    states = torch.einsum("bti,tj->btij", token[ids], place[: ids.shape[1]]).flatten(2)
    if phys is not None:
        raw = linear(w, "physchem_embed_quantum_parameters", phys)
        angles = math.pi * (raw - raw.min()) / (raw.max() - raw.min())
        third = torch.stack([rings(row, n)[:, 0] for row in angles])
        states = torch.einsum("bti,bj->btij", states, third).flatten(2)
    query, key = (
        states @ rings(w[f"block.attention.{part}_angles"].flatten(), QUBITS).T
        for part in ("query", "key")
    )
    return math.sqrt(HIDDEN) * query @ key.mT


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def released_forward(weights, attention, ids, phys):
    w = {name: tensor.double() for name, tensor in weights.items()}
    length = ids.shape[1]

    def norm(name, x):
        return F.layer_norm(x, (HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"])

    x = w["token_embed.weight"][ids] + w["position_embed"][0, :length]
    if phys is not None:
        x = x + linear(w, "physchem_embed", phys)[:, None]
    normed = norm("block.layer_norm1", x)
    if attention == "overlap":
        scores = overlap_scores(w, ids, phys)
    else:
        source = normed
        if attention == "classical_eq":
            source = w["reduced_token_embed.weight"][ids] + w["reduced_position_embed"][0, :length]
            if phys is not None:
                source = source + linear(w, "reduced_physchem_embed", phys)[:, None]
        query, key = (linear(w, f"block.attention.{part}", source) for part in ("query", "key"))
        scores = query @ key.mT / math.sqrt(HIDDEN)
    future = torch.ones(length, length).triu(1).bool()
    mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ linear(
        w, "block.attention.value", normed
    )
    x = x + linear(w, "block.attention.projection", mixed)
    inner = F.gelu(linear(w, "block.mlp.0", norm("block.layer_norm2", x)))
    x = x + linear(w, "block.mlp.2", inner)
    return linear(w, "output", norm("layer_norm", x))


def some_inputs(conditional, batch=3, length=CONTEXT):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(VOCABULARY, (batch, length), generator=generator)
    scale = torch.tensor([120, 3, 1, 2, 2, 4, 40, 1, 2.0])  # properties in their own units
    phys = scale * torch.randn(batch, 9, generator=generator)
    return ids, phys if conditional else None


@pytest.mark.parametrize(
    ("attention", "conditional", "layers"),
    [(*kind, 1) for kind in KINDS] + [("overlap", False, 2), ("overlap", True, 2)],
)
def test_logits_are_those_of_the_released_forward_pass(tmp_path, attention, conditional, layers):
    content = released(attention, conditional, layers)
    model, recorded = from_published(saved(content, tmp_path / "weights.pt"))
    assert not model.training
    assert recorded == {
        "kind": f"{attention} {'conditions' if conditional else 'sequence'}",
        **{key: value for key, value in content.items() if key in recorded},
    }
    count = sum(tensor.numel() for tensor in content["model_state_dict"].values())
    assert model.num_parameters() == count
    if layers == 1 and attention in PARAMETERS:
        assert count == PARAMETERS[attention][conditional]
    ids, phys = some_inputs(conditional)
    reference_phys = None if phys is None else phys.double()
    expected = released_forward(content["model_state_dict"], attention, ids, reference_phys)
    assert expected.std() > 1  # so that the tolerances are strict
    assert_equal_to(2e-5, model(ids, conditions=phys).logits.double(), expected)
    assert_equal_to(1e-10, model.double()(ids, conditions=reference_phys).logits, expected)


@every_kind
def test_an_imported_run_holds_the_same_model(tmp_path, attention, conditional):
    path = saved(released(attention, conditional), tmp_path / "weights.pt")
    facts = import_checkpoint(path, tmp_path / "run")
    model, _ = from_published(path)
    assert facts["kind"].startswith(attention)
    assert (facts["parameters"], facts["epochs"]) == (model.num_parameters(), 3)
    assert facts["recorded_loss"] == 1.5
    run = open_run(tmp_path / "run")
    names = list(PUBLISHED_CONDITIONS) if conditional else None
    assert run.model.config.condition_names == names
    ids, phys = some_inputs(conditional)
    expected = model(ids, conditions=phys).logits
    assert torch.equal(run.model(ids, conditions=phys).logits, expected)
    with pytest.raises(KetformerError, match="exists; choose another --out"):
        import_checkpoint(path, tmp_path / "run")


def test_another_vocabulary_is_not_that_of_qm9(tmp_path):
    content = released("classical", False)
    for name in ("token_embed.weight", "output.weight", "output.bias"):
        content["model_state_dict"][name] = content["model_state_dict"][name][:20].clone()
    path = saved(content, tmp_path / "weights.pt")
    with pytest.raises(KetformerError, match="20 tokens, but QM9 has 33"):
        import_checkpoint(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- Broken files --------------------------------------------------------------------------------


def refusal(path):
    """The message about a broken file: one line that names it."""
    with pytest.raises(KetformerError) as refused:
        from_published(path)
    message = str(refused.value)
    assert path.name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share, zipped):
    path = tmp_path / "weights.pt"
    content = released("classical_eq", False)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "not a complete checkpoint" in refusal(path) or "refused" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello world\n",
        b"smiles,LogP\nCCO,-0.1\n",
        b"PK\x03\x04",
        bytes(range(256)),
        b"a",
        b"u",
    ],
    ids=["empty", "text", "csv", "half-a-zip", "bytes", "letter-a", "letter-u"],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no file" in refusal(tmp_path / "nothing.pt")
    (tmp_path / "folder.pt").mkdir()
    assert "no file" in refusal(tmp_path / "folder.pt")


class Bomb:
    """Unpickling it creates a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_file_is_not_executed(tmp_path, form):
    path, proof = tmp_path / "weights.pt", tmp_path / "proof"
    content = {**released("classical", False), "epoch": Bomb(proof)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(Bomb(proof), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert "refused, it holds more than tensors and plain values" in refusal(path)
    assert not proof.exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert proof.exists()  # the bomb was live


WEIGHTS = "model_state_dict"


def without(name):
    return lambda content: content[WEIGHTS].pop(name)


def with_tensor(name, *shape, value=0.1):
    return lambda content: content[WEIGHTS].update({name: torch.full(shape, value)})


def configured(**changes):
    return lambda content: content["training_configuration"].update(changes)


CHANGES = {
    **{f"no {name}": (without(name), "not fit") for name in released_shapes("overlap", True)},
    "extra": (with_tensor("block.extra.weight", 3, 3), "unknown tensor block.extra.weight"),
    "narrow output": (with_tensor("output.weight", 33, 63), "not fit"),
    "flat tokens": (with_tensor("token_embed.weight", 33), "not fit"),
    "flat positions": (with_tensor("position_embed", 64), "not fit"),
    "five angles": (with_tensor("block.attention.query_angles", 1, 1, 5), "not fit"),
    "a number": (with_tensor("block.attention.key_angles"), "not fit"),
    "wide table": (with_tensor("token_embed_quantum_parameters.weight", 33, 3), "not fit"),
    "eight properties": (with_tensor("physchem_embed.weight", 64, 8), "not fit"),
    "nan": (with_tensor("output.bias", 33, value=math.nan), "holds NaN or infinity"),
    "inf": (with_tensor("block.mlp.0.weight", 256, 64, value=-math.inf), "holds NaN or infinity"),
    "no weights": (lambda content: content.pop(WEIGHTS), "no model_state_dict"),
    "list of weights": (lambda content: content.update({WEIGHTS: [1.0]}), "no model_state_dict"),
    "empty": (lambda content: content[WEIGHTS].clear(), "not fit"),
    "numbered": (lambda content: content[WEIGHTS].update({7: torch.ones(2)}), "not fit"),
    "4 qubits": (configured(num_qubits=4), "not fit"),
    "0 qubits": (configured(num_qubits=0), "not fit"),
    "no qubits": (configured(num_qubits=None), "not fit"),
    "listed": (lambda content: content.update(training_configuration=["x"]), "not fit"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=list(CHANGES))
def test_weights_that_do_not_fit_together_are_refused(tmp_path, change, said):
    content = released("overlap", True)
    change(content)
    assert said in refusal(saved(content, tmp_path / "weights.pt"))

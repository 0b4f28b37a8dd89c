"""Our rows and models with transformers' own Trainer and collators, as an engineer would try."""

import math

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.tasks.molecules.rows import MoleculeRows
from ketformer.tasks.molecules.tokenizer import encode_smiles, smiles_tokenizer, vocabulary_of
from ketformer.tasks.text import TextWindows, char_tokenizer

SMILES = ["C", "CO", "CCO", "C=O", "CC(C)C", "N", "CN", "OCC=O", "O", "C#N"]
TOKENIZER = smiles_tokenizer(vocabulary_of(SMILES))


def molecules(with_conditions=False):
    conditions = torch.randn(len(SMILES), 2) if with_conditions else None
    return MoleculeRows(encode_smiles(TOKENIZER, SMILES), TOKENIZER.pad_token_id, conditions)


def windows():
    return TextWindows(torch.arange(40) % 7, context=8, stride=3)


def model_for(rows, attention="qisa"):
    conditions = {}
    if getattr(rows, "conditions", None) is not None:
        conditions = {
            "condition_names": ["a", "b"],
            "condition_means": [0, 0],
            "condition_stds": [1, 1],
        }
    torch.manual_seed(0)
    return KetformerForCausalLM(
        KetformerConfig(
            vocab_size=12,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=12,
            attention=attention,
            **conditions,
        )
    )


def trainer_of(tmp_path, rows, **options):
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=64,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    model = options.pop("model", None) or model_for(rows)
    return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, **options)


@pytest.mark.parametrize(
    "rows",
    [molecules, lambda: molecules(with_conditions=True), windows],
    ids=["plain", "conditions", "text"],
)
def test_rows_train_and_evaluate_with_the_default_collator(tmp_path, rows):
    rows = rows()
    trainer = trainer_of(tmp_path, rows)
    model, batch = trainer.model.eval(), rows.batch(list(range(len(rows))))
    with torch.no_grad():
        expected = model(**batch).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    assert math.isfinite(trainer.train().training_loss)
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_trainer_given_the_tokenizer_pads_with_it(tmp_path):
    trainer = trainer_of(tmp_path, molecules(), processing_class=TOKENIZER)
    assert isinstance(trainer.data_collator, DataCollatorWithPadding)
    without = trainer_of(tmp_path, molecules()).evaluate()["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(without, rel=1e-5)


@pytest.mark.parametrize("rows", [molecules(), windows()], ids=["molecules", "text"])
def test_the_default_collator_gives_the_batch_that_our_training_gets(rows):
    loader = DataLoader(rows, batch_size=4, collate_fn=default_data_collator)
    for start, collated in zip(range(0, len(rows), 4), loader, strict=True):
        batch = rows.batch(list(range(start, min(start + 4, len(rows)))))
        assert torch.equal(collated.pop("labels"), batch["shift_labels"])
        assert set(collated) == set(batch)
        assert all(torch.equal(collated[key], batch[key]) for key in batch)


def test_a_collator_for_language_models_gives_a_validation_loss(tmp_path):
    """Trainer computes none if the model's signature has other labels than these."""
    tokenizer = char_tokenizer("abc ")
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    rows = [tokenizer(text) for text in ("abc", "a", "bc ab")]
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    trainer = trainer_of(tmp_path, rows, data_collator=collator, model=model_for(None))
    batch = collator(rows)
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert math.isfinite(trainer.train().training_loss)

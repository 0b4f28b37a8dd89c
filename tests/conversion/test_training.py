"""Converted models under the tools that train models of transformers."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from conversion.helpers import CASES, assert_close, converted, some_ids, without_dropout


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_trainer_lowers_the_loss_and_saves(tmp_path):
    model = converted()
    rows = [{"input_ids": ids, "labels": ids} for ids in some_ids(16)]
    arguments = TrainingArguments(
        tmp_path, max_steps=12, learning_rate=1e-2, report_to="none", save_strategy="no",
        disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < before - 0.1
    trainer.save_model(str(tmp_path / "saved"))
    again = type(model).from_pretrained(tmp_path / "saved")
    assert torch.equal(again(some_ids()).logits, model.eval()(some_ids()).logits)


@pytest.mark.parametrize(
    ("name", "attention", "targets"),
    [("gpt2", "overlap", ["c_fc"]), ("llama", "qisa", ["up_proj", "down_proj"])],
)
def test_adapters_wrap_the_rest(name, attention, targets, tmp_path):
    import peft

    model, ids = converted(name, attention), some_ids(8)
    expected = model(ids).logits
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    config = peft.LoraConfig(target_modules=targets, task_type="CAUSAL_LM", lora_dropout=0.0)
    wrapped = peft.get_peft_model(model, config).eval()
    assert_close(wrapped(ids).logits, expected)  # an adapter starts as nothing
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    first = None
    for _ in range(5):
        loss = wrapped(ids, labels=ids).loss
        loss.backward()
        first = loss.item() if first is None else first
        optimizer.step()
        optimizer.zero_grad()
    assert wrapped(ids, labels=ids).loss < first
    wrapped.save_pretrained(tmp_path)
    base = converted(name, attention)
    base.load_state_dict(kept)
    again = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    assert_close(again(ids).logits, wrapped(ids).logits)
    assert wrapped.generate(input_ids=ids[:, :4], max_new_tokens=3).shape[1] > 4


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_training_lowers_the_loss(name, attention):
    model, ids = without_dropout(converted(name, attention)).train(), some_ids(4)
    model.requires_grad_(False)
    new = [p for own in model.converted().values() for p in own.parameters()]
    optimizer = torch.optim.SGD([p.requires_grad_() for p in new], lr=1e-3)
    first = model(ids, labels=ids).loss
    first.backward()
    optimizer.step()
    assert model(ids, labels=ids).loss < first


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_gradients_with_checkpointing_are_those_without(name):
    found = []
    for checkpointing in (False, True):
        model = without_dropout(converted(name))
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        model(some_ids(), labels=some_ids(), use_cache=False).loss.backward()
        found.append(model.converted()[0].mechanism.value_proj.weight.grad)
    assert_close(found[1], found[0])

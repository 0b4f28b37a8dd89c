"""Options given to ``train --resume``: applied from the next step on, or refused unrecorded."""

import json
import shutil
from dataclasses import fields

import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings as examples, strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from transformers import TrainingArguments, get_scheduler

from commands import cut_off, largest_difference, metrics, write_settings
from ketformer.errors import KetformerError
from ketformer.runs import load_settings
from ketformer.training import train
from ketformer.training.arguments import changed_options, steps_in_all, training_arguments


@pytest.fixture(scope="module")
def halfway(tiny, tmp_path_factory):
    """A run of 20 steps, killed after step 12: the newest checkpoint is at 10."""
    from ketformer.cli import main

    out = tmp_path_factory.mktemp("halfway") / "run"
    with cut_off(12):
        assert main(["train", tiny, "--out", str(out)]) == 130
    return out


@pytest.fixture
def run(halfway, tmp_path):
    """A copy of it."""
    return shutil.copytree(halfway, tmp_path / "run")


def recorded(run):
    """The changes in the manifest and the training options in the settings."""
    manifest = json.loads((run / "manifest.json").read_text())
    return manifest["resumed"], yaml.safe_load((run / "settings.yaml").read_text())["training"]


def content(run):
    """Every file of a run, byte for byte."""
    return {p.relative_to(run): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def groups(run, step):
    """The groups of the optimiser in a checkpoint: weights with and without decay."""
    saved = torch.load(run / f"checkpoints/checkpoint-{step}/optimizer.pt", weights_only=True)
    return saved["param_groups"]


def rates(run):
    """The learning rate of each logged step."""
    return {row["step"]: row["learning_rate"] for row in metrics(run) if "learning_rate" in row}


# --- Applied -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "key", "held"),
    [
        ("learning_rate", 1e-5, "lr", [1e-5, 1e-5]),
        ("weight_decay", 0.25, "weight_decay", [0.25, 0.0]),
        ("adam_beta1", 0.5, "betas", [(0.5, 0.999)] * 2),
        ("adam_beta2", 0.9, "betas", [(0.9, 0.9)] * 2),
        ("adam_epsilon", 1e-3, "eps", [1e-3, 1e-3]),
    ],
)
def test_the_optimiser_takes_the_option_and_keeps_its_momenta(
    ketformer, halfway, run, option, value, key, held
):
    assert ketformer("train", "--out", run, "--resume", f"--{option}", value).code == 0
    assert [group[key] for group in groups(run, 20)] == held
    resumed, training = recorded(run)
    before = load_settings(str(halfway / "settings.yaml")).training.get(option)
    default = {f.name: f.default for f in fields(TrainingArguments)}[option]
    assert resumed == [{"step": 10, "changed": {option: [before or default, value]}}]
    assert training[option] == value
    state = torch.load(run / "checkpoints/checkpoint-20/optimizer.pt", weights_only=True)["state"]
    assert {float(moment["step"]) for moment in state.values()} == {20.0}


def test_the_new_rate_holds_from_the_next_step(ketformer, run):
    often = ("--logging_steps", 1)
    assert ketformer("train", "--out", run, "--resume", "--learning_rate", 1e-5, *often).code == 0
    assert rates(run) == {5: 1e-2, 10: 1e-2, **dict.fromkeys(range(11, 21), 1e-5)}


_SCHEDULES = {
    "linear": {},
    "cosine": {"num_cycles": 0.25},
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"power": 2.0},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": 5},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 6},
}


@examples(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    schedule=st.sampled_from(sorted(_SCHEDULES)),
    rate=st.sampled_from([1e-2, 3e-3, 1e-4]),
    warmup=st.sampled_from([0, 3, 15]),
    steps=st.sampled_from([14, 20, 30]),
)
def test_any_schedule_goes_on_as_if_it_had_always_been(
    halfway, tmp_path_factory, schedule, rate, warmup, steps
):
    run = shutil.copytree(halfway, tmp_path_factory.mktemp("schedule") / "run")
    options = {
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": _SCHEDULES[schedule],
        "learning_rate": rate,
        "warmup_steps": warmup,
        "max_steps": steps,
        "logging_steps": 1,
    }
    changed = load_settings(str(run / "settings.yaml")).override(options)
    train(changed, run, resume=True, progress=False)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    expected = get_scheduler(
        schedule, optimiser, warmup, steps, scheduler_specific_kwargs=_SCHEDULES[schedule]
    )
    wanted = {}
    for step in range(1, steps + 1):
        wanted[step] = expected.get_last_lr()[0]
        optimiser.step()
        expected.step()
    found = rates(run)
    assert [found[s] for s in range(11, steps + 1)] == [wanted[s] for s in range(11, steps + 1)]
    assert set(recorded(run)[0][0]["changed"]) <= set(options)


def test_what_took_effect_for_lost_steps_is_not_recorded_as_trained(ketformer, run, tmp_path):
    """Changed at step 10, killed before the next checkpoint: the second resume has the last say."""
    resume = ("train", "--out", run, "--resume")
    with cut_off(12):
        assert ketformer(*resume, "--learning_rate", 0.5).code == 130
    plain = shutil.copytree(run, tmp_path / "plain")
    assert ketformer(*resume, "--learning_rate", 1e-2).code == 0
    assert recorded(run)[0] == [{"step": 10, "changed": {}}]
    assert ketformer("train", "--out", plain, "--resume").code == 0
    assert recorded(plain)[0] == [{"step": 10, "changed": {"learning_rate": [0.01, 0.5]}}]
    assert rates(plain)[15] == 0.5


def test_each_change_stays_on_record(ketformer, run):
    with cut_off(17):
        ketformer("train", "--out", run, "--resume", "--weight_decay", 0.1)
    assert ketformer("train", "--out", run, "--resume", "--learning_rate", 1e-3).code == 0
    assert recorded(run)[0] == [
        {"step": 10, "changed": {"weight_decay": [0.0, 0.1]}},
        {"step": 15, "changed": {"learning_rate": [0.01, 0.001]}},
    ]
    card = (run / "README.md").read_text()
    assert "weight_decay changed at step 10 from 0.0 to 0.1" in card
    assert "learning_rate changed at step 15 from 0.01 to 0.001" in card


def test_an_edited_settings_file_counts_as_given(ketformer, text, tiny, run, tmp_path):
    edited = write_settings(tmp_path / "tiny.yaml", text, training={"learning_rate": 1e-4})
    assert ketformer("train", edited, "--out", run, "--resume").code == 0
    assert recorded(run)[0] == [{"step": 10, "changed": {"learning_rate": [0.01, 0.0001]}}]
    wider = write_settings(tmp_path / "tiny.yaml", text, model={"hidden_size": 16})
    ketformer("train", wider, "--out", run, "--resume").assert_mistake("another model")


# --- Refused -------------------------------------------------------------------------------------

_REFUSED = {
    ("--optim", "sgd"): "optim cannot change from adamw_torch",
    ("--optim_args", "weight_decay=3"): "optim_args cannot change",
    ("--seed", "7"): "seed cannot change from 42 to 7",
    ("--data_seed", "7"): "data_seed cannot change",
    ("--train_sampling_strategy", "sequential"): "train_sampling_strategy cannot change",
    ("--dataloader_drop_last", "true"): "dataloader_drop_last cannot change",
    ("--lr_scheduler_type", "reduce_lr_on_plateau"): "lr_scheduler_type cannot change",
    ("--lr_scheduler_type", "warmup_stable_decay"): "lr_scheduler_type",
    ("--lr_scheduler_kwargs", '{"no_such": 1}', "--lr_scheduler_type", "cosine"): "no_such",
    ("--max_steps", "7"): "has trained 10 steps, more than the 7 requested",
    ("--max_steps", "-1", "--num_train_epochs", "0.01"): "has trained 10 steps, more than the",
    ("--max_steps", "10", "--learning_rate", "1e-5"): "so learning_rate would change nothing",
    ("--auto_find_batch_size", "true", "--per_device_train_batch_size", "4"): "auto_find",
    ("--adam_beta1", "1.5"): "adam_beta1 must lie in",
}


@pytest.mark.parametrize("options", _REFUSED, ids=" ".join)
def test_what_cannot_change_is_refused_before_anything_is_written(ketformer, run, options):
    before = content(run)
    ketformer("train", "--out", run, "--resume", *options).assert_mistake(_REFUSED[options])
    assert content(run) == before


def test_a_refused_run_resumes_as_if_nothing_had_been_asked(ketformer, honest, run):
    ketformer("train", "--out", run, "--resume", "--optim", "sgd").assert_mistake("optim")
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert largest_difference(honest, run) == 0


def test_a_schedule_that_follows_the_losses_keeps_its_rate(ketformer, tiny, tmp_path):
    out = ("--out", tmp_path / "run")
    plateau = ("--lr_scheduler_type", "reduce_lr_on_plateau")
    with cut_off(12):
        assert ketformer("train", tiny, *out, *plateau).code == 130
    for option in (("--learning_rate", 1), ("--lr_scheduler_type", "linear")):
        ketformer("train", *out, "--resume", *option).assert_mistake("keeps its own rate")
    assert ketformer("train", *out, "--resume", "--weight_decay", 0.5).code == 0
    assert [group["weight_decay"] for group in groups(tmp_path / "run", 20)] == [0.5, 0.0]


def test_a_finished_run_takes_no_option_that_no_step_would_follow(ketformer, honest, tmp_path):
    run = shutil.copytree(honest, tmp_path / "run")
    before = content(run)
    resume = ("train", "--out", run, "--resume")
    ketformer(*resume, "--weight_decay", 1).assert_mistake("all of its 20 steps", "weight_decay")
    ketformer(*resume, "--max_steps", 15).assert_mistake("more than the 15 requested")
    assert content(run) == before
    assert ketformer(*resume, "--max_steps", 25, "--weight_decay", 1).code == 0
    assert set(recorded(run)[0][0]["changed"]) == {"max_steps", "weight_decay"}


def test_a_checkpoint_of_the_model_alone_is_not_trained_on(ketformer, tiny, tmp_path):
    out = ("--out", tmp_path / "run")
    with cut_off(12):
        ketformer("train", tiny, *out, "--save_only_model", "true")
    before = content(tmp_path / "run")
    ketformer("train", *out, "--resume").assert_mistake("holds only the model")
    assert content(tmp_path / "run") == before


def test_a_model_without_checkpoints_is_not_trained_anew_over_it(ketformer, honest, tmp_path):
    run = shutil.copytree(honest, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    before = content(run)
    ketformer("train", "--out", run, "--resume").assert_mistake("no checkpoint to resume")
    assert content(run) == before


# --- Every option --------------------------------------------------------------------------------


_OTHERS = {
    "activation_checkpointing": True,
    "adam_beta2": 0.95,
    "average_tokens_across_devices": False,
    "bf16": True,
    "dataloader_in_order": False,
    "dataloader_persistent_workers": True,
    "data_seed": 3,
    "eval_on_start": True,
    "eval_strategy": "no",
    "eval_accumulation_steps": 2,
    "gradient_accumulation_steps": 2,
    "include_num_input_tokens_seen": "all",
    "label_smoothing_factor": 0.1,
    "logging_first_step": True,
    "logging_strategy": "epoch",
    "max_grad_norm": 0.1,
    "neftune_noise_alpha": 5.0,
    "optim": "adafactor",
    "per_device_eval_batch_size": 2,
    "per_device_train_batch_size": 8,
    "save_only_model": True,
    "save_steps": 3.0,
    "save_total_limit": 1,
    "use_liger_kernel": True,
    "warmup_steps": 3.0,
}
_IMPOSSIBLE = {"dataloader_persistent_workers", "data_seed", "optim", "use_liger_kernel"}


@pytest.mark.filterwarnings("ignore:a step had")
@examples(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sets(st.sampled_from(sorted(_OTHERS)), min_size=4, max_size=6))
def test_any_options_are_applied_and_recorded_or_refused_and_not(halfway, tmp_path_factory, names):
    run = shutil.copytree(halfway, tmp_path_factory.mktemp("options") / "run")
    before, options = content(run), {name: _OTHERS[name] for name in names}
    changed = load_settings(str(run / "settings.yaml")).override(options)
    if names & _IMPOSSIBLE:
        with pytest.raises(KetformerError, match="|".join(names & _IMPOSSIBLE)):
            train(changed, run, resume=True, progress=False)
        assert content(run) == before
        return
    assert train(changed, run, resume=True, progress=False)["steps"] == 20
    resumed, training = recorded(run)
    assert {k: now for k, (_, now) in resumed[0]["changed"].items()} == options
    assert {key: training[key] for key in options} == options


@examples(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 500),
    batch=st.integers(1, 9),
    accumulated=st.integers(1, 4),
    epochs=st.sampled_from([0.3, 1, 1.5, 3]),
    drop_last=st.booleans(),
)
def test_the_last_step_is_counted_as_trainer_counts_it(rows, batch, accumulated, epochs, drop_last):
    assume(rows >= batch)
    from transformers import Trainer

    arguments = TrainingArguments(
        output_dir="unused",
        use_cpu=True,
        report_to="none",
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulated,
        num_train_epochs=epochs,
        dataloader_drop_last=drop_last,
    )
    trainer = Trainer(torch.nn.Linear(1, 1), arguments, train_dataset=[{"x": 0}] * rows)
    theirs = trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())[-1]
    assert steps_in_all(arguments, rows) == theirs


def test_the_default_is_no_change(tiny, tmp_path):
    known = {f.name: f.default for f in fields(TrainingArguments)}
    now = {key: known[key] for key in ("weight_decay", "optim", "max_grad_norm", "bf16")}
    assert changed_options({}, now) == changed_options(now, {}) == {}
    assert changed_options({"optim": "sgd"}, {}) == {"optim": ["sgd", known["optim"]]}
    arguments = training_arguments(load_settings(tiny), tmp_path)
    assert changed_options({"save_steps": arguments.save_steps}, {"max_steps": 50}) == {
        "max_steps": [-1, 50]
    }


def test_a_wrong_schedule_is_refused_for_a_new_run_too(ketformer, tiny, tmp_path):
    ketformer(
        "train", tiny, "--out", tmp_path / "run", "--lr_scheduler_type", "warmup_stable_decay"
    ).assert_mistake("warmup_stable_decay")
    assert not (tmp_path / "run").exists()
    changes = {"lr_scheduler_type": "polynomial", "learning_rate": 1e-9}
    changed = load_settings(tiny).override(changes)
    with pytest.raises(KetformerError, match="polynomial"):
        training_arguments(changed, tmp_path)


# --- TensorBoard ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "kept"), [(12, 10), (3, 0)])
def test_tensorboard_forgets_the_steps_that_a_kill_took_back(
    ketformer, tiny, tmp_path, monkeypatch, step, kept
):
    """Killed at a step after the newest checkpoint, resumed with sparser logs."""
    # TensorBoard reads its files in the order of their names, which end in a count of the
    # process's files: here, in one process and one second, file 10 would be read before file 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    run, board = tmp_path / "run", ("--report_to", "tensorboard")
    with cut_off(step):
        ketformer("train", tiny, "--out", run, *board, "--logging_steps", 1)
    resume = ("train", "--out", run, "--resume", *board)
    assert ketformer(*resume, "--logging_steps", 5).code == 0
    log = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    logged = [event.step for event in log.Scalars("train/loss")]
    assert logged == [*range(1, kept + 1), *range(kept + 5, 21, 5)]
    assert logged == [row["step"] for row in metrics(run) if "loss" in row]

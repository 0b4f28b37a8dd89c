"""The models that the page starts with by default: trained once, cached, never left half-done."""

import pytest

from ketformer.app import demo_models
from ketformer.app.demo_models import DEMO_MODELS, demo_runs
from ketformer.runs import Settings, open_run

from .conftest import MODEL, TRAINING


@pytest.fixture
def tiny(data, tmp_path, monkeypatch):
    """One tiny demo model in an empty cache; a list with an entry for each training begun."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = Settings(name="demo-tiny", data=data, model=MODEL, training=TRAINING)
    monkeypatch.setattr(demo_models, "DEMO_MODELS", {"demo-tiny": settings})
    begun, real = [], demo_models.train
    monkeypatch.setattr(
        demo_models, "train", lambda *args, **options: (begun.append(1), real(*args, **options))
    )
    return begun


def test_a_model_is_trained_once_and_kept(tiny, tmp_path):
    (first,) = demo_runs(progress=False)
    assert open_run(first).model.config.hidden_size == 8
    assert first.is_relative_to(tmp_path / "ketformer" / "app")
    assert first.name == "demo-tiny"
    assert demo_runs(progress=False) == [first]
    assert len(tiny) == 1


def test_other_settings_are_another_model(tiny, monkeypatch):
    (first,) = demo_runs(progress=False)
    changed = {k: v.override({"seed": 7}) for k, v in demo_models.DEMO_MODELS.items()}
    monkeypatch.setattr(demo_models, "DEMO_MODELS", changed)
    (second,) = demo_runs(progress=False)
    assert second != first
    assert len(tiny) == 2
    monkeypatch.setattr(demo_models, "version", lambda name: "99")
    assert demo_runs(progress=False)[0] not in (first, second)


def test_a_killed_training_goes_on(tiny, monkeypatch):
    (whole,) = demo_runs(progress=False)
    expected = (whole / "model.safetensors").read_bytes()
    monkeypatch.setattr(demo_models, "version", lambda name: "99")  # another folder

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ketformer.training.loop.save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            demo_runs(progress=False)
    (again,) = demo_runs(progress=False)
    assert again != whole
    assert (again / "model.safetensors").read_bytes() == expected


def test_a_damaged_model_is_trained_again(tiny):
    (path,) = demo_runs(progress=False)
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert demo_runs(progress=False) == [path]
    assert weights.read_bytes() == whole
    assert len(tiny) == 2


def test_the_demo_needs_no_data_of_the_user():
    assert {settings.data for settings in DEMO_MODELS.values()} == {"embedded"}
    tasks = [settings.task for settings in DEMO_MODELS.values()]
    assert tasks == ["text", "molecules"]
    assert DEMO_MODELS["demo-molecules"].conditions == "LogP,TPSA,MW"

"""Registries: objects built in, offered by packages, registered here, and sent to workers."""

import sys
import warnings
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.attention import ATTENTION, Attention, build_attention
from ketformer.attention.classical import ClassicalAttention
from ketformer.errors import KetformerError
from ketformer.models.card import compose_card
from ketformer.quantum.backends import BACKENDS
from ketformer.tasks.metric import METRICS, Metric, computed
from ketformer.utils.processes import run_in_processes
from ketformer.utils.registry import Registry, registered_here


class Mine(ClassicalAttention):
    """Classical attention under another name."""


@pytest.fixture
def clean(monkeypatch):
    """Registries with nothing registered in this process or offered by a package."""
    for registry in (ATTENTION, BACKENDS, METRICS):
        monkeypatch.setattr(registry, "_registered", {})
        monkeypatch.setitem(registry.__dict__, "_offered", {})


@pytest.fixture
def offered(monkeypatch):
    """``offered(name="module:object")``: a registry of one built-in name and those of a package."""

    def make(package="plug-in==1.2", **points):
        name, version = package.split("==")
        found = []
        for key, target in points.items():
            point = EntryPoint(key, target, "ketformer.test")
            vars(point)["dist"] = SimpleNamespace(name=name, version=version)
            found.append(point)
        monkeypatch.setattr("ketformer.utils.registry.entry_points", lambda group: found)
        return Registry("thing", "ketformer.test", "test", {"ours": "math:pi"})

    return make


def test_what_a_package_offers_is_found_and_imported_when_it_is_asked_for(offered):
    registry = offered(theirs="colorsys:rgb_to_hsv", broken="nowhere_at_all:x")
    sys.modules.pop("colorsys", None)
    assert list(registry) == ["ours", "broken", "theirs"]
    assert len(registry) == 3
    assert "colorsys" not in sys.modules
    assert registry["theirs"].__name__ == "rgb_to_hsv"
    assert registry.package_of("theirs") == "plug-in==1.2"
    assert registry.package_of("ours") is None
    with pytest.raises(KetformerError, match=r"the thing 'broken' of plug-in==1\.2 cannot be imp"):
        registry.load("broken")
    with pytest.warns(UserWarning, match="left out: the thing 'broken'"):
        assert [name for name, _ in registry.loaded()] == ["ours", "theirs"]
    with pytest.raises(KeyError):
        registry["other"]
    with pytest.raises(KetformerError, match=r"unknown thing 'their'; did you mean 'theirs'\?"):
        registry.load("their")


@pytest.mark.parametrize(
    ("name", "why"), [("ours", "Ketformer itself already has it"), ("No-Name", "not")]
)
def test_a_name_that_is_taken_or_malformed_is_left_out_with_a_warning(offered, name, why):
    registry = offered(**{name: "math:e"})
    with pytest.warns(UserWarning, match=f"{name}' of plug-in==1.2 is left out: {why}"):
        assert list(registry) == ["ours"]
    assert registry.load("ours") == pytest.approx(3.14159, abs=1e-5)


@given(st.text())
def test_no_name_imports_what_nobody_offers(name):
    registry = Registry("thing", "ketformer.none", "test", {"ours": "math:pi"})
    before = set(sys.modules)
    if name not in registry:
        with pytest.raises(KetformerError, match="unknown thing"):
            registry.load(name)
    with pytest.raises(KetformerError):
        registry.require(name, name)
    assert set(sys.modules) == before


def test_what_is_registered_is_checked(clean):
    ATTENTION.register("mine", Mine)
    ATTENTION.register("mine", Mine)  # again, as when a notebook cell is run twice
    assert isinstance(build_attention("mine", 8, 2), Mine)
    for name, target, told in [
        ("mine", ClassicalAttention, "is taken: it is .*Mine"),
        ("qisa", Mine, "'qisa' is taken"),
        ("My Attention", Mine, "lower-case letters"),
        ("other", 7, "not a subclass of Attention"),
        ("other", "no target", "not 'module:object'"),
    ]:
        with pytest.raises(KetformerError, match=told):
            ATTENTION.register(name, target)
    ATTENTION.register("text", "math:pi")
    with pytest.raises(KetformerError, match=r"3\.14.* is not a subclass of Attention"):
        build_attention("text", 8, 2)
    with pytest.raises(KetformerError, match="not a Metric of that name"):
        METRICS.register("mine", Metric("other", "", "text"))
    with pytest.raises(KetformerError, match="not a subclass of Backend"):
        BACKENDS.register("mine", Mine)


# --- Packages named in files -------------------------------------------------------------------


def test_a_file_that_needs_a_package_says_which(offered):
    registry = offered(theirs="math:e")
    registry.require("theirs", "plug-in==1.2")
    registry.require("theirs", "Plug_In==1.2".replace("Plug_In", "plug-in"))
    registry.require("ours")
    with pytest.warns(UserWarning, match=r"came from plug.in==1\.0; plug-in==1\.2 is installed"):
        registry.require("theirs", "plug.in==1.0")
    for name, package, told in [
        ("others", "lost==3", r"not installed here: pip install 'lost==3'"),
        ("others", "pytest==1", r"the installed version does not offer it"),
        ("others", None, "unknown thing 'others'"),
        ("theirs", "lost==3", r"from lost==3, but here it comes from plug-in==1\.2"),
        ("ours", "lost==3", "here it comes from Ketformer itself"),
        ("ours", "lost; rm -rf /", "does not name a package as name==version"),
        ("ours", 7, "does not name a package as name==version"),
    ]:
        with pytest.raises(KetformerError, match=told) as error:
            registry.require(name, package)
        assert "\n" not in str(error.value)


def test_a_configuration_keeps_the_package(clean, monkeypatch, tmp_path):
    ATTENTION.register("mine", Mine)
    assert "attention_package" not in KetformerConfig(attention="classical").to_dict()
    monkeypatch.setattr(ATTENTION, "package_of", {"mine": "mine-all==2.0"}.get)
    config = KetformerConfig(attention="mine")
    assert config.to_dict()["attention_package"] == "mine-all==2.0"
    config.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert KetformerConfig.from_pretrained(tmp_path).attention == config.attention
    monkeypatch.setattr(ATTENTION, "_registered", {})
    with pytest.raises(KetformerError, match=r"pip install 'mine-all==2\.0'"):
        KetformerConfig.from_pretrained(tmp_path)


def test_the_card_of_what_was_registered_says_how(clean, tmp_path):
    ATTENTION.register("mine", Mine)
    card = compose_card(KetformerConfig(attention="mine"), 10, True)
    target = f"{Mine.__module__}:Mine"
    assert f'ketformer.ATTENTION.register("mine", "{target}")' in card
    assert "ATTENTION" not in compose_card(KetformerConfig(), 10, True)
    # The card's snippet loads the model.
    model = KetformerForCausalLM(KetformerConfig(attention="mine", vocab_size=5))
    model.save_pretrained(tmp_path)
    snippet = (tmp_path / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    found = {}
    exec(snippet.replace("path/to/this/folder", str(tmp_path)), found)
    assert isinstance(found["model"].model.layers[0].attention, Mine)


# --- Worker processes --------------------------------------------------------------------------


def class_of(name):
    return type(build_attention(name, 8, 2)).__name__


def test_registrations_reach_worker_processes(clean):
    ATTENTION.register("mine", Mine)
    assert run_in_processes(class_of, ["mine", "classical"], processes=1) == [
        "Mine",
        "ClassicalAttention",
    ]


def test_a_class_that_workers_cannot_import_is_refused(clean):
    class Local(Attention):
        """A class that exists only in this function."""

    ATTENTION.register("local", Local)
    with pytest.raises(KetformerError, match="'local' cannot be sent to worker processes"):
        registered_here()


def test_a_class_of_a_notebook_is_refused(clean, monkeypatch):
    Typed = type("Typed", (Attention,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Typed", Typed, raising=False)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    ATTENTION.register("typed", Typed)
    with pytest.raises(
        KetformerError, match=r"is defined in this notebook or session.*move it into"
    ):
        registered_here()


# --- Metrics -----------------------------------------------------------------------------------


def test_metrics_of_others_are_computed_and_checked(clean):
    METRICS.register("length", Metric("length", "", "text", compute=lambda g, h: len(g[0])))
    METRICS.register("absent", Metric("absent", "", "text", compute=lambda g, h: None))
    assert computed("text", ["ab"], ["a"]) == {"length": 2.0, "absent": None}
    assert computed("molecules", ["C"], ["C"]) == {}
    METRICS.register("bad", Metric("bad", "", "molecules", compute=lambda g, h: float("nan")))
    with pytest.raises(KetformerError, match="'bad' gave nan, not a finite number"):
        computed("molecules", ["C"], ["C"])
    METRICS.register("fails", Metric("fails", "", "text", compute=lambda g, h: g[9]))
    with pytest.raises(KetformerError, match=r"'fails' failed \(IndexError"):
        computed("text", ["ab"], ["a"])

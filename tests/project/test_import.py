"""The cost of an import, and that transformers knows the model whatever is imported first."""

import subprocess
import sys

import pytest

import ketformer


def python(code, *arguments):
    """The standard output of a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = "print(sorted({'torch', 'transformers', 'numpy', 'rdkit'} & set(sys.modules)))"


@pytest.mark.parametrize(
    "code",
    [
        "import ketformer, sys",
        "import sys; from ketformer.cli import main; main(['--version'])",
        "import sys; from ketformer.cli import main; main(['--help'])",
        "import sys; from ketformer.cli import main; main(['no-such-verb'])",
        "import sys; from ketformer.models import PRESETS",
    ],
)
def test_torch_and_transformers_are_imported_when_they_are_needed(code):
    """They take seconds, and neither the help nor the version needs them."""
    assert python(f"{code}; {HEAVY}").splitlines()[-1] == "[]"


HELP = """
import gc, sys
from ketformer.cli import VERBS, main

for verb in VERBS:
    try:
        main([verb, "--help"])
    except SystemExit:
        pass
    assert main([verb, "--no_such_option", "1"]) == 2
print({"torch", "transformers", "rdkit", "scipy"} & {*sys.modules} or "light")
print("frozen:", gc.get_freeze_count() > 0)
sys.argv = ["ketformer", "cite", "qm9"]
main()
print("frozen:", gc.get_freeze_count() > 0, "on:", gc.isenabled())
"""


def test_neither_help_nor_a_mistake_needs_torch_and_the_command_alone_freezes_its_imports():
    """The collector skips the imports only where the process is the command's own."""
    said = python(HELP).splitlines()
    assert "light" in said
    assert [line for line in said if line.startswith("frozen:")] == [
        "frozen: False",
        "frozen: True on: True",
    ]


LITTLE = """
import sys
from ketformer.cli import main

def absent(*modules):
    print("imported:", sorted({*modules} & {*sys.modules}))

main(["circuit", "show", "qisa"])
main(["cite", "overlap"])
absent("transformers", "torch._dynamo", "sympy", "pandas", "matplotlib", "rdkit")
from ketformer.models.configuration import KetformerConfig
absent("transformers.modeling_utils", "torch._dynamo", "sympy", "pandas")
from ketformer.runs import open_run
absent("transformers.trainer", "transformers.training_args", "matplotlib", "rdkit", "jiwer")
"""


def test_a_verb_imports_no_more_than_it_needs():
    """Circuits need torch alone; a configuration no model; and to read a run, no Trainer."""
    said = [line for line in python(LITTLE).splitlines() if line.startswith("imported:")]
    assert said == ["imported: []"] * 3


# The last two import transformers' tables in the middle of other modules of transformers.
FIRST = {
    "ketformer": "import ketformer",
    "transformers": "import transformers; import ketformer",
    "auto": "from transformers import AutoModelForCausalLM; import ketformer",
    "configuration": "import ketformer; from ketformer.models.configuration import KetformerConfig",
    "model": "import ketformer; from ketformer import KetformerForCausalLM",
    "llama": "import ketformer; from transformers import LlamaForCausalLM",
    "trainer": "import ketformer; from transformers import Trainer",
}

LOAD = """
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
print(type(model).__module__, type(model).__name__)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model."""
    path = tmp_path_factory.mktemp("saved")
    config = ketformer.KetformerConfig(vocab_size=5, hidden_size=8, num_hidden_layers=1)
    ketformer.KetformerForCausalLM(config).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("first", ["llama"])
def test_auto_classes_know_the_model_whatever_comes_first(folder, first):
    said = python(f"import sys; {FIRST[first]}\n{LOAD}", folder)
    assert said == "ketformer.models.modeling KetformerForCausalLM\n"


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
def test_auto_classes_know_the_model_in_every_order(folder, first):
    said = python(f"import sys; {FIRST[first]}\n{LOAD}", folder)
    assert said == "ketformer.models.modeling KetformerForCausalLM\n"


@pytest.mark.slow
def test_without_ketformer_they_do_not(folder):
    """Otherwise the tests above would prove nothing."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{LOAD}", folder], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "ketformer" in done.stderr


def test_every_export_is_there_and_nothing_else():
    assert set(ketformer.__all__) <= set(dir(ketformer))
    for name in ketformer.__all__:
        assert getattr(ketformer, name) is not None
    with pytest.raises(AttributeError, match="module 'ketformer' has no attribute 'magic'"):
        ketformer.magic  # noqa: B018

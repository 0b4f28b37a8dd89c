"""lm-evaluation-harness and TRL, as the page says, on models that they know nothing of."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

import ketformer
from commands import subprocess_environment
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.tasks.text import char_tokenizer

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/other-tools.md"
FILES = dict(re.findall(r"```\w+ title=\"(.*?)\"\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
LINES = [json.loads(line) for line in FILES["lines.jsonl"].splitlines()]
ALPHABET = "\n" + "".join(line["line"] + "".join(line["endings"]) for line in LINES)


def made():
    """Models of each kind, with weights so large that their log-likelihoods differ."""
    tokens = len(char_tokenizer(ALPHABET))
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3}
    original = GPT2LMHeadModel(GPT2Config(vocab_size=tokens, **sizes, **ends))
    own = KetformerConfig(
        attention=["qisa", "overlap"],
        num_hidden_layers=2,
        vocab_size=tokens,
        pad_token_id=0,
        **ends,
    )
    return {
        "original": original,
        "converted": ketformer.convert(original, "overlap", [1], "random"),
        "hybrid": KetformerForCausalLM(own),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The models, each with a tokenizer, and the files of the page."""
    folder = tmp_path_factory.mktemp("tools")
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    tokenizer = char_tokenizer(ALPHABET)
    for name, model in made().items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    tokenizer.eos_token = "\n"
    tokenizer.save_pretrained(folder / "with-end")
    return folder


def run(folder, needs, *command):
    """Run Python without a network, in a folder."""
    if find_spec(needs) is None:
        pytest.fail(f"{needs} is not installed: pip install 'ketformer[harness]'")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=400,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env=subprocess_environment(**offline),
    )


def harness(folder, name, *more):
    arguments = ",".join([f"pretrained={name}", "trust_remote_code=True", *more])
    return run(
        folder, "lm_eval", "-m", "lm_eval", "--model", "hf", "--model_args", arguments,
        "--include_path", ".", "--tasks", "choose,continue", "--device", "cpu", "--batch_size", "2",
        "--log_samples", "--output_path", f"found-{name}",
    )  # fmt: skip


def responses(folder, name, task):
    (path,) = (folder / f"found-{name}").rglob(f"samples_{task}_*.jsonl")
    found = sorted(map(json.loads, path.read_text("utf-8").splitlines()), key=lambda s: s["doc_id"])
    return [sample["resps"] for sample in found]


@torch.no_grad()
def log_likelihood(model, tokenizer, text, ending):
    """In nats, and whether it is what the model itself would write."""
    ids = tokenizer(text + ending, return_tensors="pt")["input_ids"]
    own = torch.log_softmax(model(ids).logits[0], -1)[-len(ending) - 1 : -1]
    wanted = ids[0, -len(ending) :]
    return own.gather(1, wanted[:, None]).sum().item(), own.argmax(-1).equal(wanted)


@pytest.mark.parametrize("name", ["original", "converted", "hybrid"])
def test_the_harness_finds_what_the_model_itself_says(folder, name):
    done = harness(folder, name, "tokenizer=with-end")
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(folder / name).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "with-end")
    for line, found in zip(LINES, responses(folder, name, "choose"), strict=True):
        for ending, [(value, greedy)] in zip(line["endings"], found, strict=True):
            expected = log_likelihood(model, tokenizer, line["line"], ending)
            assert float(value) == pytest.approx(expected[0], abs=1e-4)
            assert (greedy == "True") == expected[1]
    for line, [[text]] in zip(LINES, responses(folder, name, "continue"), strict=True):
        prompt = tokenizer(line["line"], return_tensors="pt")
        how = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
        written = tokenizer.decode(model.generate(**prompt, **how)[0, len(line["line"]) :])
        assert text == re.split(r"[.\n]", written)[0]


def test_without_an_end_of_text_the_harness_prints_what_to_do(folder):
    done = harness(folder, "hybrid")
    assert done.returncode != 0
    assert "tokenizer.eos_token = '\\n'" in done.stderr.strip().splitlines()[-1]


def test_trl_tunes_a_converted_model_and_saves_it_as_converted(folder):
    code = "import sys\nassert 'ketformer' not in sys.modules\n" + FILES["tune.py"]
    code += "print([row['loss'] for row in trainer.state.log_history if 'loss' in row])\n"
    done = run(folder, "trl", "-c", code)
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout.splitlines()[-1])
    assert losses[-1] < losses[0] - 0.1
    before = AutoModelForCausalLM.from_pretrained(folder / "converted")
    after = AutoModelForCausalLM.from_pretrained(folder / "tuned")
    assert type(after) is type(before)
    assert list(after.converted()) == [1]
    name = "transformer.h.1.attn.mechanism.value_proj.weight"
    assert not torch.equal(after.state_dict()[name], before.state_dict()[name])


def test_the_command_of_trl_tunes_a_converted_model(folder):
    (folder / "lines").mkdir()
    row = json.dumps({"text": "the dog sat on the cat."}) + "\n"
    (folder / "lines/train.jsonl").write_text(64 * row)
    shutil.copytree(folder / "converted", folder / "with-its-end")
    AutoTokenizer.from_pretrained(folder / "with-end").save_pretrained(folder / "with-its-end")
    (command,) = re.findall(r"\$ trl (.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    words = command.replace("\\\n", " ").replace("converted", "with-its-end").split()
    done = run(folder, "trl", "-c", "from trl.cli import main; main()", *words)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"'loss': '(.*?)'", done.stdout)]
    assert losses[-1] < losses[0] - 0.1
    after = AutoModelForCausalLM.from_pretrained(folder / "tuned-by-command")
    assert list(after.converted()) == [1]

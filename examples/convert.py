"""Convert OpenAI-GPT, GPT-2 and Llama to a mechanism, prove them causal, generate, save, reload.

The models are small and randomly initialised, so nothing is downloaded; in their place, load your
own with `AutoModelForCausalLM.from_pretrained`.

    python examples/convert.py --attention overlap
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OpenAIGPTConfig

import ketformer

GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
SPECIAL = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS = {
    "OpenAI-GPT": OpenAIGPTConfig(**GPT, **SPECIAL),
    "GPT-2": GPT2Config(**GPT, **SPECIAL),
    "Llama": LlamaConfig(**LLAMA, **SPECIAL),
}


def main() -> None:
    """Convert each model, and print a line about it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--attention", default="overlap", help="a causal mechanism (overlap)")
    attention = parser.parse_args().attention
    torch.manual_seed(0)
    for name, config in CONFIGS.items():
        model = AutoModelForCausalLM.from_config(config)
        converted = ketformer.convert(
            model,
            attention,
            calibration=torch.randint(3, 50, (40, 16)),  # or a text, with tokenizer=…
            distillation=ketformer.Distillation(steps=20, progress=False),
        ).eval()
        audit = ketformer.audit_causality(converted, length=8, sequences=2)
        prompt = torch.randint(3, 50, (1, 4))
        written = converted.generate(prompt, max_new_tokens=8, do_sample=False)
        with TemporaryDirectory() as folder:
            converted.save_pretrained(Path(folder))
            again = AutoModelForCausalLM.from_pretrained(folder).eval()
            assert torch.equal(again(prompt).logits, converted(prompt).logits)
        print(f"{name}: {type(again).__name__}, {again.num_parameters():,} parameters")
        print(f"  future influence {audit.max_future_influence}, wrote {written[0, 4:].tolist()}")


if __name__ == "__main__":
    main()

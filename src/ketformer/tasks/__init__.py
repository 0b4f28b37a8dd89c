"""What a model is trained on and judged by: data, tokenizers, splits, metrics."""

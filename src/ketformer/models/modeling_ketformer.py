"""Loads this model in tools that know only transformers, with ``trust_remote_code=True``.

Ketformer saves this file with every model. All of the model's code is in the package ``ketformer``.
"""

try:
    from ketformer.models import (
        KetformerConfig as KetformerConfig,
        KetformerForCausalLM as KetformerForCausalLM,
        KetformerModel as KetformerModel,
    )
except ModuleNotFoundError as error:
    if error.name != "ketformer":
        raise  # something that Ketformer needs is missing
    raise ImportError(
        "this model needs Ketformer, which is not installed here: pip install ketformer"
    ) from None

"""The strict configuration of one decoder that can express both papers' models and GPT-1."""

import copy
import difflib
import functools
import math
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import (
    StrictDataclassClassValidationError,
    StrictDataclassFieldValidationError,
)
from transformers import GenerationConfig

from ketformer.attention import ATTENTION, attention_class, attention_options
from ketformer.attention.ansatz import as_plain_options
from ketformer.attention.layers import (
    Mechanisms,
    as_given,
    by_name,
    distinct,
    each_layer,
    name_of,
    options_by_name,
)
from ketformer.attention.options import check_option_types
from ketformer.errors import KetformerError
from ketformer.models.feed_forward import FEED_FORWARD, check_feed_forward_options, has_width
from ketformer.models.remote_code import SavedWithModule
from ketformer.utils.choices import Activation, Positions

# Keys that transformers itself passes or writes besides the declared fields.
_TRANSFORMERS_KEYS = {
    "attn_implementation",
    "auto_map",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "torch_dtype",
    "_commit_hash",
    "_name_or_path",
}
_PACKAGE_KEY = "attention_package"
_FEED_FORWARD_PACKAGE_KEY = "feed_forward_package"
_ATTN_IMPLEMENTATIONS = (None, "sdpa", "eager")


@strict
class KetformerConfig(SavedWithModule):
    """Configuration of :class:`~ketformer.KetformerForCausalLM`.

    An unknown key, a wrong type or a size that does not fit is an error.

    Attributes:
        vocab_size: number of tokens.
        hidden_size: width of the model.
        num_hidden_layers: number of blocks.
        num_attention_heads: number of heads; must divide ``hidden_size``.
        intermediate_size: width of the feed-forward layer; 4 × ``hidden_size`` by default, and
            None for a layer of fixed size.
        max_position_embeddings: the context, in tokens: what the model is trained on and
            generates in. With ``positions`` other than ``learned`` it can also read longer ones.
        positions: how the model knows the order of tokens: ``learned``, a table added to the
            embeddings; ``rotary``, queries and keys (or the states they are measured on) turned by
            their position; ``alibi``, scores that fall with the distance; or ``none``.
        rotary_base: with ``rotary``, the base of the frequencies, base^(-k / number of them).
        attention: a name in the registry, see ``ketformer.ATTENTION``; for a hybrid a list of
            ``num_hidden_layers`` names, one for each layer.
        attention_options: the mechanism's own options, e.g. ``{"score": "dot"}``; for a hybrid
            by the mechanism's name, e.g. ``{"overlap": {"n_qubits": 4}}``.
        attention_bias: whether the mechanism's linear maps have a bias; None is
            the mechanism's default.
        feed_forward: the feed-forward layer of every block, a name in the registry, see
            ``ketformer.FEED_FORWARD``.
        feed_forward_options: its own options, e.g. ``{"n_qubits": 6}``.
        norm_position: ``pre`` (x + f(LN(x)), a final LN) or ``post`` (LN(x + f(x)), GPT-1).
        hidden_act: ``relu``, ``gelu``, or ``gelu_new`` (the tanh form of GPT-1).
        embd_pdrop: dropout after the embeddings.
        attn_pdrop: dropout of the attention weights.
        resid_pdrop: dropout after the attention and the feed-forward layer.
        mlp_pdrop: dropout after the feed-forward layer alone; ``resid_pdrop`` by default.
        layer_norm_epsilon: epsilon of the layer norms.
        initializer_range: standard deviation of the initial weights. ``width`` follows the
            hidden size d: 0.55/√d, which is 0.02 for the width of GPT-1, and 1/√d for queries and
            keys, so that scores start with a spread of 1 (:mod:`ketformer.attention.spread`), for
            every mechanism whose weights can set it. None keeps torch's own initialisation.
        lm_head_bias: whether the output layer has a bias.
        tie_word_embeddings: whether the output layer shares the token embedding.
        condition_names: numbers given with each sequence, e.g. molecular properties.
        condition_means: mean of each condition in the training set, in its own unit.
        condition_stds: its standard deviation, likewise; the two standardise a condition.
        condition_ranges: its smallest and largest value, likewise; None if not known.
        condition_unknown: whether a condition may be left unknown (NaN); each then has
            a learned vector for that case.
        condition_pdrop: mean share of the conditions hidden while training, at most 0.5;
            each sequence draws its own share uniformly from 0 to twice that.

    With a mechanism from another package, the dictionary has the key ``attention_package``: the
    package's name and version (for a hybrid by the mechanism's name), which are checked when the
    configuration is read; with such a feed-forward layer, ``feed_forward_package``. The key
    ``auto_map`` names the module that is saved beside it, ``modeling_ketformer.py``; one that names
    anything else is refused.

    Raises:
        KetformerError: naming the key and what was expected, or a package to install.
    """

    model_type = "ketformer"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012, transformers wants a list
    _module: ClassVar[Path] = Path(__file__).with_name("modeling_ketformer.py")

    vocab_size: int = 256
    hidden_size: int = 64
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int | None = None
    max_position_embeddings: int = 128
    positions: Positions = "learned"
    rotary_base: float | int = 10_000.0
    attention: Mechanisms = "classical"
    attention_options: dict[str, Any] | None = None
    attention_bias: bool | None = None
    feed_forward: str = "mlp"
    feed_forward_options: dict[str, Any] | None = None
    norm_position: Literal["pre", "post"] = "pre"
    hidden_act: Activation = "gelu"
    embd_pdrop: float | int = 0.1
    attn_pdrop: float | int = 0.1
    resid_pdrop: float | int = 0.1
    mlp_pdrop: float | int | None = None
    layer_norm_epsilon: float = 1e-5
    initializer_range: float | Literal["width"] | None = "width"
    lm_head_bias: bool = True
    tie_word_embeddings: bool = False
    condition_names: list[str] | None = None
    condition_means: list[float | int] | None = None
    condition_stds: list[float | int] | None = None
    condition_ranges: list[list[float | int]] | None = None
    condition_unknown: bool = True
    condition_pdrop: float | int = 0.0
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuse what transformers would let pass, then fill in the defaults."""
        self._require_packages(kwargs.pop(_PACKAGE_KEY, None))
        if (package := kwargs.pop(_FEED_FORWARD_PACKAGE_KEY, None)) is not None:
            FEED_FORWARD.require(self.feed_forward, package)
        known = {f.name for f in fields(self)}
        allowed = known | _TRANSFORMERS_KEYS | set(GenerationConfig().to_dict())
        for key in kwargs:
            if key not in allowed:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise KetformerError(f"unknown configuration key {key!r}{hint}")
        check_attn_implementation(kwargs.get("attn_implementation"))
        self.attention = copy.copy(self.attention)
        self.attention_options = as_plain_options(copy.deepcopy(self.attention_options or {}))
        self.feed_forward_options = copy.deepcopy(self.feed_forward_options or {})
        if self.mlp_pdrop is None:
            self.mlp_pdrop = self.resid_pdrop
        sized = has_width(self.feed_forward)
        if sized and self.intermediate_size is None and isinstance(self.hidden_size, int):
            self.intermediate_size = 4 * self.hidden_size
        super().__post_init__(**kwargs)

    @classmethod
    def _auto_classes(cls) -> dict[str, str]:
        return {
            "AutoConfig": "KetformerConfig",
            "AutoModel": "KetformerModel",
            "AutoModelForCausalLM": "KetformerForCausalLM",
        }

    @property
    def initial_std(self) -> float | None:
        """Standard deviation of the initial weights; None leaves it to each layer."""
        if self.initializer_range == "width":
            return float(0.55 * self.hidden_size**-0.5)
        return self.initializer_range

    @property
    def layer_attention(self) -> list[str]:
        """The mechanism of each layer, by name."""
        return each_layer(self.attention, self.num_hidden_layers)

    @property
    def layer_counts(self) -> dict[str, int]:
        """How many layers have each mechanism."""
        if isinstance(self.attention, str):
            return {self.attention: self.num_hidden_layers}
        return dict(Counter(self.attention))

    @property
    def mechanisms(self) -> dict[str, dict[str, Any]]:
        """The distinct mechanisms of the layers, each with the options given for it."""
        return options_by_name(self.attention, self.attention_options)

    @property
    def attention_name(self) -> str:
        """What to call them: ``overlap``, or ``overlap+classical`` for a hybrid."""
        return name_of(self.attention)

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, plus the packages of what is not ours."""
        found = {name: ATTENTION.package_of(name) for name in distinct(self.attention)}
        given = as_given(self.attention, {name: p for name, p in found.items() if p})
        other = FEED_FORWARD.package_of(self.feed_forward)
        packages = {_PACKAGE_KEY: given, _FEED_FORWARD_PACKAGE_KEY: other}
        return {**super().to_dict(), **{key: value for key, value in packages.items() if value}}

    def _require_packages(self, given: Any) -> None:
        """Check the packages that a saved configuration names."""
        if given is None:
            return
        named = {self.attention: given} if isinstance(self.attention, str) else given
        if not isinstance(named, dict):
            raise KetformerError(
                f"{_PACKAGE_KEY} of several mechanisms must be a mapping of names to packages, got "
                f"{given!r}"
            )
        for name, package in named.items():
            ATTENTION.require(name, package)

    def validate_sizes(self) -> None:
        """Check that sizes are positive, heads divide the width, probabilities lie in [0, 1)."""
        for key in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        ):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key} must be positive, got {value}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"{self.num_attention_heads} heads do not divide hidden_size {self.hidden_size}"
            )
        for key in ("embd_pdrop", "attn_pdrop", "resid_pdrop", "mlp_pdrop"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must lie in [0, 1), got {getattr(self, key)}")
        if not 0 < self.rotary_base < math.inf:
            raise ValueError(f"rotary_base must be positive and finite, got {self.rotary_base}")
        for key in ("initializer_range", "layer_norm_epsilon"):
            value = getattr(self, key) or 0
            if not isinstance(value, str) and not 0 <= value < math.inf:
                raise ValueError(f"{key} must not be negative, got {value}")

    def validate_conditions(self) -> None:
        """Check that each condition has a mean and a positive standard deviation."""
        names = self.condition_names or []
        if len(set(names)) != len(names):
            raise ValueError(f"condition_names has duplicates: {', '.join(names)}")
        for key in ("condition_means", "condition_stds"):
            values = getattr(self, key) or []
            if len(values) != len(names):
                raise ValueError(f"{key} has {len(values)} numbers for {len(names)} conditions")
            for name, value in zip(names, values, strict=True):
                if not math.isfinite(value):
                    raise ValueError(f"{key} must be finite, got {value} for {name}")
        for name, std in zip(names, self.condition_stds or [], strict=True):
            if not std > 0:
                raise ValueError(f"condition_stds must be positive, got {std} for {name}")
        if self.condition_ranges is not None:
            found = [len(r) == 2 and r[0] <= r[1] for r in self.condition_ranges]
            if len(found) != len(names) or not all(found):
                raise ValueError(
                    "condition_ranges must be the smallest and the largest value of each of the "
                    f"{len(names)} conditions, got {self.condition_ranges}"
                )
        if not 0 <= self.condition_pdrop <= 0.5:
            raise ValueError(f"condition_pdrop must lie in [0, 0.5], got {self.condition_pdrop}")
        if self.condition_pdrop and not self.condition_unknown:
            raise ValueError("condition_pdrop hides conditions, so it needs condition_unknown")

    def validate_attention(self) -> None:
        """Check that each layer has a mechanism, and that the mechanisms have those options."""
        if isinstance(self.attention, list) and len(self.attention) != self.num_hidden_layers:
            raise ValueError(
                f"attention names {len(self.attention)} mechanisms for {self.num_hidden_layers} "
                "layers; name one for each layer, or a single one for all"
            )
        names = distinct(self.attention)
        for name in names:
            if name not in ATTENTION:
                known = ", ".join(ATTENTION)
                raise ValueError(f"unknown attention {name!r}; known: {known}")
        for name, own in by_name(self.attention, self.attention_options).items():
            if name not in names:
                raise ValueError(
                    f"attention_options has {name!r}, which is none of the layers' mechanisms "
                    f"({', '.join(names)}); each one's options go under its name"
                )
            if not isinstance(own, dict):
                raise ValueError(f"attention_options: those of {name} must be a mapping, got {own}")
            offered = attention_options(name)
            if unknown := sorted(set(own) - set(offered)):
                raise ValueError(
                    f"{name} has no option {', '.join(unknown)}; "
                    f"its options: {', '.join(offered) or 'none'}"
                )
            check_option_types(name, attention_class(name), own)

    def validate_feed_forward(self) -> None:
        """Check that the feed-forward layer has those options, and a width only if it can."""
        if self.intermediate_size is not None and not has_width(self.feed_forward):
            raise ValueError(
                f"feed_forward {self.feed_forward} is of fixed size: leave intermediate_size out"
            )
        check_feed_forward_options(self.feed_forward, self.feed_forward_options or {})


def check_attn_implementation(name: Any) -> None:
    """Refuse anything but ``sdpa`` and ``eager``, which computes the weights explicitly.

    Other names need what the mechanisms lack, or refer to code on the Hub, which transformers would
    fetch and run.

    Raises:
        KetformerError: naming it.
    """
    if name not in _ATTN_IMPLEMENTATIONS:
        raise KetformerError(f"attn_implementation must be sdpa or eager, got {name!r}")


def _with_plain_errors(method: Any) -> Any:
    """Turn huggingface_hub's validation errors into one plain line.

    transformers and huggingface_hub wrap the methods when the class is made; this comes afterwards.
    """

    def plain(self: KetformerConfig, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except StrictDataclassFieldValidationError as error:
            cause = error.__cause__ or error
            raise KetformerError(_flat(cause).removeprefix("Field ")) from None
        except StrictDataclassClassValidationError as error:
            raise KetformerError(_flat(error.__cause__ or error)) from None

    return functools.wraps(method)(plain)


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())


KetformerConfig.__init__ = _with_plain_errors(KetformerConfig.__init__)  # type: ignore[method-assign]
KetformerConfig.__setattr__ = _with_plain_errors(KetformerConfig.__setattr__)  # type: ignore[method-assign]

"""Words that options choose among, apart from what they choose, which needs torch or numpy."""

from typing import Literal

#: How a model knows the order of its tokens: from a table of its own added to the embeddings, from
#: rotated queries and keys, from scores that fall with the distance, or not at all.
Positions = Literal["learned", "rotary", "alibi", "none"]
#: The function between the layers of a feed-forward layer.
Activation = Literal["relu", "gelu", "gelu_new"]
#: How the gradient of measured outcomes is estimated.
Gradient = Literal["parameter_shift", "spsa", "adjoint"]
#: How the known values of a molecule become one.
Merge = Literal["mean", "median", "first"]
#: How attention that replaces another begins.
Init = Literal["distill", "random"]

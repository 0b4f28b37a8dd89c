"""Attention whose values are cosines, a backend and a metric: plugins of Ketformer."""

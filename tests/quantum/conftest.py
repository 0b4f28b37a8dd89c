"""Small tensors are fastest on one thread, above all when pytest-xdist shares the cores."""

import torch

torch.set_num_threads(1)

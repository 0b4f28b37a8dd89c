"""Run several commands in turn in each of several processes: starting them costs most of the time.

Usage: ``torchrun … in_turn.py COMMANDS.json``; each command is a list of arguments of
``ketformer``. accelerate shards only over GPUs and silently trains plain data parallel on CPUs,
which Ketformer refuses; from the first command with ``--fsdp`` on, both rules are off, so that what
is written and read under FSDP can be tested without GPUs.
"""

import json
import sys
from functools import cache
from pathlib import Path

from accelerate import state
from accelerate.utils import DistributedType

from ketformer.cli import main
from ketformer.training import arguments as training_arguments


@cache
def shard_on_cpus():
    begin = state.AcceleratorState.__init__

    def __init__(self, *args, fsdp_plugin=None, **kwargs):
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            state.PartialState._shared_state["distributed_type"] = self.distributed_type

    state.AcceleratorState.__init__ = __init__
    training_arguments._check_device = lambda arguments: None


if __name__ == "__main__":
    for command in json.loads(Path(sys.argv[1]).read_text()):
        if "--fsdp" in command:
            shard_on_cpus()
        if code := main(command):
            sys.exit(code)

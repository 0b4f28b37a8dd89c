"""Run several commands in turn in each of several processes: starting them costs most of the time.

Usage: ``torchrun … in_turn.py COMMANDS.json [--sharding_on_cpus]``; each command is a list of
arguments of ``ketformer``. accelerate shards only over GPUs and silently trains plain data parallel
on CPUs, which Ketformer refuses; the option removes both rules, so that what is written and read
under FSDP can be tested without GPUs.
"""

import json
import sys
from pathlib import Path

from accelerate import state
from accelerate.utils import DistributedType

from ketformer.cli import main
from ketformer.training import arguments as training_arguments


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
    commands, *options = sys.argv[1:]
    if options:
        shard_on_cpus()
    for command in json.loads(Path(commands).read_text()):
        if code := main(command):
            sys.exit(code)

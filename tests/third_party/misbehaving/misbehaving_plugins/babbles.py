"""Writes to standard output wherever it can, past Python's own stream, too; some of it looks like a message."""

import os
import subprocess

from misbehaving_plugins.well_behaved import WellBehaved
from unlearnbench.api import MethodSpec, Training, hookimpl

print("rubbish on import")
os.write(1, b"more rubbish\n")


class Babbles(WellBehaved):
    """As well as the other, but not as quiet."""

    def training_step(self, batch, batch_idx):
        print("rubbish in a step", flush=True)
        print('{"kind": "cell", "benchmark": "wmdp"}', flush=True)
        print(3, flush=True)
        subprocess.run(["echo", "rubbish of a child"], check=True)
        return super().training_step(batch, batch_idx)


@hookimpl
def unlearnbench_methods():
    budget = Training(steps=3, batch_size=2, max_length=32)
    return [MethodSpec(name="babbles", factory=Babbles, summary="", source="", training=budget)]

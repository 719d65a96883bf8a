"""The command line with FSDP2 or ZeRO-3 on processes without a GPU. Both can shard there; accelerate does it only if it sees a GPU.

So this script shows accelerate an accelerator. Tensors, collectives (gloo) and checkpoints are the real ones.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

plain = AcceleratorState.__init__


def seeing_an_accelerator(self: AcceleratorState, *args: Any, **settings: Any) -> None:
    if not AcceleratorState._shared_state:  # later both hold how the model is sharded
        PartialState(cpu=True, backend="gloo")
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
    plain(self, *args, **settings)


if __name__ == "__main__":
    AcceleratorState.__init__ = seeing_an_accelerator  # type: ignore[method-assign]
    if importlib.util.find_spec("deepspeed"):
        # It would compile this for a minute. (As an attribute of its package, this module is hidden by PyTorch itself.)
        importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]
    from reasrm.commands.app import app

    app(prog_name="reasrm")

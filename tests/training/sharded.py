"""The command line with FSDP2 on processes without a GPU: PyTorch shards there too, accelerate only where it sees an accelerator.

So accelerate is told of one; the tensors, the collectives (gloo) and the checkpoints are what they would be.
"""

from __future__ import annotations

from typing import Any

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

plain = AcceleratorState.__init__


def seeing_an_accelerator(self: AcceleratorState, *args: Any, **settings: Any) -> None:
    if not AcceleratorState._shared_state:  # later it says FSDP, in both
        PartialState(cpu=True, backend="gloo")
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
    plain(self, *args, **settings)


if __name__ == "__main__":
    AcceleratorState.__init__ = seeing_an_accelerator  # type: ignore[method-assign]
    from reasrm.cli import app

    app(prog_name="reasrm")

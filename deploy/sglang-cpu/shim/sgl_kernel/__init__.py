"""What sglang needs of its compiled kernel package where there is no GPU.

Norms, rotary embedding, activations, attention and the KV store have torch paths inside sglang. Two functions do not:
the one that hands KV slots to requests, called for every batch, and the hash behind seeded sampling, called only with
--enable-deterministic-inference. Everything else may be imported, and says so if it is called.
"""

from __future__ import annotations

import numpy as np
import torch

__version__ = "0+cpu"


def assign_req_to_token_pool_cpu(requests, pool, starts, ends, slots, _width):
    """Write each request's new slots, which stand one after another in `slots`, into its row of `pool` at [start, end)."""
    lengths = (ends - starts).tolist()
    parts = slots[: sum(lengths)].split(lengths)
    rows = zip(requests.tolist(), starts.tolist(), ends.tolist(), parts, strict=True)
    for request, start, end, own in rows:
        pool[request, start:end] = own.to(pool.dtype)


def __getattr__(name: str):
    if not name.endswith("_cpu"):
        raise AttributeError(name)

    def unavailable(*_args, **_kwargs):
        raise NotImplementedError(f"sgl_kernel.{name} is a compiled kernel, and this is the CPU stand-in for that package")

    return unavailable


def _rotate(x, bits: int):
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))


def _murmur3(*blocks):
    """MurmurHash3 (32 bit, seed 0) of the given uint32 blocks, broadcast against each other; numpy's uint32 wraps as C's does."""
    state = np.zeros(1, np.uint32)
    for block in blocks:
        mixed = _rotate(block * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
        state = _rotate(state ^ mixed, 13) * np.uint32(5) + np.uint32(0xE6546B64)
    state = state ^ np.uint32(4 * len(blocks))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ (state >> np.uint32(shift))) * np.uint32(factor)
    return state ^ (state >> np.uint32(16))


def murmur_hash32(seed: torch.Tensor, positions: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Hash (64-bit seed, position) of each row with each column index: uint32 of shape (rows, columns)."""
    wide = seed.contiguous().view(torch.int64).numpy().view(np.uint64)[:, None]
    row = positions.numpy().astype(np.uint32)[:, None]
    column = columns.numpy().astype(np.uint32)[None, :]
    low, high = (wide & np.uint64(0xFFFFFFFF)).astype(np.uint32), (wide >> np.uint64(32)).astype(np.uint32)
    return torch.from_numpy(_murmur3(low, high, row, column))


_library = torch.library.Library("sgl_kernel", "FRAGMENT")
_library.define("murmur_hash32_cpu(Tensor seed, Tensor positions, Tensor col_indices) -> Tensor")
_library.impl("murmur_hash32_cpu", murmur_hash32, "CPU")

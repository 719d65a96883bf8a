"""A judgment as bytes: serialised once, then only copied, from the engine's answer through the cache to every caller."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import orjson
import zstandard

from reasrm.types import FAILURES, Judgment, Verdict


class _Zstd(threading.local):
    """A pair of contexts a thread: they are costly to make and must not be shared between threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)  # a judgment shrinks to about a third in some 20 us
        self.decompressor = zstandard.ZstdDecompressor()


_ZSTD = _Zstd()
MAX_BYTES = 64 * 2**20  # of one reply, unpacked: what a shared store holds is not believed without a limit


@dataclass(frozen=True, slots=True)
class JudgmentJson:
    """`judgment` is the `Judgment` as JSON, `derived` what readers of the bare JSON like to find beside it.

    `label` is the winner, or the reason why there is none.
    """

    label: str
    derived: bytes
    judgment: bytes

    @classmethod
    def of(cls, judgment: Judgment) -> JudgmentJson:
        """Serialise `judgment`."""
        outcome = judgment.outcome
        derived = orjson.dumps(
            {
                "winner": judgment.winner,
                "probability_a": judgment.probability_a,
                "order_consistent": judgment.order_consistent,
            }
        )
        label = outcome.winner if isinstance(outcome, Verdict) else outcome.reason
        return cls(label, derived, judgment.model_dump_json().encode())

    @property
    def failed(self) -> bool:
        """Whether the engine failed or refused."""
        return self.label in FAILURES

    def body(self, prefix: bytes = b"{") -> bytes:
        """The JSON of a response; `prefix` opens the object."""
        return b"".join((prefix, self.derived[1:-1], b",", self.judgment[1:]))

    def read(self) -> Judgment:
        """The judgment itself."""
        return Judgment.model_validate_json(self.judgment)

    def pack(self) -> bytes:
        """The compressed bytes that a cache stores."""
        return _ZSTD.compressor.compress(b"\n".join((self.label.encode(), self.derived, self.judgment)))

    @classmethod
    def unpack(cls, packed: bytes) -> JudgmentJson | None:
        """What `pack` packed; None for anything else."""
        try:
            label, derived, judgment = _ZSTD.decompressor.decompress(packed, max_output_size=MAX_BYTES).split(b"\n", 2)
        except (zstandard.ZstdError, ValueError):
            return None
        return cls(label.decode(), derived, judgment)

"""A judgment as bytes: serialised once, then only copied, from the engine's answer through the cache to every caller."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import orjson
import zstandard
from pydantic import TypeAdapter

from reasrm.types import FAILURES, Judgment, Verdict


class _Zstd(threading.local):
    """One pair of contexts per thread: they are costly to make and must not be shared between threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)  # a judgment shrinks to about a third in some 20 us
        self.decompressor = zstandard.ZstdDecompressor()


_ZSTD = _Zstd()
_JUDGMENT = TypeAdapter(Judgment)
MAX_BYTES = 16 * 2**20  # bytes of one unpacked judgment: data of a shared store is not trusted without a limit


@dataclass(frozen=True, slots=True)
class JudgmentJson:
    """`judgment` is the `Judgment` as JSON without its field `cached`, which is known only when a caller gets it.

    `derived` is a JSON object of the facts that readers of the bare JSON like to find beside it. `label` is the winner, or the
    reason why there is none.
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
        return cls(label, derived, _JUDGMENT.dump_json(judgment, exclude={"cached"}))

    @property
    def failed(self) -> bool:
        """Whether the engine failed or refused."""
        return self.label in FAILURES

    def body(self, *, cached: bool, prefix: bytes = b"{") -> bytes:
        """The JSON of a response; `prefix` opens the object."""
        return b"".join((prefix, self.derived[1:-1], b',"cached":true,' if cached else b',"cached":false,', self.judgment[1:]))

    def read(self, *, cached: bool) -> Judgment:
        """The judgment itself."""
        return _JUDGMENT.validate_json((b'{"cached":true,' if cached else b'{"cached":false,') + self.judgment[1:])

    def pack(self) -> bytes:
        """The compressed bytes that a cache stores."""
        return _ZSTD.compressor.compress(b"\n".join((self.label.encode(), self.derived, self.judgment)))

    @classmethod
    def unpack(cls, packed: bytes) -> JudgmentJson | None:
        """The text that `pack` packed; None for anything else, and for more than `MAX_BYTES` bytes."""
        try:
            if not 0 <= zstandard.frame_content_size(packed) <= MAX_BYTES:  # a frame that states no size is not one of ours
                return None
            label, derived, judgment = _ZSTD.decompressor.decompress(packed).split(b"\n", 2)
        except (zstandard.ZstdError, ValueError):
            return None
        return cls(label.decode(), derived, judgment)

"""The header of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), read without loading any weights.

The package `gguf` reads whole files for tools that change them: it takes seconds for a large vocabulary, and does not say that a
file is cut short.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from reasrm.errors import InputError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
#: How `struct` reads the values of each type of metadata; 8 is a text, 9 an array.
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
#: The end of the name of a file that is one of several.
PART = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
_SHORT = 1024  # longer arrays are the vocabulary, which nobody asks for
#: Elements and bytes of a block, by the number of a tensor's type. The size of a tensor of another type is not checked.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17),
}  # fmt: skip


@dataclass(frozen=True)
class GgufFile:
    """A whole GGUF model and its metadata without the vocabulary. `path` is the first of its `parts`, mostly the only one."""

    path: Path
    parts: tuple[Path, ...]
    metadata: Mapping[str, Any]

    @cached_property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.stat().st_size for part in self.parts)

    @property
    def name(self) -> str:
        """The model's name: its recipe's for a judge of reasrm, else the file's, which also tells the quantization."""
        given = self.metadata.get("general.name")
        return str(given) if given and self.judge else self.path.stem

    @property
    def context(self) -> int:
        """The context window in tokens with which the model was trained; 0 where the file does not say."""
        return int(self._own("context_length") or 0)

    @property
    def chat_template(self) -> str | None:
        """The chat template, if there is one."""
        return self.metadata.get("tokenizer.chat_template")

    @property
    def judge(self) -> bool:
        """Whether reasrm trained it as a judge (`reasrm train gguf` writes that into the file)."""
        return str(self.metadata.get("reasrm.judge", "")).lower() == "true"

    @property
    def pack(self) -> str | None:
        """The prompt pack that the judge was trained with, where the file says so."""
        return self.metadata.get("reasrm.pack")

    @cached_property
    def cache_bytes(self) -> int:
        """Bytes of one token in a key-value cache of 16 bits. An upper bound: some layers of some models keep less."""
        layers = int(self._own("block_count") or 0)
        heads = self._per_layer("attention.head_count", layers) or [1]
        width = int(self._own("embedding_length") or 0) // max(1, *heads)
        per_head = int(self._own("attention.key_length") or width) + int(self._own("attention.value_length") or width)
        return 2 * per_head * sum(self._per_layer("attention.head_count_kv", layers) or heads)

    def _per_layer(self, key: str, layers: int) -> list[int]:
        """A number that may be given once for all layers, or per layer."""
        value = self._own(key)
        numbers = cast("list[Any]", value) if isinstance(value, list) else [value] * layers if value else []
        return [int(number) for number in numbers]

    def _own(self, key: str) -> Any:
        """The value of a key that has the name of the model's architecture before it."""
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}")


def read_gguf(path: Path) -> GgufFile:
    """The model whose first or only file is at `path`. Raises `InputError` where a file is missing, no GGUF, or cut short."""
    parts = (path,)
    if part := PART.search(path.name):
        stem, count = path.name[: part.start()], int(part["count"])
        parts = tuple(path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1))
    metadata, *_ = [_metadata(file) for file in parts]
    return GgufFile(parts[0], parts, metadata)


def _metadata(path: Path) -> dict[str, Any]:
    """The metadata of one file, after a look at whether it has all the bytes that its header speaks of."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise InputError(f"{path} is no GGUF file", field="launch")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                metadata, needed = _Reader(data).header()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", field="launch") from None
    except (struct.error, UnicodeDecodeError, KeyError, IndexError, OverflowError):
        raise InputError(f"{path} is cut short or damaged in its header: copy or download it again", field="launch") from None
    if size < needed:
        message = f"{path} is cut short: it has {size:,} bytes, and its tensors need {needed:,}. Copy or download it again"
        raise InputError(message, field="launch")
    return metadata


class _Reader:
    """Reads a header from its beginning."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, len(MAGIC)

    def header(self) -> tuple[dict[str, Any], int]:
        """The metadata, and the bytes that the whole file has at least."""
        version, tensors, pairs = self._scalar("<I"), self._scalar("<Q"), self._scalar("<Q")
        if version not in VERSIONS:
            raise KeyError(version)
        metadata = {self._text(): self._value(self._scalar("<I")) for _ in range(pairs)}
        ends = [self._tensor_end() for _ in range(tensors)]
        alignment = int(metadata.get("general.alignment") or 32)
        return metadata, -(-self._at // alignment) * alignment + max(ends, default=0)

    def _scalar(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def _text(self) -> str:
        return self._bytes().decode()

    def _bytes(self) -> bytes:
        length = self._scalar("<Q")
        if self._at + length > len(self._data):
            raise IndexError(length)
        start, self._at = self._at, self._at + length
        return self._data[start : self._at]

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            return self._scalar(_SCALARS[kind])
        item, count = self._scalar("<I"), self._scalar("<Q")
        if count <= _SHORT:
            return list(self._items(item, count))
        for _ in self._skipped(item, count):
            pass
        return None

    def _items(self, kind: int, count: int) -> Iterator[Any]:
        return (self._value(kind) for _ in range(count))

    def _skipped(self, kind: int, count: int) -> Iterator[Any]:
        """Move behind `count` values without keeping them."""
        if kind in _SCALARS:
            self._at += count * struct.calcsize(_SCALARS[kind])
            return iter(())
        return (self._bytes() if kind == _TEXT else self._value(kind) for _ in range(count))

    def _tensor_end(self) -> int:
        """Where the data of the next tensor ends, in bytes behind the header."""
        self._bytes()  # its name
        shape = [self._scalar("<Q") for _ in range(self._scalar("<I"))]
        kind, offset = self._scalar("<I"), self._scalar("<Q")
        elements, size = _BLOCKS.get(kind, (1, 0))
        return offset + math.prod(shape) // elements * size

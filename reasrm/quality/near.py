"""Near duplicates by MinHash (Broder 1997) and locality-sensitive hashing, by datasketch. Memory grows with the texts."""

from __future__ import annotations

import re
from typing import Any

from reasrm.datasets.files import needed

PERMUTATIONS = 128  # the estimated similarity's standard error is at most 0.044
WORDS = 5
#: Thai, Lao, Burmese, Khmer, Japanese and Chinese set no space between words: each character counts as one.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
#: A sentence's marks count as space, so that a question is the same without its question mark. Operators do not: 3+4 is not 3-4.
_MARKS = r""".,;:!?'"…。，、；：！？“”‘’「」"""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_MARKS}{_UNSPACED}]+")


class Near:
    """Texts by name. `threshold` in (0, 1]: the Jaccard similarity of word 5-grams from which two texts are the same."""

    def __init__(self, threshold: float) -> None:
        self._datasketch = needed("datasketch")
        self._threshold = threshold
        # The index proposes and the sketches decide, so it should propose too many. It cannot be built for more than 0.98.
        self._index: Any = self._datasketch.MinHashLSH(min(threshold, 0.98), PERMUTATIONS, weights=(0.1, 0.9))
        self._sketches: dict[str, Any] = {}

    def add(self, name: str, text: str) -> None:
        """Remember `text`, even if it resembles another."""
        self._remember(name, self._sketch(text))

    def seen(self, name: str, text: str) -> str | None:
        """The name of the most similar earlier text, if `text` nearly equals one; else remember `text` and return None."""
        sketch = self._sketch(text)
        like = self._like(sketch)
        if like is None:
            self._remember(name, sketch)
        return like

    def like(self, text: str) -> str | None:
        """The name of the text that `text` nearly equals; `text` is not remembered."""
        return self._like(self._sketch(text))

    def _remember(self, name: str, sketch: Any) -> None:
        if name not in self._sketches:
            self._index.insert(name, sketch)
            self._sketches[name] = sketch

    def _like(self, sketch: Any) -> str | None:
        proposed = [(self._sketches[name].jaccard(sketch), name) for name in self._index.query(sketch)]
        similar = [(similarity, name) for similarity, name in proposed if similarity >= self._threshold]
        return max(similar)[1] if similar else None

    def _sketch(self, text: str) -> Any:
        words = _WORD.findall(text.casefold()) or [text]
        sketch = self._datasketch.MinHash(num_perm=PERMUTATIONS)
        grams = [" ".join(words[at : at + WORDS]) for at in range(max(1, len(words) - WORDS + 1))]
        sketch.update_batch([gram.encode() for gram in set(grams)])
        return sketch

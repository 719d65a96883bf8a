"""Near duplicates by MinHash (Broder 1997) and locality-sensitive hashing, as datasketch has them. Memory grows with the texts."""

from __future__ import annotations

from typing import Any

from reasrm.datasets.files import needed

PERMUTATIONS = 128  # the estimated similarity's standard error is at most 0.044
WORDS = 5


class Near:
    """Texts by name. `threshold` in (0, 1]: the Jaccard similarity of word 5-grams from which two texts are the same."""

    def __init__(self, threshold: float) -> None:
        self._datasketch = needed("datasketch")
        self._threshold = threshold
        self._index: Any = self._datasketch.MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        self._sketches: dict[str, Any] = {}

    def add(self, name: str, text: str) -> str | None:
        """The name of an earlier text that `text` nearly is, the most similar one; else remember it and return None."""
        sketch = self._sketch(text)
        like = self._like(sketch)
        if like is None and name not in self._sketches:
            self._index.insert(name, sketch)
            self._sketches[name] = sketch
        return like

    def like(self, text: str) -> str | None:
        """The name of the text that `text` nearly is, without remembering it."""
        return self._like(self._sketch(text))

    def _like(self, sketch: Any) -> str | None:
        found = [(self._sketches[name].jaccard(sketch), name) for name in self._index.query(sketch)]
        similar = [each for each in found if each[0] >= self._threshold]
        return max(similar)[1] if similar else None

    def _sketch(self, text: str) -> Any:
        words = text.casefold().split()
        sketch = self._datasketch.MinHash(num_perm=PERMUTATIONS)
        grams = [" ".join(words[at : at + WORDS]) for at in range(max(1, len(words) - WORDS + 1))]
        sketch.update_batch([gram.encode() for gram in set(grams)])
        return sketch

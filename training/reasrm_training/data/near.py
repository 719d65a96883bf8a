"""Near duplicates by MinHash (Broder 1997) and locality-sensitive hashing, as datasketch has them."""

from __future__ import annotations

from typing import Any

PERMUTATIONS = 128  # the estimate's standard error is at most 1 / (2 sqrt(128)) = 0.044
WORDS = 5


class NearDuplicates:
    """Texts seen so far. `threshold` is the Jaccard similarity of word 5-grams from which two texts count as the same."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._seen: Any = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        self._sketches: dict[str, Any] = {}

    def add(self, text: str) -> None:
        """Remember `text`."""
        self._remember(_sketch(text))

    def holds(self, text: str) -> bool:
        """Whether a text like `text` was seen."""
        return self._like(_sketch(text))

    def is_new(self, text: str) -> bool:
        """Whether no text like `text` was seen; it is remembered if so."""
        sketch = _sketch(text)
        if self._like(sketch):
            return False
        self._remember(sketch)
        return True

    def _remember(self, sketch: Any) -> None:
        name = str(len(self._sketches))
        self._sketches[name] = sketch
        self._seen.insert(name, sketch)

    def _like(self, sketch: Any) -> bool:
        # The index proposes; the sketches themselves decide.
        return any(self._sketches[name].jaccard(sketch) >= self._threshold for name in self._seen.query(sketch))


def _sketch(text: str) -> Any:
    from datasketch import MinHash

    words = text.split()
    grams = {" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([gram.encode() for gram in sorted(grams)])
    return sketch

"""Variants of the pairs that an audit also gives to a judge. They change something that must not change the verdict.

Pure functions from an example to pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasrm.datasets import Example
from reasrm.types import Message, Pair, Response

NAMES = ("Written by GPT-5.", "Written by a first-year student.")
PADDING = (
    "It is worth noting that the points above cover the request. To summarise what has been said so far, the answer given above "
    "stands as it is, and nothing further needs to be added to it at this point. I hope that this is helpful."
)


def with_suffix(response: Response, text: str) -> Response:
    """`response` with `text` as a last paragraph of its last message."""
    last = response[-1]
    return (*response[:-1], last.model_copy(update={"content": f"{last.content}\n\n{text}".strip()}))


def named(pair: Pair) -> tuple[Pair, Pair]:
    """The pair signed by an impressive and a modest author, and signed the other way round."""
    high, low = NAMES
    return (
        pair.model_copy(update={"a": with_suffix(pair.a, high), "b": with_suffix(pair.b, low)}),
        pair.model_copy(update={"a": with_suffix(pair.a, low), "b": with_suffix(pair.b, high)}),
    )


def padded(pair: Pair) -> tuple[Pair, Pair]:
    """The pair twice: with empty words added to A, and with empty words added to B."""
    return (
        pair.model_copy(update={"a": with_suffix(pair.a, PADDING)}),
        pair.model_copy(update={"b": with_suffix(pair.b, PADDING)}),
    )


def equal(pair: Pair) -> Pair:
    """A response against itself."""
    return pair.model_copy(update={"b": pair.a})


def triples(examples: Sequence[Example], limit: int) -> list[tuple[tuple[Message, ...], tuple[Response, Response, Response]]]:
    """Questions with three different responses each, from rows with three or more responses and from rows that share a question."""
    pools: dict[tuple[Message, ...], list[Response]] = {}
    for example in examples:
        pool = pools.setdefault(example.question, [])
        pool += [response for response in dict.fromkeys(example.responses) if response not in pool]
    questions: list[tuple[tuple[Message, ...], tuple[Response, Response, Response]]] = []
    for question, pool in pools.items():
        for start in range(0, len(pool) - 2, 3):
            questions.append((question, (pool[start], pool[start + 1], pool[start + 2])))
    return questions[:limit]

"""Writing requests with weighted rules. Both replies are drawn in the same way, word by word; more weight of kept rules wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from reasrm_training.world.reasoning import InvalidDraw
from reasrm_training.world.text import FIELDS, PLACES, WORDS

#: Shares of 2 and 3 rules in the order in which the request names them, in percent: any two of three outweigh the third.
WEIGHTS = {2: (60, 40), 3: (40, 35, 25)}


@dataclass(frozen=True, slots=True)
class WordRule:
    """One rule: a place in the reply, the word that it must hold, and the rule's weight in percent."""

    place: str
    word: str
    weight: int


@dataclass(frozen=True, slots=True)
class WritingRequest:
    """A request, its rules, and two replies: their `texts`, and the `words` at each rule's place."""

    key: str
    question: str
    rules: tuple[WordRule, ...]
    texts: tuple[str, str]
    words: tuple[tuple[str, ...], tuple[str, ...]]

    def score(self, side: int) -> int:
        """The weight of the rules that reply `side` keeps, in percent."""
        return sum(rule.weight for rule, word in zip(self.rules, self.words[side], strict=True) if rule.word == word)


NOTE = (
    "Write a note of {n} words. {rules} The rule named first weighs most.",
    "A note of {n} words, please. {rules} The rule named first weighs most.",
)
NOTE_RULE = "Its {place} word is {word}."
CARD = (
    "Fill in a card. {rules} The rule named first weighs most.",
    "Make a card for my party. {rules} The rule named first weighs most.",
)
CARD_RULE = "The {place} is {word}."
NOTE_PLACES = {1: ("first", "last"), 2: ("first", "second", "last"), 3: ("first", "second", "third", "last")}
COUNTS = {3: "three", 4: "four", 5: "five"}


def _kept(rng: Random, word: str, options: tuple[str, ...]) -> str:
    """`word`, or with equal probability another of the same kind, which breaks the rule."""
    return word if rng.random() < 0.5 else rng.choice([o for o in options if o != word])


def notes(rng: Random, level: int) -> WritingRequest:
    """Notes of level + 2 words with rules for the words at named places."""
    n = level + 2
    names = rng.sample(NOTE_PLACES[level], 2 if level == 1 else 3)
    places = [PLACES[name] for name in names]
    pool = rng.sample(WORDS, 12)
    rules = [WordRule(name, word, w) for name, word, w in zip(names, pool, WEIGHTS[len(names)], strict=False)]
    bodies = []
    for _ in range(2):
        body = [rng.choice(pool) for _ in range(n)]
        for p, rule in zip(places, rules, strict=True):
            body[p] = _kept(rng, rule.word, tuple(pool))
        bodies.append(body)
    text = " ".join(NOTE_RULE.format(place=r.place, word=r.word) for r in rules)
    return WritingRequest(
        f"note {sorted((r.place, r.word) for r in rules)}",
        rng.choice(NOTE).format(n=COUNTS[n], rules=text),
        tuple(rules),
        (" ".join(bodies[0]), " ".join(bodies[1])),
        (tuple(bodies[0][p] for p in places), tuple(bodies[1][p] for p in places)),
    )


def cards(rng: Random, level: int) -> WritingRequest:
    """Cards of level + 2 labelled fields in any order, with rules for some of them."""
    names = rng.sample(tuple(FIELDS), level + 2)
    ruled = names[: 2 if level == 1 else 3]
    rules = [WordRule(f, rng.choice(FIELDS[f]), w) for f, w in zip(ruled, WEIGHTS[len(ruled)], strict=True)]
    word_at = {rule.place: rule.word for rule in rules}
    cards = []
    for _ in range(2):
        cards.append(
            {f: _kept(rng, word_at[f], FIELDS[f]) if f in word_at else rng.choice(FIELDS[f]) for f in rng.sample(names, len(names))}
        )
    text = " ".join(CARD_RULE.format(place=r.place, word=r.word) for r in rules)
    return WritingRequest(
        f"card {sorted((r.place, r.word) for r in rules)}",
        rng.choice(CARD).format(rules=text),
        tuple(rules),
        (_card(cards[0]), _card(cards[1])),
        (tuple(cards[0][f] for f in ruled), tuple(cards[1][f] for f in ruled)),
    )


def _card(fields: dict[str, str]) -> str:
    return ", ".join(f"{name} {word}" for name, word in fields.items())


def uneven(request: WritingRequest) -> WritingRequest:
    """`request`, or raise InvalidDraw where its replies are equally good."""
    if request.score(0) == request.score(1):
        raise InvalidDraw
    return request


CHAT: dict[str, Callable[[Random, int], WritingRequest]] = {"notes": notes, "cards": cards}

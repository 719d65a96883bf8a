"""Tasks whose right verdict a program knows: a question, a better and a worse response, and the chain that decides between them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from reasrm_training.world.chat import CHAT, WritingRequest, uneven
from reasrm_training.world.reasoning import REASONING, InvalidDraw
from reasrm_training.world.text import CORES, styled

Split = Literal["train", "heldout"]
Order = Literal["ab", "ba"]
FAMILIES = (*REASONING, *CHAT)
LEVELS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of the evaluation: the symbol that is due, both responses' symbols, a rule's weight in percent and place."""

    due: str
    chosen: str
    rejected: str
    weight: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class WorldTask:
    """A pair whose better side is known. `deliberation` is the reply up to its evaluation, and depends on the question only."""

    id: str
    family: str
    level: int
    task_type: Literal["reasoning", "chat"]
    question: str
    chosen: str
    rejected: str
    deliberation: str
    quotes: tuple[str, str]
    checks: tuple[Check, ...]
    glue: str

    def responses(self, order: Order) -> tuple[str, str]:
        """Responses A and B; the chosen one is A in order "ab"."""
        return (self.chosen, self.rejected) if order == "ab" else (self.rejected, self.chosen)

    def winner(self, order: Order) -> Literal["A", "B"]:
        """The better side in that order."""
        return "A" if order == "ab" else "B"

    def chain(self, order: Order) -> str:
        """A right reply."""
        return f"{self.deliberation}\n{self.evaluation(order)}\n<answer>[[{self.winner(order)}]]</answer>"

    def evaluation(self, order: Order) -> str:
        """The evaluation: quotes of both responses, then check by check."""
        first, second = self.quotes if order == "ab" else reversed(self.quotes)
        seen = [(c, *((c.chosen, c.rejected) if order == "ab" else (c.rejected, c.chosen))) for c in self.checks]
        body = _weighed(seen) if self.task_type == "chat" else _compared(seen, self.glue)
        return f"<eval>\n<quote_A>{self.glue}{first}</quote_A>\n<quote_B>{self.glue}{second}</quote_B>\n{body}\n</eval>"


Comparisons = list[tuple[Check, str, str]]  # a check, and the symbols of A and B in its place


def _compared(seen: Comparisons, glue: str) -> str:
    """Symbol by symbol: the one that is due, A's, B's, and the side that has it where they differ."""
    out = []
    for check, a, b in seen:
        mark = "=" if a == b else "A" if a == check.due else "B"
        out.append(("-" + glue if glue else "") + glue.join((check.due, a, b)) + f" {mark}")
    return "\n".join(out)


def _weighed(seen: Comparisons) -> str:
    """Rule by rule: place and weight, the word that is due beside A's and beside B's, and the side that alone keeps the rule."""
    out = []
    for check, a, b in seen:
        keeps_a, keeps_b = (_yes(word == check.due) for word in (a, b))
        mark = "=" if keeps_a == keeps_b else "A" if keeps_a == "yes" else "B"
        out.append(f"- {check.place} {check.weight}%: {check.due} {a} {keeps_a}, {check.due} {b} {keeps_b} {mark}")
    return "\n".join(out)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def split_of(key: str) -> Split:
    """One key in five is held out; a problem and its mirror images share a key."""
    return "heldout" if int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 5 == 0 else "train"


def _reasoning(rng: Random, family: str, level: int, split: Split, name: str) -> WorldTask:
    here, near = REASONING[family](rng, level)
    if split_of(here.key) != split or len(here.answer) != len(near.answer) or here.answer == near.answer:
        raise InvalidDraw
    core = rng.choice(CORES), rng.choice(CORES)
    return WorldTask(
        id=name,
        family=family,
        level=level,
        task_type="reasoning",
        question=here.question,
        chosen=styled(rng, core[0].format(here.text)),
        rejected=styled(rng, core[1].format(near.text)),
        deliberation=f"<type>Reasoning</type>\n<solution>\n{here.working}\n</solution>",
        quotes=(here.text, near.text),
        checks=tuple(Check(d, d, w) for d, w in zip(here.answer, near.answer, strict=True)),
        glue=here.glue,
    )


def _chat(rng: Random, family: str, level: int, split: Split, name: str) -> WorldTask:
    request: WritingRequest = uneven(CHAT[family](rng, level))
    if split_of(request.key) != split:
        raise InvalidDraw
    good = 0 if request.score(0) > request.score(1) else 1
    items = "\n".join(f"{n}. {r.place} {r.word} ({r.weight}%)" for n, r in enumerate(request.rules, 1))
    texts = request.texts[good], request.texts[1 - good]
    return WorldTask(
        id=name,
        family=family,
        level=level,
        task_type="chat",
        question=request.question,
        chosen=styled(rng, f"Here: {texts[0]}."),
        rejected=styled(rng, f"Here: {texts[1]}."),
        deliberation=f"<type>Chat</type>\n<rubric>\n{items}\n<justify>the request says so</justify>\n</rubric>",
        quotes=texts,
        checks=tuple(
            Check(r.word, c, w, r.weight, r.place)
            for r, c, w in zip(request.rules, request.words[good], request.words[1 - good], strict=True)
        ),
        glue=" ",
    )


def generate(
    seed: int, n: int, split: Split = "train", families: Sequence[str] | None = None, levels: Sequence[int] | None = None
) -> list[WorldTask]:
    """`n` tasks, families in turn, levels at random; the same arguments give the same tasks.

    Raises KeyError for an unknown family.
    """
    names, levels = tuple(families or FAMILIES), tuple(levels or LEVELS)
    tasks = []
    for i in range(n):
        family = names[i % len(names)]
        make = _reasoning if family in REASONING else _chat
        rng = Random(f"{seed}:{split}:{family}:{i}")
        level = rng.choice(levels)
        while True:
            try:
                tasks.append(make(rng, family, level, split, f"{split}-{seed}-{i}"))
                break
            except InvalidDraw:
                continue
    return tasks

"""Oracle chains: the prompts, and which replies are kept. Two passes as in RM-R1 (arXiv 2505.02387, 3.2), or rejection sampling.

The first oracle judges a pair without its label. A pair on which it fails goes to the second oracle, with the label and the
failed chain. A chain is kept only if it decides for the label, has the whole form, and does not reveal that its writer knew
the label. Everything here is a pure function of examples and replies, so that a run resumes from a journal of replies alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reasrm.parsing import ReplyKind, parse
from reasrm.prompts import Pack
from reasrm.types import Ask, Frozen, Message, Order, Side
from reasrm_training.config.endpoints import Oracle
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.oracle.leaks import label_leak
from reasrm_training.rewards import well_formed

Pass = Literal["first", "second"]

CORRECTION = (Path(__file__).parent / "correct.txt").read_text(encoding="utf-8").strip()


class OracleReply(Frozen):
    """An oracle's reply to one request. `truncated` says that it reached its token limit."""

    text: str
    truncated: bool = False


class Chain(Frozen):
    """A kept chain: the prompt that the student will see, and the reply to learn.

    `both_orders` says whether the oracle was also right in the other order; None where it was not asked.
    """

    id: str
    source: str
    subset: str = ""
    winner: Side
    messages: tuple[Message, ...]
    reply: str
    oracle: Pass
    both_orders: bool | None = None


@dataclass(frozen=True, slots=True)
class OracleRequest:
    """A request for one reply. With `order` "ba" the oracle sees the responses in the other order.

    `writer` names the second oracle. So another second oracle gets requests of its own, and those of the first pass stay.
    """

    example: PreferenceExample
    step: Pass
    sample: int = 0
    order: Order = "ab"
    writer: str = ""

    @property
    def key(self) -> str:
        """Its name in journals and batch files, unique within a data set."""
        writer = f"{self.writer}:" if self.writer else ""
        return f"{self.step}:{writer}{self.sample}:{self.order}:{self.example.id}"

    @property
    def shown(self) -> PreferenceExample:
        """The example as the oracle sees it."""
        return self.example if self.order == "ab" else self.example.swapped()


@dataclass(frozen=True, slots=True)
class Examiner:
    """Writes the requests of one recipe and examines the replies. `key` is the secret behind the prompt's fences."""

    oracle: Oracle
    pack: Pack
    key: bytes
    seed: int = 0

    def open_requests(
        self, example: PreferenceExample, replies: Mapping[str, OracleReply], *, at_once: bool = False
    ) -> list[OracleRequest]:
        """The requests to send next, given the replies so far. None are left when the example is finished.

        Samples are requested one after the other, up to the first that is right in both orders; with `at_once`, all of them.
        """
        orders: Sequence[Order] = ("ab", "ba") if self.oracle.samples > 1 else ("ab",)
        missing: list[OracleRequest] = []
        for sample in range(self.oracle.samples):
            requests = [OracleRequest(example, "first", sample, order) for order in orders]
            if self._right_in_all(requests, replies):
                return []
            missing += [request for request in requests if request.key not in replies]
            if missing and not at_once:
                return missing
        if missing or self.chain(example, replies) or self.oracle.second is None:
            return missing
        second = self._second(example)
        return [] if second.key in replies else [second]

    def every_request(self, example: PreferenceExample) -> list[OracleRequest]:
        """Every request that `example` may ever need."""
        orders: Sequence[Order] = ("ab", "ba") if self.oracle.samples > 1 else ("ab",)
        firsts = [OracleRequest(example, "first", sample, order) for sample in range(self.oracle.samples) for order in orders]
        return [*firsts, self._second(example)]

    def ask(self, request: OracleRequest, replies: Mapping[str, OracleReply]) -> Ask:
        """The prompt of `request`. That of a second pass continues from the failed chain, which must be among `replies`."""
        messages = self.pack.render(request.shown.pair, self.key)
        if request.step == "second":
            failed = learnable(replies[OracleRequest(request.example, "first").key].text, self.pack.kind)
            correction = CORRECTION.replace("{{winner}}", request.example.winner)
            messages += (Message(role="assistant", content=failed or "(nothing)"),)
            messages += (Message(role="user", content=correction),)
        return Ask(
            messages=messages,
            temperature=self.oracle.temperature,
            max_tokens=self.oracle.max_tokens,
            seed=None if self.oracle.temperature == 0.0 else self.seed + request.sample,
        )

    def problem(self, request: OracleRequest, reply: OracleReply) -> str | None:
        """Why a reply may not be learned from; None where it may."""
        text = learnable(reply.text, self.pack.kind)
        knew_label = request.step == "second"
        return problem_of(text, request.shown.winner, self.pack.kind, truncated=reply.truncated, knew_label=knew_label)

    def chain(self, example: PreferenceExample, replies: Mapping[str, OracleReply]) -> Chain | None:
        """The chain to learn, if there is one: rather one that is right in both orders, and rather an early sample."""
        good: list[tuple[bool, OracleRequest]] = []
        for sample in range(self.oracle.samples):
            requests = [OracleRequest(example, "first", sample, order) for order in ("ab", "ba")]
            right = [self._right(request, replies) for request in requests]
            good += [(all(right), request) for request, is_right in zip(requests, right, strict=True) if is_right]
        second = self._second(example)
        if not good and self._right(second, replies):
            good.append((False, second))
        if not good:
            return None
        both, request = max(good, key=lambda candidate: candidate[0])  # the first of the best
        messages = self.pack.render(request.shown.pair, self.key)
        reply = learnable(replies[request.key].text, self.pack.kind)
        return chain_of(request.shown, messages, reply, request.step, both if self.oracle.samples > 1 else None)

    def _second(self, example: PreferenceExample) -> OracleRequest:
        return OracleRequest(example, "second", writer=self.oracle.second.writer if self.oracle.second else "")

    def _right(self, request: OracleRequest, replies: Mapping[str, OracleReply]) -> bool:
        reply = replies.get(request.key)
        return reply is not None and self.problem(request, reply) is None

    def _right_in_all(self, requests: Sequence[OracleRequest], replies: Mapping[str, OracleReply]) -> bool:
        return all(self._right(request, replies) for request in requests)


def chain_of(
    example: PreferenceExample, messages: Sequence[Message], reply: str, oracle: Pass, both_orders: bool | None = None
) -> Chain:
    """`reply` as the chain of `example`, whose prompt is `messages`."""
    return Chain(
        id=example.id,
        source=example.source,
        subset=example.subset,
        winner=example.winner,
        messages=tuple(messages),
        reply=reply,
        oracle=oracle,
        both_orders=both_orders,
    )


def learnable(text: str, kind: ReplyKind) -> str:
    """The part of an oracle's text that the student learns: all of it, without the thoughts in packs that do not think."""
    return (text if kind == "free" else text.rpartition("</think>")[2]).strip()


def problem_of(reply: str, label: Side, kind: ReplyKind, *, truncated: bool = False, knew_label: bool = False) -> str | None:
    """Why `reply` may not be learned from: a reason for no verdict, "wrong", "malformed", or "told:PATTERN". None where it may.

    Only a writer who `knew_label` can reveal it.
    """
    reading = parse(reply, kind=kind, truncated=truncated)
    if reading.no_verdict:
        return reading.no_verdict.reason
    if reading.answer != label:
        return "wrong"
    if not well_formed(reply.strip(), kind):
        return "malformed"
    leak = label_leak(reply) if knew_label else None
    return f"told:{leak}" if leak else None

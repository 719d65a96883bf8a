"""Fakes for tests of your own loop without an engine.

judge = EngineJudge(ScriptedCompleter(["<answer>[[A]]</answer>"]), load_pack("rubric"), key=b"")
judge = FixedJudge(lambda pair: 0.9 if "because" in pair.a[0].content else 0.2)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from reasrm.errors import ReasrmError
from reasrm.failures import failed_judgment
from reasrm.types import Ask, Completion, Judgment, NoVerdict, Opinion, Options, Pair, Reading, Usage, Verdict

Reply = str | Completion | ReasrmError


class ScriptedCompleter:
    """A `Completer` that answers from a script: replies in turn (the last one repeats), or a function of the ask.

    A reply is a text, a whole `Completion`, or an error of reasrm, which is raised. `asks` holds the received requests.
    """

    def __init__(self, script: Iterable[Reply] | Callable[[Ask], Reply]) -> None:
        self.asks: list[Ask] = []
        self._reply = script if callable(script) else _in_turn(iter(script))

    async def complete(self, ask: Ask) -> Completion:
        """Return or raise the script's next entry."""
        self.asks.append(ask)
        reply = self._reply(ask)
        if isinstance(reply, ReasrmError):
            raise reply
        if isinstance(reply, Completion):
            return reply
        words = sum(len(message.content.split()) for message in ask.messages)
        usage = Usage(prompt_tokens=words, completion_tokens=len(reply.split()), requests=1)
        return Completion(text=reply, usage=usage, model="scripted", weight_version="0")


def _in_turn(replies: Iterator[Reply]) -> Callable[[Ask], Reply]:
    last: list[Reply] = []

    def next_reply(_: Ask) -> Reply:
        for reply in replies:
            last[:] = [reply]
            break
        if not last:
            raise ValueError("the script holds no reply")
        return last[0]

    return next_reply


class FixedJudge:
    """A `PairJudge` whose probability that A is better is a function of the pair; None gives no verdict. `judged` counts calls.

    `reasrm.failures` decides what an error of the function becomes.
    """

    def __init__(self, probability_a: Callable[[Pair], float | None]) -> None:
        self._probability_a = probability_a
        self.judged = 0

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """The fixed judgment of `pair`: both orders agree."""
        self.judged += 1
        try:
            probability = self._probability_a(pair)
        except ReasrmError as error:
            return failed_judgment(error)
        if probability is None or probability == 0.5:
            outcome = NoVerdict(reason="no_answer" if probability is None else "split")
        else:
            outcome = Verdict(winner="A" if probability > 0.5 else "B", probability_a=probability, source="logprobs")
        orders = ("ab", "ba") if options.orders == "both" else ("ab",)
        opinions = tuple(Opinion(order=order, outcome=outcome, reading=Reading(), reply="") for order in orders)
        return Judgment(outcome=outcome, opinions=opinions, model="fixed", weight_version="0")

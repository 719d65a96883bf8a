"""What callers send. A request is a pair, the fields of `Options` where they differ from the default, and an envelope."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field

from reasrm.types import Options, Pair

#: Without `max_tokens` a reply may take this part of the engine's context, and no more than the default of `Options`.
REPLY_SHARE = 2


class RequestEnvelope(Options):
    """The fields of every request: how to judge, `timeout_s` in seconds, and its sender's names.

    `run` names the training run or study, `subset` a part of it.
    """

    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        default=None, description="Seconds that the request may take; the gateway has a limit of its own."
    )
    run: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="The training run or study that sends the request."
    )
    subset: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(default=None, description="A part of that run.")

    def options(self, max_context: int) -> Options:
        """The options proper, for an engine whose context holds `max_context` tokens (0 = unknown)."""
        values = {name: getattr(self, name) for name in Options.model_fields}
        if max_context and "max_tokens" not in self.model_fields_set:
            values["max_tokens"] = max(1, min(self.max_tokens, max_context // REPLY_SHARE))
        return Options.model_construct(**values)  # validated as part of this request

    def deadline(self, limit_s: float) -> float:
        """The deadline of the answer, as a time of the running loop's clock; the gateway allows `limit_s` seconds."""
        return asyncio.get_running_loop().time() + min(self.timeout_s or limit_s, limit_s)


class JudgeRequest(Pair, RequestEnvelope):
    """One pair to judge."""

    @property
    def pair(self) -> Pair:
        """The pair proper."""
        return Pair.model_construct(question=self.question, a=self.a, b=self.b, rubric=self.rubric)


class BatchRequest(RequestEnvelope):
    """Many pairs to judge by the same options."""

    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)] = Field(description="The pairs, all judged by the same options.")


_PAIR: dict[str, Any] = {
    "question": "A shop sells pens at 3 for 2 euros. What do 12 pens cost?",
    "a": "12 pens are 4 times 3 pens, so they cost 4 * 2 = 8 euros.",
    "b": "12 * 2 = 24 euros.",
}
_TRAJECTORY: dict[str, Any] = {
    "question": [
        {"role": "system", "content": "You are a careful travel assistant."},
        {"role": "user", "content": "How warm is it in Lisbon?"},
    ],
    "a": [
        {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": '{"city": "Lisbon"}'}]},
        {"role": "tool", "name": "weather", "content": "21 C"},
        {"role": "assistant", "content": "It is 21 degrees in Lisbon."},
    ],
    "b": "It is usually warm there.",
    "rubric": "1. The answer rests on a measurement (70%)\n2. It is short (30%)",
    "timeout_s": 60,
}
JUDGE_EXAMPLES = {
    "a question with two answers": {"value": _PAIR},
    "five votes": {"value": _PAIR | {"votes": 5, "temperature": 1.0}},
    "a conversation with a tool, and a rubric of one's own": {"value": _TRAJECTORY},
}
BATCH_EXAMPLES = {"two pairs": {"value": {"pairs": [_PAIR, {"question": "Is 7 prime?", "a": "Yes.", "b": "No."}], "orders": "ab"}}}

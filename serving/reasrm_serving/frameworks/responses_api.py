"""OpenAI's Responses API as NeMo Gym uses it: inputs and outputs read into questions and responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from reasrm.messages import text_in
from reasrm.rewards.texts import prompt_of, response_of, with_thought
from reasrm.rewards.thinking import Thinking
from reasrm_serving.cohorts.result import Text
from reasrm_serving.errors import Problem
from reasrm_serving.frameworks.common import question_text, response_text


def input_question(given: Any, field: str, instructions: Any = None) -> Text:
    """A Responses input, a text or items, as a question; `instructions` are its system prompt. Raises `Problem` with the field."""
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else _turns(given, field)
    if isinstance(instructions, str) and instructions.strip():
        turns = [{"role": "system", "content": instructions}, *turns]
        if len(turns) > 1 and turns[1]["role"] == "system":
            turns[0:2] = [{"role": "system", "content": f"{instructions}\n\n{turns[1]['content']}"}]
    if isinstance(given, str) and len(turns) == 1:
        return question_text(prompt_of(given).question, field)
    return question_text(prompt_of(turns).question, field)


def output_response(response: Mapping[str, Any], field: str, thinking: Thinking) -> Text:
    """The text of a Responses object's output messages, without calls; reasoning only where thoughts are kept.

    Raises `Problem` where it has no output.
    """
    items = _items(response.get("output"), f"{field}.output")
    texts = [text_in(item.get("content")) for item in items if item.get("type", "message") == "message"]
    text = "\n".join(filter(None, texts))
    if thinking == "keep":
        thoughts = [
            text_in(item.get("content")) or text_in(item.get("summary")) for item in items if item.get("type") == "reasoning"
        ]
        text = with_thought(text, "\n".join(filter(None, thoughts)))
    return response_text(response_of(text, thinking=thinking), field)


def _turns(given: Any, field: str) -> list[dict[str, Any]]:
    return [_turn(item) for item in _items(given, field) if item.get("type") != "reasoning"]


def _turn(item: Mapping[str, Any]) -> dict[str, Any]:
    """One item of a Responses input as a message."""
    match item.get("type"):
        case "function_call":
            return {"role": "assistant", "tool_calls": [{"name": item.get("name"), "arguments": item.get("arguments", "{}")}]}
        case "function_call_output":
            return {"role": "tool", "content": text_in(item.get("output"))}
        case _:
            role = item.get("role")
            return {"role": "system" if role == "developer" else role, "content": text_in(item.get("content"))}


def _items(value: Any, field: str) -> Sequence[Mapping[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else None
    if items is None or not all(isinstance(item, dict) for item in items):
        raise Problem(422, "invalid", f"{field} must be a list of objects, as in OpenAI's Responses API", field)
    return items

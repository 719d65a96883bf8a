"""Messages in OpenAI's shapes are read as ours are; what the judge cannot read is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from reasrm.messages import Message
from reasrm.types import Pair

FLAT = {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": '{"city": "Zürich"}', "id": "c1"}]}


def nested(arguments: Any) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    "message",
    [
        nested('{"city": "Zürich"}'),
        nested({"city": "Zürich"}),
        {"role": "assistant", "tool_calls": [{"name": "weather", "arguments": {"city": "Zürich"}, "id": "c1"}]},
    ],
    ids=["as the API writes it", "as chat templates want it", "flat"],
)
def test_tool_calls_come_nested_or_flat_with_arguments_as_text_or_object(message: dict[str, Any]) -> None:
    assert Message.model_validate(message) == Message.model_validate_json(json.dumps(message)) == Message.model_validate(FLAT)


def test_a_trajectory_as_openai_writes_it_is_a_response() -> None:
    done = {
        "role": "assistant",
        "content": [{"type": "text", "text": "It is"}, {"type": "text", "text": "21 C."}],
        "tool_calls": None,
    }
    pair = Pair.of("How warm?", [nested("{}"), {"role": "tool", "tool_call_id": "c1", "content": "21"}, done], "Warm.")
    assert pair.a[0].tool_calls[0].name == "weather"
    assert pair.a[-1] == Message(role="assistant", content="It is\n21 C.")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"role": "assistant", "content": None}, "the assistant message is empty"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "valid string"),
        ({"role": "assistant", "tool_calls": [{"type": "function", "function": {"arguments": "{}"}}]}, "name"),
        ({"role": "assistant", "tool_calls": [{"type": "function", "function": "weather"}]}, "name"),
        ({"role": "assistant", "tool_calls": "weather"}, "tuple"),
        ({"role": "assistant", "tool_calls": ["weather"]}, "ToolCall"),
    ],
)
def test_a_value_that_is_not_a_message_is_refused(message: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Message.model_validate(message)

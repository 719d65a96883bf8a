"""The messages of questions and responses. Ours are flat; OpenAI's, with nested calls and null contents, are accepted too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Role = Literal["system", "user", "assistant", "tool"]
#: The text that stands for an empty response. Writing nothing is an answer too, and mostly the worst of its group.
EMPTY = "(the response is empty)"


class Frozen(BaseModel):
    """Base of every noun: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(Frozen):
    """A call that an assistant made; `arguments` is the JSON text as the model wrote it."""

    name: str = Field(min_length=1, description="The tool that is called.")
    arguments: str = Field(default="{}", description="The JSON text of the arguments, as the model wrote it.")
    id: str | None = Field(default=None, description="The identifier that the result refers to.")


def plain_text(content: Any) -> Any:
    """OpenAI's content as one text: null is none, and text parts are lines. Content with anything but text is left as it is."""
    if content is None:
        return ""
    if not isinstance(content, list | tuple):
        return content
    parts = cast("Sequence[Any]", content)
    texts = [cast("Mapping[str, Any]", part).get("text") if isinstance(part, Mapping) else part for part in parts]
    return "\n".join(cast("list[str]", texts)) if all(isinstance(text, str) for text in texts) else parts


def text_in(content: Any) -> str:
    """The text in OpenAI's content, without parts that are not text, such as images."""
    if isinstance(content, str):
        return content
    parts = cast("Sequence[Any]", content) if isinstance(content, Sequence) else ()
    texts = (cast("Mapping[str, Any]", part).get("text") if isinstance(part, Mapping) else part for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str))


def flat_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call as OpenAI nests it (`{"type": "function", "function": {...}}`), or flat, as the fields of a `ToolCall`."""
    fields = dict(call)
    if isinstance(fields.get("function"), Mapping):
        fields |= fields.pop("function")
        fields.pop("type", None)
    if not isinstance(fields.get("arguments", ""), str):  # chat templates want parsed arguments
        fields["arguments"] = json.dumps(fields["arguments"], ensure_ascii=False)
    return fields


def _flat_calls(calls: Any) -> Any:
    if calls is None:
        return ()
    if isinstance(calls, str) or not isinstance(calls, Sequence):
        return calls
    return [
        flat_call(cast("Mapping[str, Any]", call)) if isinstance(call, Mapping) else call for call in cast("Sequence[Any]", calls)
    ]


class Message(Frozen):
    """One turn. A turn of an assistant may hold tool calls and no text; a tool's result has role "tool"."""

    role: Role = Field(description="Who speaks: system, user, assistant, or tool for the result of a call.")
    content: Annotated[str, BeforeValidator(plain_text)] = Field(default="", description="The text of the turn.")
    tool_calls: Annotated[tuple[ToolCall, ...], BeforeValidator(_flat_calls)] = Field(
        default=(), description="Calls that an assistant made in this turn."
    )
    name: str | None = Field(default=None, description="The name of the tool whose result this is.")
    tool_call_id: str | None = Field(default=None, description="The call whose result this is.")

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of role {self.role!r} cannot call tools")
        if not self.content.strip() and not self.tool_calls and self.role != "tool":
            raise ValueError(f"the {self.role} message is empty")
        return self


def _as_messages(role: Role, what: str) -> Any:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value.strip():  # checked here, because the caller wrote a text and no message
            raise ValueError(f"the {what} is empty")
        return ({"role": role, "content": value},)

    return convert


def _check_question(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if not messages:
        raise ValueError("the question is empty")
    if messages[-1].role not in ("user", "tool"):
        raise ValueError(f"the question must end with a user or tool message, not {messages[-1].role!r}")
    if len(messages) > 1 and any(message.role == "system" for message in messages[1:]):
        raise ValueError("a system message may only stand first")
    return messages


def _check_response(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if not messages:
        raise ValueError("the response is empty")
    if messages[0].role != "assistant" or messages[-1].role != "assistant":
        raise ValueError("a response starts and ends with an assistant message")
    if len(messages) > 2 and any(message.role == "system" for message in messages):
        raise ValueError("a response holds no system message")
    return messages


#: How a question or a response may be written.
Text = str | tuple[Message, ...]
#: A question: a string (one user turn) or messages that end with a user or tool turn.
Question = Annotated[
    tuple[Message, ...],
    BeforeValidator(_as_messages("user", "question"), json_schema_input_type=Text),
    AfterValidator(_check_question),
    Field(min_length=1),
]
#: A response: a string (one assistant turn) or a trajectory of assistant, tool and user turns.
Response = Annotated[
    tuple[Message, ...],
    BeforeValidator(_as_messages("assistant", "response"), json_schema_input_type=Text),
    AfterValidator(_check_response),
    Field(min_length=1),
]

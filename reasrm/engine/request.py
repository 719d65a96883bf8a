"""An `Ask` as the JSON of a chat-completion request, without the arguments that this server refuses."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from reasrm.engine.abilities import EngineInfo, PatternArgument
from reasrm.errors import CannotContinue
from reasrm.types import Ask

log = logging.getLogger("reasrm.engine")
#: Arguments that not every server takes. Those of one group only make sense together.
_GROUPS = (
    ("continue_final_message", "add_generation_prompt"),
    ("logprobs", "top_logprobs"),
    ("stream_options",),
    ("seed",),
    ("rid",),
    ("stop",),  # the reply is cut here too
    ("regex",),
    ("structured_outputs",),
    ("guided_regex",),
    ("grammar",),
)
CONTINUING = _GROUPS[0]
FEW = 5  # alternatives per token: the most that some hosted APIs give
GO_ON = "Your reply has already begun with the text below. Go on where it ends, and do not repeat it."
_LITERAL = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9])+")


def payload_of(ask: Ask, info: EngineInfo, rid: str, *, logprobs: bool = True) -> dict[str, Any]:
    """The body of a request to `info` for a completion of `ask`; `rid` names the request to SGLang."""
    abilities = info.abilities
    messages = [{"role": message.role, "content": message.content} for message in ask.messages]
    payload: dict[str, Any] = {
        "model": info.model,
        "messages": messages,
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "max_tokens": ask.max_tokens,
    }
    if ask.prefill:
        messages.append({"role": "assistant", "content": ask.prefill})
        payload |= {"continue_final_message": True, "add_generation_prompt": False}
    if logprobs and abilities.logprobs is not False:
        payload |= {"logprobs": True, "top_logprobs": min(ask.alternatives, abilities.alternatives or ask.alternatives)}
    if ask.seed is not None:
        payload["seed"] = ask.seed
    if ask.stop:
        payload["stop"] = list(ask.stop)
    if ask.pattern is not None and abilities.pattern is not None:
        payload |= constraint(ask.pattern, abilities.pattern)
    if abilities.aborts:
        payload["rid"] = rid
    return payload


def in_words(ask: Ask) -> Ask:
    """`ask` for an engine that starts a new reply after a begun one: the last message says how the reply has begun."""
    *before, last = ask.messages
    told = last.model_copy(update={"content": f"{last.content}\n\n{GO_ON}\n\n{ask.prefill}"})
    return ask.model_copy(update={"messages": (*before, told), "prefill": ""})


def constraint(pattern: str, argument: PatternArgument) -> dict[str, Any]:
    """The argument that makes an engine write what `pattern` matches; none where the engine cannot express the pattern."""
    if argument == "structured_outputs":
        return {argument: {"regex": pattern}}
    if argument != "grammar":
        return {argument: pattern}
    grammar = gbnf_of(pattern)
    return {} if grammar is None else {argument: grammar}


def gbnf_of(pattern: str) -> str | None:
    """`pattern` as a grammar of llama.cpp, if it is one literal text or alternatives of literal texts; else None."""
    inner = re.fullmatch(r"\((?:\?:)?([^()]*)\)", pattern)
    texts = re.split(r"(?<!\\)\|", inner[1] if inner else pattern)
    if not all(_LITERAL.fullmatch(text) for text in texts):
        return None
    plain = [re.sub(r"\\(.)", r"\1", text) for text in texts]
    quoted = ['"' + text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"' for text in plain]
    return f"root ::= {' | '.join(quoted)}"


def overlaid(payload: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`payload` with `over` laid over it; None there takes a key away."""
    return {name: value for name, value in (payload | dict(over)).items() if value is not None}


class Dialect:
    """The arguments that one server refuses, learnt from its answers.

    `continues_unasked`: it continues a trailing assistant message without the arguments that ask for it.
    """

    def __init__(self, url: str) -> None:
        self.continues_unasked = False
        self._url = url
        self._refused: set[str] = set()
        self._most_alternatives: int | None = None
        self._new_name = False

    def takes(self, name: str) -> bool:
        """Whether the server has not refused the argument."""
        return name not in self._refused

    def fitted(self, payload: dict[str, Any]) -> dict[str, Any]:
        """`payload` in the form that the server takes.

        Raises `CannotContinue` if the server cannot continue a reply. It would start a new reply, and the given beginning
        would be taken for the judge's own.
        """
        if payload.get("continue_final_message") and not self.continues_unasked and not self._refused.isdisjoint(CONTINUING):
            raise self.cannot_continue(f"it refuses {' and '.join(CONTINUING)}")
        fitted = {name: value for name, value in payload.items() if name not in self._refused}
        if self._most_alternatives is not None and "top_logprobs" in fitted:
            fitted["top_logprobs"] = min(fitted["top_logprobs"], self._most_alternatives)
        if self._new_name and "max_tokens" in fitted:
            fitted["max_completion_tokens"] = fitted.pop("max_tokens")
        return fitted

    def cannot_continue(self, why: str) -> CannotContinue:
        """The error for a reply that was begun for a server that cannot continue it."""
        return CannotContinue(
            f"the engine at {self._url} cannot continue a reply ({why}): a verdict cannot be forced there; use SGLang, vLLM or "
            "llama.cpp for that"
        )

    def learn(self, words: str, payload: Mapping[str, Any]) -> bool:
        """Whether `words`, the server's refusal of `payload`, name an argument that can be left out or changed from then on."""
        if "max_tokens" in payload and "max_completion_tokens" in words:
            self._new_name = True
            log.warning("%s wants max_completion_tokens instead of max_tokens", self._url)
            return True
        asked = payload.get("top_logprobs", 0)
        if asked > FEW and re.search(r"logprobs", words):
            allowed = [int(number) for number in re.findall(r"\d+", words) if 0 < int(number) < asked]
            self._most_alternatives = max(allowed, default=FEW)
            log.warning("%s gives no %d alternatives per token: %d from now on", self._url, asked, self._most_alternatives)
            return True
        for group in _GROUPS:
            if any(name in payload and re.search(rf"\b{name}\b", words) for name in group):
                self._refused.update(group)
                log.warning("%s refuses %s: requests leave it out from now on", self._url, " and ".join(group))
                return True
        return False

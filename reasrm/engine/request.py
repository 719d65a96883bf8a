"""An `Ask` as the JSON of a chat-completion request, without the arguments that this server refuses."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from reasrm.engine.reply import EngineInfo
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
)
_CONTINUING = _GROUPS[0]


def payload_of(ask: Ask, info: EngineInfo, rid: str, *, logprobs: bool = True) -> dict[str, Any]:
    """The body of a request to `info` for a completion of `ask`; `rid` names the request to SGLang."""
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
    if logprobs:
        payload |= {"logprobs": True, "top_logprobs": ask.alternatives}
    if ask.seed is not None:
        payload["seed"] = ask.seed
    if ask.stop:
        payload["stop"] = list(ask.stop)
    if info.sglang:
        payload["rid"] = rid
    return payload


def overlaid(payload: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`payload` with `over` laid over it; None there takes a key away."""
    return {name: value for name, value in (payload | dict(over)).items() if value is not None}


class Dialect:
    """The arguments that one server refuses, learnt from its answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._refused: set[str] = set()

    def fitted(self, payload: dict[str, Any]) -> dict[str, Any]:
        """`payload` without the arguments that the server refuses.

        Raises `CannotContinue` if the server cannot continue a reply. It would start a new reply, and the given beginning
        would be taken for the judge's own.
        """
        if not self._refused:
            return payload
        if payload.get("continue_final_message") and not self._refused.isdisjoint(_CONTINUING):
            raise CannotContinue(
                f"the engine at {self._url} cannot continue a reply (it refuses {' and '.join(_CONTINUING)}): judge without "
                "a rubric or deliberation of your own and with reuse off, or use SGLang or vLLM"
            )
        return {name: value for name, value in payload.items() if name not in self._refused}

    def learn(self, words: str, payload: Mapping[str, Any]) -> bool:
        """Whether `words`, the server's refusal of `payload`, name an optional argument. It is left out from then on."""
        for group in _GROUPS:
            if any(name in payload and re.search(rf"\b{name}\b", words) for name in group):
                self._refused.update(group)
                log.warning("%s refuses %s: requests leave it out from now on", self._url, " and ".join(group))
                return True
        return False

"""An engine whose verdicts are a function of the texts alone: "answer 3" is two logits better than "answer 1".

Run by itself, `python -m tests.serving.scripted_engine PORT VERSION PAUSE_S CONTEXT`, it is a server that may be killed.
"""

from __future__ import annotations

import asyncio
import math
import re
import sys
from collections import deque
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

NUMBER = re.compile(r"answer (-?\d+(?:\.\d+)?)")
SHOWN = re.compile(r"\[response ([AB])[^\]]*\]\n(.*?)\n\[end of response \1", re.DOTALL)


def strength(text: str) -> float:
    """The strength of a response for the scripted judge, in logits; without a number it is the length, modulo 7, minus 9."""
    match = NUMBER.search(text)
    return float(match.group(1)) if match else len(text) % 7 - 9.0


class ScriptedEngine:
    """Speaks OpenAI's chat completions. `pause_s` makes it slow; `calls` counts completions, `texts` holds the latest prompts,
    `conversations` all of their messages.

    `down` makes it answer 503, or with this status. A prompt of more than `context` tokens, at four characters each, is
    refused in SGLang's words.
    """

    def __init__(self, version: str = "v1", pause_s: float = 0.0, context: int = 8192) -> None:
        self.context = context
        self.calls = 0
        self.down: bool | int = False
        self.pause_s = pause_s
        self.version = version
        self.texts: deque[str] = deque(maxlen=100)
        self.conversations: deque[str] = deque(maxlen=100)
        self.loaded: list[str] = []
        self.refuses = ""  # new weights, and why
        self.app = FastAPI()
        self.app.add_api_route("/v1/models", self._models)
        self.app.add_api_route("/calls", self._calls)
        self.app.add_api_route("/model_info", self._info)
        self.app.add_api_route("/v1/chat/completions", self._complete, methods=["POST"])
        self.app.add_api_route("/update_weights_from_disk", self._load, methods=["POST"])
        self.url = ""

    async def _models(self) -> Any:
        return {"data": [{"id": "scripted", "max_model_len": self.context}]}

    async def _calls(self) -> int:
        return self.calls

    async def _info(self) -> Any:
        return {"model_path": "scripted", "weight_version": self.version}

    async def _load(self, request: Request) -> Any:
        body = await request.json()
        if self.refuses:
            return {"success": False, "message": self.refuses}
        self.loaded.append(body["model_path"])
        self.version = body["weight_version"]
        return {"success": True, "message": "ok"}

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        if self.down:
            return JSONResponse({"message": "down"}, 503 if self.down is True else self.down)
        length = sum(len(message["content"]) for message in body["messages"]) // 4
        if length > self.context:
            reason = f"The input ({length} tokens) is longer than the model's context length ({self.context} tokens)."
            return JSONResponse({"object": "error", "message": reason}, 400)
        self.calls += 1
        user = next(message for message in reversed(body["messages"]) if message["role"] == "user")
        self.texts.append(user["content"])
        self.conversations.append("\n".join(message["content"] for message in body["messages"]))
        first, second = (strength(shown[-1]) for shown in SHOWN.findall(user["content"]))
        probability = 1 / (1 + math.exp(second - first - 0.3))
        letter, twin = ("A", "B") if probability > 0.5 else ("B", "A")
        top = [{"token": letter, "logprob": math.log(max(probability, 1 - probability))},
               {"token": twin, "logprob": math.log(min(probability, 1 - probability))}]  # fmt: skip
        text = f"<type>Chat</type><rubric>1. larger (100%)</rubric><eval>seen</eval><answer>[[{letter}]]</answer>"
        tokens = [{"token": text.partition("[[")[0] + "[[", "logprob": 0.0, "top_logprobs": []},
                  {"token": letter, "logprob": top[0]["logprob"], "top_logprobs": top},
                  {"token": "]]</answer>", "logprob": 0.0, "top_logprobs": []}]  # fmt: skip
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": {"content": tokens},
        }
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        return JSONResponse({"choices": [choice], "usage": usage, "metadata": {"weight_version": self.version}})


if __name__ == "__main__":
    scripted = ScriptedEngine(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    uvicorn.run(scripted.app, port=int(sys.argv[1]), log_level="warning", access_log=False)

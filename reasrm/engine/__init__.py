"""The engine seam over HTTP: SGLang, or any server that speaks OpenAI's chat completions.

http_engine.py   `HttpEngine`, a `Completer` over one server
abilities.py     `Abilities`, what a server can do, and `EngineInfo`, what it serves
recognition.py   which server it is, by its pages
connection.py    requests with retries, streams
request.py       an `Ask` as the JSON of a request, without the arguments that a server has refused
reply.py         the JSON of a reply, plain or streamed, as a `Completion`
cutting.py       where a reply ends although its engine goes on
refusal.py       a server's refusals and broken connections as errors
"""

from reasrm.engine.abilities import Abilities, EngineInfo, common
from reasrm.engine.connection import IDLE_S
from reasrm.engine.http_engine import HttpEngine
from reasrm.engine.reply import TAIL_TOKENS, HttpReply, completion_of
from reasrm.engine.request import overlaid

__all__ = [
    "IDLE_S",
    "TAIL_TOKENS",
    "Abilities",
    "EngineInfo",
    "HttpEngine",
    "HttpReply",
    "common",
    "completion_of",
    "overlaid",
]

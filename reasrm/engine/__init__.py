"""The engine seam over HTTP: SGLang, or any server that speaks OpenAI's chat completions.

http_engine.py   `HttpEngine`, a `Completer` over one server
request.py       an `Ask` as the JSON of a request, without the arguments that a server has refused
reply.py         the JSON of a reply, plain or streamed, as a `Completion`
refusal.py       a server's refusals and broken connections as errors
"""

from reasrm.engine.http_engine import IDLE_S, HttpEngine
from reasrm.engine.reply import TAIL_TOKENS, EngineInfo, HttpReply, completion_of
from reasrm.engine.request import overlaid

__all__ = ["IDLE_S", "TAIL_TOKENS", "EngineInfo", "HttpEngine", "HttpReply", "completion_of", "overlaid"]

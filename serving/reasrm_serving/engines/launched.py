"""An engine that the gateway starts: `reasrm serve --launch MODEL`, and the judge that comes with the package.

It is ready, with the beginning of the prompt pack in the prefix cache of every slot, before the gateway says that it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from reasrm.engine import EngineInfo
from reasrm.engine.abilities import KNOWN
from reasrm.errors import EngineUnreachable, InputError
from reasrm.launch import GgufFile, ServerProcess, free_port
from reasrm.launch.digest import version_of
from reasrm.launch.hub import ModelFolder, find_model
from reasrm.launch.llama_cpp import llama_server
from reasrm.launch.sglang import check_sglang, judging_flags, sglang_server
from reasrm.prompts import Pack, load_pack
from reasrm.prompts.choice import pack_for
from reasrm.types import Pair
from reasrm_serving.engines.client import EngineClient
from reasrm_serving.engines.domain import FILE as DOMAIN_FILE
from reasrm_serving.engines.domain import Domain, load_domain
from reasrm_serving.settings import Settings

log = logging.getLogger("reasrm.serving")
REPLY_TOKENS = 512  # the least room for a reply behind the prompt pack
FIRST = Pair.of("?", "?", "?")


@dataclass(frozen=True, slots=True)
class LaunchedEngine:
    """A running engine, its prompt pack and its domain. `info` is None where the engine itself says what it serves (SGLang).

    `judge` says whether reasrm trained the model as a judge.
    """

    process: ServerProcess
    url: str
    name: str
    pack: Pack
    domain: Domain | None = None
    judge: bool = False
    info: EngineInfo | None = None
    slots: int = 1
    key: str | None = None

    def warm(self) -> None:
        """Read the beginning of the prompt pack in every slot. Raises `httpx.HTTPError` where the engine is gone."""
        started = time.monotonic()
        with self._http() as http, ThreadPoolExecutor(self.slots) as pool:
            for reading in [pool.submit(self._read, http, slot) for slot in range(self.slots)]:
                reading.result()
        log.info("%s has read the prompt pack %s in %.1f s", self.name, self.pack.name, time.monotonic() - started)

    def check_prompt(self, context: int) -> None:
        """Raise `InputError` where llama.cpp with this model's template and so many tokens of context cannot take the pack."""
        with self._http() as http:
            rendered = http.post("/apply-template", json={"messages": self._messages})
            prompt = rendered.json().get("prompt", "") if rendered.status_code == 200 else ""
            if not prompt or (self.pack.system or "") not in prompt:
                raise InputError(
                    f"the chat template of {self.name} does not take the messages of the prompt pack {self.pack.name}: choose "
                    f"another pack (--prompts) or model; it said {rendered.text[:200]}",
                    field="prompts",
                )
            count = len(http.post("/tokenize", json={"content": prompt}).json()["tokens"])
        if count + REPLY_TOKENS > context:
            raise InputError(
                f"the prompt pack {self.pack.name} takes {count:,} tokens and a reply {REPLY_TOKENS}, and the context of "
                f"{self.name} has {context:,}: choose a larger --context, a shorter pack (--prompts) or another model",
                field="context",
            )

    def _read(self, http: httpx.Client, slot: int) -> None:
        body = {"model": self.name, "messages": self._messages, "max_tokens": 1, "temperature": 0.0}
        if self.info is not None:
            body["id_slot"] = slot
        reply = http.post("/v1/chat/completions", json=body)
        if reply.status_code != 200:
            raise InputError(f"{self.name} cannot judge with the prompt pack {self.pack.name}: {reply.text[:300]}", field="prompts")

    def _http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=None, trust_env=False)  # noqa: S113 - a large model reads for long

    @property
    def _messages(self) -> list[dict[str, Any]]:
        messages = self.pack.render(FIRST, b"warm-up", glance=not self.pack.reasoning)
        return [{"role": message.role, "content": message.content} for message in messages]


class LaunchedClient(EngineClient):
    """The connections to a launched llama.cpp, whose model and weights are known. After a restart it is warmed again."""

    def __init__(self, launched: LaunchedEngine, info: EngineInfo, *, timeout_s: float, show_words: bool) -> None:
        super().__init__(launched.url, model=None, api_key=launched.key, timeout_s=timeout_s, show_words=show_words)
        self._launched, self._warmed = launched, launched.process.starts
        self._info = self._served = info
        self._warming: asyncio.Task[None] | None = None

    async def load_weights(self, path: str, weight_version: str) -> EngineInfo:
        """Raises `InputError`: llama.cpp keeps its weights."""
        raise InputError("llama.cpp cannot move to other weights while it runs: start the gateway with the new file", field="path")

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """What is served, which never changes. Raises `EngineError` where the server does not answer and `refresh` asks it."""
        if refresh:
            await self._request("GET", "/health", None)
            if self._launched.process.starts != self._warmed:
                self._warmed = self._launched.process.starts
                self._warming = asyncio.create_task(self._warm())
        return self._served

    async def _warm(self) -> None:
        with suppress(httpx.HTTPError, InputError):  # it is slower then, and the next request says what is wrong
            await asyncio.to_thread(self._launched.warm)


@contextmanager
def launched(settings: Settings) -> Generator[LaunchedEngine | None]:
    """The engine that `settings` ask for, for the length of a `with`; None where its engines run already.

    Raises `InputError` for a model that cannot judge here, and `EngineUnreachable` where the engine does not start.
    """
    if settings.launches is None:
        yield None
        return
    started = time.monotonic()
    model = find_model(settings.launches)
    if isinstance(model, ModelFolder) and settings.embedded:
        message = f"--model {model.path}: this folder has no GGUF file; make one: reasrm train gguf {model.path}"
        raise InputError(message, field="model")
    opened = _llama_cpp(model, settings) if isinstance(model, GgufFile) else _sglang(model, settings)
    with opened.process:
        try:
            if opened.info is not None:
                opened.check_prompt(opened.info.max_context)
            opened.warm()
        except httpx.HTTPError as error:
            raise EngineUnreachable(f"{opened.process.name} failed at its first prompt ({error}):\n{opened.process.tail}") from None
        log.info("%s is ready after %.1f s", opened.process.name, time.monotonic() - started)
        yield opened


def _llama_cpp(model: GgufFile, settings: Settings) -> LaunchedEngine:
    folder, arguments = model.path.parent, settings.engine_arguments
    domain = load_domain(folder)
    server = llama_server(model, slots=settings.slots, context=settings.context, arguments=arguments)
    deciding = [*model.parts, *(file for file in (folder / DOMAIN_FILE,) if file.is_file())]
    version = version_of(deciding, settings.state_dir.expanduser(), more=sorted(settings.engine_arg))
    log.info("starting llama.cpp with %s: %d slots of %s tokens", model.name, server.slots, f"{server.context:,}")
    return LaunchedEngine(
        process=server.process(_log_line),
        url=server.url,
        name=model.name,
        pack=_pack(settings, model.name, folder, domain, model.pack),
        domain=domain,
        judge=model.judge,
        info=EngineInfo(model.name, version, server.context, replace(KNOWN["llama.cpp"], slots=server.slots, probed=True)),
        slots=server.slots,
        key=server.key,
    )


def _sglang(model: ModelFolder, settings: Settings) -> LaunchedEngine:
    check_sglang(settings.engine_python)
    version = version_of(model.files, settings.state_dir.expanduser(), more=sorted(settings.engine_arg))
    flags = judging_flags(model, version, slots=settings.slots, context=settings.context, arguments=settings.engine_arguments)
    port, command = free_port(), [str(settings.engine_python), "-m", "sglang.launch_server"]
    log.info("starting SGLang with %s: %s", model.name, " ".join(flags))
    process = sglang_server(command, str(model.path), port, *flags, on_line=_log_line)
    domain = load_domain(model.path)
    return LaunchedEngine(process, f"http://127.0.0.1:{port}", model.name, _pack(settings, model.name, model.path, domain), domain)


def _pack(settings: Settings, model: str, folder: Path, domain: Domain | None, trained: str | None = None) -> Pack:
    """The operator's prompt pack, else the one that the judge was trained with, else the one that fits the model."""
    own = folder / "prompts"  # a judge that reasrm exported has its prompts beside it
    if given := settings.prompts or (own if (own / "pack.toml").is_file() else trained) or ("world" if domain else None):
        return load_pack(given)
    pack, why = pack_for(model)
    log.info("%s is judged with the prompts %s: %s (--prompts chooses others)", model, pack, why)
    return load_pack(pack)


def _log_line(line: str) -> None:
    if line.strip():
        log.info("engine: %s", line)

"""Which server an engine is, which model it serves, and what its pages say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

from reasrm.engine.abilities import KNOWN, Abilities, EngineInfo, Kind
from reasrm.errors import ConfigurationError, EngineNonsense

#: Gets a page of the server by its path: the object on it, or None where there is no such page. Raises `EngineError`.
Page = Callable[[str], Awaitable[dict[str, Any] | None]]
#: What servers write as the owner of a model.
OWNERS: dict[str, Kind] = {"sglang": "sglang", "vllm": "vllm", "llamacpp": "llama.cpp", "organization_owner": "lmstudio"}


def chosen_model(listed: dict[str, Any], model: str | None, where: str) -> dict[str, Any]:
    """The entry of `model` in the list of models, the first one by default. Raises `EngineNonsense` or `ConfigurationError`."""
    models = entries_in(listed, "data")
    if not models:
        raise EngineNonsense(f"{where} lists no model")
    entry = next((entry for entry in models if entry.get("id") == model), models[0])
    if model is not None and entry.get("id") != model:
        names = ", ".join(str(entry.get("id")) for entry in models)
        raise ConfigurationError(f"{where} does not serve {model!r}; it serves {names}", field="model")
    return entry


def mark_of(entry: dict[str, Any]) -> tuple[str, ...]:
    """What tells one server from another in its list of models. The time of creation is no part: it is that of the answer."""
    return tuple(str(entry.get(name)) for name in ("id", "owned_by", "max_model_len", "parent", "root"))


def entries_in(listed: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the list `name`."""
    return [cast(dict[str, Any], entry) for entry in listed.get(name) or () if isinstance(entry, dict)]


async def recognised(page: Page, entry: dict[str, Any]) -> EngineInfo:
    """The engine whose list of models has `entry`. Raises `EngineError`."""
    about = await page("/model_info") or await page("/get_model_info")  # sglang-router only forwards the old name
    kind = OWNERS.get(str(entry.get("owned_by")), "openai")
    info = EngineInfo(str(entry.get("id")), max_context=count(entry.get("max_model_len")), abilities=KNOWN[kind])
    if about:
        parser = about["reasoning_parser"] is not None if "reasoning_parser" in about else None
        abilities = replace(KNOWN["sglang"], thoughts=parser)
        return replace(info, weight_version=str(about.get("weight_version", "")), abilities=abilities)
    if kind == "llama.cpp":
        return _llama_cpp(info, entry, await page("/props") or {})
    if kind == "vllm":
        return _vllm(info, await page("/version") or {})
    if kind == "lmstudio":
        return await _lmstudio(info, page)
    if (version := await page("/api/version")) is not None and "version" in version:
        return await _ollama(info, str(version["version"]), page)
    return info


def _llama_cpp(info: EngineInfo, entry: dict[str, Any], props: dict[str, Any]) -> EngineInfo:
    meta: dict[str, Any] = entry.get("meta") or {}
    settings: dict[str, Any] = props.get("default_generation_settings") or {}
    abilities = replace(info.abilities, version=str(props.get("build_info") or ""), slots=count(props.get("total_slots")) or None)
    return replace(info, max_context=count(settings.get("n_ctx")) or count(meta.get("n_ctx_train")), abilities=abilities)


def _vllm(info: EngineInfo, about: dict[str, Any]) -> EngineInfo:
    """`structured_outputs` came with vLLM 0.11 in place of the `guided_` arguments."""
    version = str(about.get("version") or "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    old = numbers is not None and (int(numbers[1]), int(numbers[2])) < (0, 11)
    return replace(
        info, abilities=replace(info.abilities, version=version, pattern="guided_regex" if old else "structured_outputs")
    )


async def _lmstudio(info: EngineInfo, page: Page) -> EngineInfo:
    entries = entries_in(await page("/api/v0/models") or {}, "data")
    entry = next((entry for entry in entries if entry.get("id") == info.model), dict[str, Any]())
    return replace(info, max_context=count(entry.get("loaded_context_length")) or count(entry.get("max_context_length")))


async def _ollama(info: EngineInfo, version: str, page: Page) -> EngineInfo:
    """Ollama cuts prompts at the context that it loaded the model with, so that one counts and not the model's own."""
    entries = entries_in(await page("/api/ps") or {}, "models")
    mine = (entry for entry in entries if info.model in (entry.get("name"), entry.get("model")))
    entry = next(mine, dict[str, Any]())
    return replace(info, max_context=count(entry.get("context_length")), abilities=replace(KNOWN["ollama"], version=version))


def count(value: Any) -> int:
    """A count out of JSON; 0 where it is none."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return max(0, int(value or 0))
    return 0


def same_engine(one: EngineInfo, other: EngineInfo) -> bool:
    """Whether what was measured of one engine holds for the other: the same program and model."""
    return (one.model, one.abilities.kind) == (other.model, other.abilities.kind)


def merged(info: EngineInfo, measured: dict[str, Any]) -> EngineInfo:
    """`info` with what was measured in place of what was only known."""
    abilities: Abilities = replace(info.abilities, **measured) if measured else info.abilities
    return replace(info, abilities=abilities)

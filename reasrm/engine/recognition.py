"""Which server an engine is, which model it serves, and what its pages say: asked again whenever the gateway looks."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

from reasrm.engine.abilities import KNOWN, Abilities, EngineInfo, Kind
from reasrm.errors import ConfigurationError, EngineNonsense

#: Gets a page of the server by its path: the object on it, or None where there is no such page. Raises `EngineError`.
Page = Callable[[str], Awaitable[dict[str, Any] | None]]
_OWNERS: dict[str, Kind] = {"sglang": "sglang", "vllm": "vllm", "llamacpp": "llama.cpp", "library": "ollama"}


def chosen_model(listed: dict[str, Any], model: str | None, where: str) -> dict[str, Any]:
    """The entry of `model` in the list of models, the first one by default. Raises `EngineNonsense` or `ConfigurationError`."""
    models = [cast(dict[str, Any], entry) for entry in listed.get("data") or () if isinstance(entry, dict)]
    if not models:
        raise EngineNonsense(f"{where} lists no model")
    entry = next((entry for entry in models if entry.get("id") == model), models[0])
    if model is not None and entry.get("id") != model:
        names = ", ".join(str(entry.get("id")) for entry in models)
        raise ConfigurationError(f"{where} does not serve {model!r}; it serves {names}", field="model")
    return entry


async def recognised(page: Page, entry: dict[str, Any]) -> EngineInfo:
    """The engine whose list of models has `entry`. Raises `EngineError`."""
    about = await page("/model_info") or await page("/get_model_info")  # sglang-router only forwards the old name
    kind: Kind = "sglang" if about else _OWNERS.get(str(entry.get("owned_by")), "openai")
    info = EngineInfo(str(entry.get("id")), max_context=_count(entry.get("max_model_len")), abilities=KNOWN[kind])
    if about:
        return replace(info, weight_version=str(about.get("weight_version", "")))
    if kind == "llama.cpp":
        return _llama_cpp(info, entry, await page("/props") or {})
    return info


def _llama_cpp(info: EngineInfo, entry: dict[str, Any], props: dict[str, Any]) -> EngineInfo:
    meta: dict[str, Any] = entry.get("meta") or {}
    settings: dict[str, Any] = props.get("default_generation_settings") or {}
    abilities = replace(info.abilities, version=str(props.get("build_info") or ""), slots=_count(props.get("total_slots")) or None)
    return replace(info, max_context=_count(settings.get("n_ctx")) or _count(meta.get("n_ctx_train")), abilities=abilities)


def _count(value: Any) -> int:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return max(0, int(value or 0))
    return 0


def same_engine(one: EngineInfo, other: EngineInfo) -> bool:
    """Whether what was measured of one engine holds for the other: the same program, version and model."""

    def identity(info: EngineInfo) -> tuple[Any, ...]:
        return info.model, info.abilities.kind, info.abilities.version

    return identity(one) == identity(other)


def corrected(abilities: Abilities, measured: dict[str, Any]) -> Abilities:
    """`abilities` with what was measured in place of what was only known."""
    return replace(abilities, **measured)

"""What an engine can do, in words: one row per ability, with what follows from it for judging."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from reasrm.engine.abilities import EngineInfo


class Row(NamedTuple):
    """An ability, what this engine has, and what reasrm does about it."""

    ability: str
    here: str
    follows: str


def table_of(info: EngineInfo) -> list[Row]:
    """The rows for `info`."""
    able, unknown = info.abilities, _word(None)
    context = f"{info.max_context:,} tokens" if info.max_context else unknown
    continues = _word(able.continues) + (", and repeats it" if able.echoes else "")
    return [
        Row("server", f"{able.kind} {able.version}".strip(), "" if able.probed else "it was not measured to the end: is it busy?"),
        Row("model", info.model, ""),
        Row("context window", context, "prompts and replies must fit"),
        Row("log-probabilities", _logprobs(info), _of(able.logprobs, "P(A) is the verdict token's", "P(A) comes from votes")),
        Row(
            "continues a begun reply",
            continues,
            _of(able.continues, "rubrics hold, verdicts are forced", "rubrics are told"),
        ),
        Row("stop strings", _word(able.stops), _of(able.stops, "the engine ends a reply", "reasrm cuts the reply")),
        Row("seeds", _word(able.seeds), _of(able.seeds, "votes can be repeated", "votes differ from run to run")),
        Row("pattern for a reply", able.pattern or "no", ""),
        Row("reasoning parser", _word(able.thoughts), "the thought is put back in its place" if able.thoughts else ""),
        Row("requests at once", f"{able.slots:,}" if able.slots else unknown, "scoring keeps near this" if able.slots else ""),
        Row("shares prefixes by", able.prefixes or unknown, ""),
        Row("stops a request by its id", _word(able.aborts), ""),
        Row("adapters", _word(able.adapters), ""),
        Row("version of the weights", info.weight_version or "not named", ""),
    ]


def as_data(info: EngineInfo) -> dict[str, Any]:
    """The same for programs; null where something is not known."""
    about = {"model": info.model, "weight_version": info.weight_version, "max_context": info.max_context or None}
    return about | {"abilities": asdict(info.abilities)}


def _logprobs(info: EngineInfo) -> str:
    most = info.abilities.alternatives
    return _word(info.abilities.logprobs) + (f", {most} per token" if info.abilities.logprobs and most else "")


def _word(ability: bool | None) -> str:
    return "not known" if ability is None else "yes" if ability else "no"


def _of(ability: bool | None, yes: str, no: str) -> str:
    return "" if ability is None else yes if ability else no

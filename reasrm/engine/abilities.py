"""What an engine serves and what it can do: known by its kind, read from its pages, and measured by a few small requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Kind = Literal["sglang", "vllm", "llama.cpp", "ollama", "lmstudio", "openai"]
#: The argument in which an engine takes a pattern for the whole reply.
PatternArgument = Literal["regex", "structured_outputs", "guided_regex", "grammar"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine can do. None: not known.

    `kind` is the program that serves, "openai" any other with OpenAI's chat completions, and `version` its version.
    `logprobs`: it returns log-probabilities, with at most `alternatives` per token. `continues`: it continues a trailing
    assistant message; `echoes`: its reply then repeats that message. `seeds`: it takes a seed. `stops`: it ends at stop strings.
    `pattern`: the argument in which it takes a pattern for a reply. `thoughts`: it hands a thought over apart from the answer
    (a reasoning parser). `slots`: requests that it works on at once; `prefixes`: how it shares the beginnings of prompts among
    them. `aborts`: it stops a request by its id. `adapters`: it serves LoRA adapters. `names_weights`: each answer names the
    version of the weights. `probed`: the measuring is over.
    """

    kind: Kind = "openai"
    version: str = ""
    logprobs: bool | None = None
    alternatives: int | None = None
    continues: bool | None = None
    echoes: bool | None = None
    seeds: bool | None = None
    stops: bool | None = None
    pattern: PatternArgument | None = None
    thoughts: bool | None = None
    slots: int | None = None
    prefixes: Literal["radix tree", "blocks", "slots"] | None = None
    aborts: bool | None = None
    adapters: bool | None = None
    names_weights: bool | None = None
    probed: bool = False


#: What servers of each kind can do, by their documentation and source. Measuring corrects it.
KNOWN: dict[Kind, Abilities] = {
    "sglang": Abilities(
        kind="sglang",
        logprobs=True,
        continues=True,
        echoes=False,
        seeds=True,
        stops=True,
        pattern="regex",
        prefixes="radix tree",
        aborts=True,
        names_weights=True,
    ),
    "vllm": Abilities(
        kind="vllm",
        logprobs=True,
        alternatives=20,
        continues=True,
        echoes=False,
        seeds=True,
        stops=True,
        pattern="structured_outputs",
        prefixes="blocks",
        aborts=False,
        names_weights=False,
    ),
    "llama.cpp": Abilities(
        kind="llama.cpp",
        logprobs=True,
        continues=True,
        echoes=None,  # some versions repeat the message, others do not
        seeds=True,
        stops=True,
        pattern="grammar",
        prefixes="slots",
        aborts=False,
        names_weights=False,
    ),
    "ollama": Abilities(kind="ollama", seeds=True, stops=True, prefixes="slots", aborts=False, names_weights=False),
    "lmstudio": Abilities(kind="lmstudio", seeds=True, stops=True, aborts=False, names_weights=False),
    "openai": Abilities(kind="openai", aborts=False, names_weights=False),
}


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine's model name, the version of its weights ("" = unknown), its context window in tokens (0 = unknown), and what
    it can do."""

    model: str
    weight_version: str = ""
    max_context: int = 0
    abilities: Abilities = Abilities()

    @property
    def sglang(self) -> bool:
        """Whether the server is SGLang."""
        return self.abilities.kind == "sglang"


def common(several: Sequence[Abilities]) -> Abilities:
    """What all of several engines can do."""
    return Abilities(**{field.name: _common([getattr(one, field.name) for one in several]) for field in fields(Abilities)})


def _common(values: list[Any]) -> Any:
    """The value that all share; else False for what some cannot do, the name for what differs, and None for the rest."""
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, str) for value in values):
        return "openai" if set(values) <= KNOWN.keys() else "+".join(sorted(set(values)))
    return False if False in values else None

"""The `[oracle]` table of a recipe: which models write the chains, and what that may cost."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen


class Endpoint(Frozen):
    """An OpenAI-compatible server and its price. `api_key_env` names the environment variable that holds its key.

    The keys of `body` are added to every request, and those in `omit` are removed, as some models take other parameters.
    """

    url: str
    model: str
    listed: bool = True  # false: do not look for the model in the server's list, if it has none or uses other names there
    body: dict[str, Any] = Field(default={})
    omit: tuple[str, ...] = ()
    api_key_env: str = ""
    usd_per_million_input: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_million_output: Annotated[float, Field(ge=0.0)] = 0.0
    concurrency: PositiveInt = 32
    timeout_s: PositiveFloat = 600.0

    @property
    def overlay(self) -> dict[str, Any]:
        """The keys that are added to every request. None removes a key."""
        return self.body | dict.fromkeys(self.omit)

    @property
    def writer(self) -> str:
        """Eight hex digits that name the writer of replies: the model, and its parameters besides the prompt."""
        return hashlib.sha256(json.dumps([self.model, self.overlay], sort_keys=True).encode()).hexdigest()[:8]


class Oracle(Frozen):
    """The models that write chains: `first` without the label, and `second`, which knows it and corrects what failed.

    With `samples` > 1, `first` is asked up to that often until it is right (rejection sampling, for one's own model).
    """

    first: Endpoint
    second: Annotated[Endpoint | None, BeforeValidator(lambda given: None if given is False else given)] = None  # false: none
    samples: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.7
    max_tokens: PositiveInt = 8192
    attempts: PositiveInt = 4  # requests for one reply, including the first
    may_lack: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01  # share of the examples that may end without a reply
    max_tokens_total: PositiveInt | None = None  # no request starts that could exceed it
    max_usd: PositiveFloat | None = None

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.samples > 1 and self.temperature == 0.0:
            raise ValueError("samples > 1 needs temperature > 0: greedy samples are all the same")
        return self

    @model_validator(mode="after")
    def _cap_counts(self) -> Self:
        endpoints = [endpoint for endpoint in (self.first, self.second) if endpoint]
        if self.max_usd and not any(end.usd_per_million_input or end.usd_per_million_output for end in endpoints):
            raise ValueError("max_usd needs prices: give usd_per_million_input and usd_per_million_output of first or second")
        return self

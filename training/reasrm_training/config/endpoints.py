"""The `[oracle]` table of a recipe: which models write the chains, and what that may cost."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen


class Endpoint(Frozen):
    """An OpenAI-compatible server and its price. Some models take other parameters: see `body` and `omit`."""

    url: str = Field(description="The server's address. `/v1` is added to an address without a version.")
    model: str = Field(description="The model's name at the server.")
    listed: bool = Field(
        default=True,
        description="Look for the model in the server's list. Use false if the server has no list, or has other names in it.",
    )
    body: dict[str, Any] = Field(default={}, description="Keys that are added to every request.")
    omit: tuple[str, ...] = Field(default=(), description="Keys that are removed from every request.")
    api_key_env: str = Field(default="", description="The environment variable that holds the API key. Empty: no key.")
    usd_per_million_input: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="The price of a million prompt tokens, in US dollars."
    )
    usd_per_million_output: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="The price of a million generated tokens, in US dollars."
    )
    concurrency: PositiveInt = Field(default=32, description="The most requests at the same time.")
    timeout_s: PositiveFloat = Field(default=600.0, description="Seconds until an attempt counts as failed.")

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

    Rejection sampling from your own model: `samples` > 1 and `second = false`.
    """

    first: Endpoint = Field(description="The model that judges without seeing the label.")
    second: Annotated[Endpoint | None, BeforeValidator(lambda given: None if given is False else given)] = Field(
        default=None, description="The model that knows the label and corrects failed chains. false: none."
    )
    samples: PositiveInt = Field(
        default=1, description="The most replies of `first` per example (rejection sampling); it stops when a reply is right."
    )
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = Field(
        default=0.7, description="The sampling temperature of the oracles."
    )
    max_tokens: PositiveInt = Field(default=8192, description="The longest reply, in tokens.")
    attempts: PositiveInt = Field(default=4, description="Attempts per reply, including the first.")
    may_lack: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.01, description="The share of the examples that may end without a reply."
    )
    max_tokens_total: PositiveInt | None = Field(
        default=None, description="The budget in tokens. No request starts that could exceed it. None: no limit."
    )
    max_usd: PositiveFloat | None = Field(
        default=None, description="The budget in US dollars. No request starts that could exceed it. None: no limit."
    )

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

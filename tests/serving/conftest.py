"""Gateways with a judge of random weights on real SGLang: its text is meaningless and as long as the limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.components import Gateway, Redis, Sglang
from tests.serving.loops import engine, url
from tests.serving.traffic import until, version

__all__ = ["engine", "url"]  # fixtures for every test here


@pytest.fixture(scope="session")
def _plain_gateway(gateway_factory: Callable[..., Gateway], random_judge: Sglang) -> Gateway:
    return gateway_factory("--engine", random_judge.url, "--prompts", "rubric")


@pytest.fixture
def plain_gateway(_plain_gateway: Gateway) -> Gateway:
    """A gateway with this engine, with judgments in its own memory and the current weight version."""
    until(lambda: version(_plain_gateway) == "default")
    return _plain_gateway


@pytest.fixture
def two_gateways(gateway_factory: Callable[..., Gateway], random_judge: Sglang, redis_server: Redis):
    """Two gateways that share an engine and a Redis."""
    flags = ("--engine", random_judge.url, "--prompts", "rubric", "--cache", redis_server.url)
    with gateway_factory(*flags) as first, gateway_factory(*flags) as second:
        yield first, second

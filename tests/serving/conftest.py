"""A judge of random weights on real SGLang, for tests of the gateway: it has no sense, but it writes as long as it is let."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components import Gateway, Redis, Sglang


@pytest.fixture(scope="session")
def random_judge(sglang_factory: Callable[..., Sglang], tiny_model: Path) -> Sglang:
    """SGLang with random weights. A test that kills it or moves its weights leaves it as it found it."""
    return sglang_factory(tiny_model)


@pytest.fixture(scope="session")
def plain_gateway(gateway_factory: Callable[..., Gateway], random_judge: Sglang) -> Gateway:
    """A gateway before it that keeps its judgments in its own memory."""
    return gateway_factory("--engine", random_judge.url, "--prompts", "rubric")


@pytest.fixture
def two_gateways(gateway_factory: Callable[..., Gateway], random_judge: Sglang, redis_server: Redis):
    """Two gateways that share an engine and a Redis."""
    flags = ("--engine", random_judge.url, "--prompts", "rubric", "--cache", redis_server.url)
    with gateway_factory(*flags) as first, gateway_factory(*flags) as second:
        yield first, second

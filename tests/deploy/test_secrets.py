"""secrets.sh makes files; a real Redis and a real gateway start from them, and refuse callers without them."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from reasrm_serving.judging.cache import Cache
from reasrm_serving.judging.lease import Leases, new_token
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.redis_link import RedisLink
from redis.asyncio import Redis as Client
from redis.exceptions import NoPermissionError

from reasrm.types import Judgment, NoVerdict
from tests.components import Gateway, Redis, pongs, talk
from tests.deploy.manifests import DEPLOY, KUBERNETES, SECRETS


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([DEPLOY / "secrets.sh", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def guarded_factory(secrets: Path, tmp_path: Path, redis_factory: Callable[..., Redis]) -> Callable[..., Redis]:
    """Starts a Redis as it is deployed, with `flags` on top; only the paths of its users and data are this test's."""

    def start(*flags: str) -> Redis:
        conf = (KUBERNETES / "base" / "redis.conf").read_text()
        (tmp_path / "redis.conf").write_text(conf.replace("/run/secrets", str(secrets)).replace("dir /data", f"dir {tmp_path}"))
        server = redis_factory("--include", str(tmp_path / "redis.conf"), *flags)
        server.url = (secrets / "redis-url").read_text().strip().replace("redis:6379", f"127.0.0.1:{server.port}")
        return server

    return start


@pytest.fixture
def guarded(guarded_factory: Callable[..., Redis]) -> Redis:
    return guarded_factory()


def test_secrets_are_made_once_and_hidden_from_other_users(secrets: Path) -> None:
    made = {file.name: file.read_bytes() for file in secrets.iterdir()}
    assert set(made) == SECRETS and all(made.values()), "the files of a cluster's secret hold no token"
    assert secrets.stat().st_mode & 0o077 == 0
    subprocess.run([DEPLOY / "secrets.sh", secrets], check=True, capture_output=True)
    assert {file.name: file.read_bytes() for file in secrets.iterdir()} == made
    password = made["redis-url"].decode().split(":")[2].split("@")[0]
    assert password.encode() not in made["redis-users"]
    token = secrets.parent / "admin-token"
    assert token.stat().st_mode & 0o077 == 0
    assert not any(token.read_bytes().strip() in text for text in made.values())


async def test_redis_admits_a_gateway_and_lets_strangers_only_ping(guarded: Redis) -> None:
    assert pongs(guarded.port)
    assert talk(guarded.port, b"GET reasrm:fence-secret\r\n").startswith(b"-NOPERM")
    async with Client.from_url(guarded.url) as gateway:
        with pytest.raises(NoPermissionError):
            await gateway.flushall()
        with pytest.raises(NoPermissionError):
            await gateway.config_get("*")


async def test_a_gateway_may_run_every_kind_of_command_that_it_uses(guarded: Redis) -> None:
    judgment = Judgment(outcome=NoVerdict(reason="split"), model="m", weight_version="1", prompt_digest="p")
    failures: list[int] = []
    async with RedisLink(guarded.url, lambda: failures.append(1)) as link:
        cache = Cache(link, ttl_s=60, megabytes=1)
        cache.put("key", JudgmentJson.of(judgment))
        await cache.aclose()
        stored = await Cache(link, ttl_s=60, megabytes=1).in_redis("key")
        assert stored is not None and stored.read(cached=True).outcome == judgment.outcome
        leases, token = Leases(link), new_token()
        assert await leases.wait_or_take("other", "reasrm:{other}", token) is None
        async with leases.held("other", token):
            pass
        assert not failures
    limiter = MovingWindowRateLimiter(RedisStorage(f"async+{guarded.url}", implementation="redispy"))
    assert await limiter.hit(parse("1/minute"), "caller")
    assert not await limiter.hit(parse("1/minute"), "caller")


async def test_a_full_redis_forgets_verdicts_and_keeps_the_fence_secret(guarded_factory: Callable[..., Redis]) -> None:
    full = guarded_factory("--maxmemory", "3mb")
    async with Client.from_url(full.url) as gateway:
        await gateway.set("reasrm:fence-secret", "kept")
        for number in range(400):
            await gateway.set(f"reasrm:{{{number}}}", "v" * 20_000, ex=600)
        assert await gateway.dbsize() < 400
        assert await gateway.get("reasrm:fence-secret") == b"kept"


def test_a_gateway_starts_from_the_files_alone(
    guarded: Redis, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets / "redis-url").write_text(guarded.url)
    monkeypatch.setenv("REASRM_CACHE_FILE", str(secrets / "redis-url"))
    monkeypatch.setenv("REASRM_FENCE_SECRET_FILE", str(secrets / "fence-secret"))
    monkeypatch.setenv("REASRM_KEYS", str(secrets / "keys.toml"))
    with Gateway(tmp_path / "gateway.log", "--engine", "http://127.0.0.1:1") as gateway:
        page = urllib.request.urlopen(f"{gateway.url}/metrics", timeout=5).read().decode()
        assert "reasrm_redis_up 1.0" in page
        assert status(f"{gateway.url}/readyz") == 503, "nothing listens where its engine should be"
        assert status(f"{gateway.url}/v1/models") == 401
        assert status(f"{gateway.url}/v1/models", (secrets.parent / "admin-token").read_text().strip()) == 503
        log = gateway.tail()
    for secret in (guarded.url.split(":")[2].split("@")[0], (secrets / "fence-secret").read_text().strip()):
        assert secret not in log


def status(url: str, token: str | None = None) -> int:
    """The HTTP status of a GET."""
    headers: dict[str, Any] = {"authorization": f"Bearer {token}"} if token else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30).status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASRM_FENCE_SECRET_FILE", str(tmp_path / "nothing"))
    done = subprocess.run([Path(sys.executable).parent / "reasrm", "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "REASRM_FENCE_SECRET_FILE" in done.stderr and "nothing" in done.stderr

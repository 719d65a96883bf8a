"""A caller's mistakes raise everywhere, and say what to correct: a mistyped option, a wrong password of Redis."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

from reasrm.client import Judge, SyncJudge
from reasrm.errors import ConfigurationError, InputError
from reasrm.rewards.trl import judge_reward
from tests.components import Redis, talk
from tests.failures.faulty_engine import misbehaving
from tests.scoring.test_commands import reasrm

TYPO: dict[str, Any] = {"votse": 3}


async def test_a_mistyped_option_raises_wherever_it_is_given(tmp_path: Path) -> None:
    with misbehaving() as engine:
        address = f"http://127.0.0.1:{engine.server_port}"
        with running(Settings.of(engine=address, cache="none", port=0, state_dir=tmp_path)) as url:
            with SyncJudge(url) as sync, pytest.raises(ConfigurationError, match="no option 'votse'; did you mean 'votes'"):
                sync.pair("q", "a", "b", **TYPO)
            async with Judge(url) as judge:
                for call in (judge.pair("q", "a", "b", **TYPO), judge.rank("q", ["a", "b"], **TYPO)):
                    with pytest.raises(ConfigurationError, match="no option 'votse'"):
                        await call
            for size in (2, 4):  # a whole group, and one that lies in several ranks
                with pytest.raises(ConfigurationError, match="no option 'votse'"):
                    await judge_reward(["q"] * 2, ["a", "b"], url=url, num_generations=size, options=TYPO)
            pair = {"question": "q", "a": "x", "b": "y"}
            for path, body in (
                ("/v1/judge", pair),
                ("/v1/judge/stream", pair),
                ("/v1/judge/batch", {"pairs": [pair]}),
                ("/v1/rank", {"question": "q", "responses": ["x", "y"]}),
            ):
                async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
                    answer = await http.post(url + path, json=body | TYPO)
                assert (answer.status_code, answer.json()["error"]["field"]) == (422, "votse"), path
    assert not engine.judging


def test_a_wrong_password_of_redis_is_reported_as_a_wrong_password(redis_factory: Callable[..., Redis], tmp_path: Path) -> None:
    with redis_factory() as server, misbehaving() as engine:
        assert talk(server.port, b"CONFIG SET requirepass right\r\n").startswith(b"+OK")
        wrong = server.url.replace("redis://", "redis://:hunter2@")
        settings = Settings.of(engine=f"http://127.0.0.1:{engine.server_port}", cache=wrong, port=0, state_dir=tmp_path)
        with pytest.raises(ConfigurationError, match="Redis refuses the user or password") as caught:
            running(settings).__enter__()
        assert "hunter2" not in str(caught.value)


def test_the_command_line_ends_a_scoring_run_at_a_wrong_key(tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    source.write_text(json.dumps({"question": "q", "a": "x", "b": "y"}) + "\n")
    with misbehaving("wrong key") as engine:
        address = f"http://127.0.0.1:{engine.server_port}"
        done = reasrm("score", source, "-o", tmp_path / "out.jsonl", "--engine", address, "--token", "the-key", check=2)
    assert "refuses the key (401)" in done.stderr and "the-key" not in done.stderr


def test_an_invalid_address_is_refused_without_showing_its_password() -> None:
    for address in ("ftp://user:hunter2@host", "http://user:hunter2@host:99999"):
        with pytest.raises(InputError) as caught:
            Judge(address)
        assert "hunter2" not in str(caught.value)

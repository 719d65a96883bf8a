"""The API's description: a client that is generated from it judges a pair, and nothing is left undescribed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.app import create_app
from reasrm_serving.settings import Settings

from tests.components import Gateway

JUDGE = """
import sys
from reasrm_client import Client
from reasrm_client.api.judging import judge
from reasrm_client.models import ErrorResponse, JudgeRequest, JudgmentResponse, Message, MessageRole, Verdict

client = Client(base_url=sys.argv[1])
sum_ = JudgeRequest(question="Add 879+238.", a="The answer is 1117.", b="It is 1114.")
judgment = judge.sync(client=client, body=sum_)
assert isinstance(judgment, JudgmentResponse), judgment
assert isinstance(judgment.outcome, Verdict), judgment.outcome
assert len(judgment.opinions) == 2
turns = [Message(role=MessageRole.USER, content="Add 879+238.")]
again = judge.sync(client=client, body=JudgeRequest(question=turns, a="The answer is 1117.", b="It is 1114.", votes=1))
assert again.winner == judgment.winner and again.cached
refused = judge.sync_detailed(client=client, body=JudgeRequest(question="q", a="", b="x"))
assert isinstance(refused.parsed, ErrorResponse) and refused.status_code == 422, refused
print(judgment.winner, judgment.probability_a)
"""


def document(**settings: Any) -> dict[str, Any]:
    return create_app(Settings(**settings)).openapi()


def operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_a_generated_client_judges_a_pair(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{gateway.url}/openapi.json", trust_env=False).content)
    generator = str(Path(sys.executable).parent / "openapi-python-client")
    generate = [generator, "generate", "--path", "openapi.json", "--output-path", "reasrm_client", "--meta", "none"]
    made = subprocess.run(generate, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    warnings = [line for line in (made.stdout + made.stderr).splitlines() if line.lower().startswith("warning parsing")]
    # this generator does not read one line of JSON per judgment
    assert [line.split()[3] for line in warnings] == ["/v1/judge/batch"], made.stdout
    used = subprocess.run([sys.executable, "-c", JUDGE, gateway.url], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert used.returncode == 0, used.stderr
    assert used.stdout.startswith("A ")


def test_every_operation_has_its_own_short_name() -> None:
    names = [operation["operationId"] for _, operation in operations(document())]
    assert {"judge", "judge_batch", "judge_stream", "rank", "reward"} <= set(names)
    assert max(Counter(names).values()) == 1


def test_every_schema_is_described_once_and_every_reference_leads_to_one() -> None:
    described = document()
    schemas = described["components"]["schemas"]
    text = json.dumps(described)
    assert "$defs" not in text
    references = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(schemas)
    assert {"JudgeRequest", "JudgmentResponse", "RankRequest", "RankingResponse", "BatchLine", "StreamDelta"} <= set(schemas)
    titles = [schema["title"] for schema in schemas.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/judge/batch", "/v1/judge/stream", "/v1/rank", "/v1/reward"])
def test_every_field_of_a_judging_route_is_described(path: str) -> None:
    described = document()
    schemas, missing, seen = described["components"]["schemas"], [], set()
    waiting = [json.dumps(described["paths"][path])]
    while waiting:
        for part in waiting.pop().split('"#/components/schemas/')[1:]:
            name = part.partition('"')[0]
            if name not in seen:
                seen.add(name)
                waiting.append(json.dumps(schemas[name]))
                fields = schemas[name].get("properties", {})
                missing += [f"{name}.{field}" for field, schema in fields.items() if not schema.get("description")]
    assert len(seen) >= 5
    assert not missing


def test_a_gateway_with_keys_says_which_routes_need_one(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[[key]]\nname = "team-a"\nsha256 = "' + "0" * 64 + '"\n')
    described = document(keys=keys)
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    needs = {path: bool(operation["security"]) for path, operation in operations(described)}
    assert needs["/v1/judge"] and needs["/v1/recent"] and not needs["/healthz"] and not needs["/metrics"]
    assert not any(operation["security"] for _, operation in operations(document()))


def test_a_stream_is_described_by_its_events() -> None:
    answer = document()["paths"]["/v1/judge/stream"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"text/event-stream"}
    for name in ("delta", "StreamDelta", "judgment", "JudgmentResponse", "error", "ErrorResponse"):
        assert name in answer["description"]

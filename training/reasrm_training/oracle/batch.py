"""The oracles by OpenAI's batch API: requests go out as files, results come back as files, and the journal joins them.

A file holds all samples at once. The second pass is a second round of files, written after the results of the first round
were read. File format: platform.openai.com/docs/guides/batch.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reasrm.engine import EngineInfo, completion_of, overlaid
from reasrm.errors import EngineError, InputError
from reasrm.types import Ask
from reasrm_training.config.endpoints import Endpoint
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.data.files import write_whole
from reasrm_training.oracle.budget import OracleBudget
from reasrm_training.oracle.examiner import Examiner, OracleRequest, Pass
from reasrm_training.oracle.journal import OracleJournal

#: Limits of the API for one file.
MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000


class BatchFiles(NamedTuple):
    """Files of requests, and the number of requests that were left out because the budget may be too small for them."""

    paths: list[Path]
    left_out: int


def write_batches(examiner: Examiner, examples: Iterable[PreferenceExample], journal: OracleJournal, folder: Path) -> BatchFiles:
    """Write the requests that are still open into `folder`, split by pass and by size, in place of earlier files."""
    lines: dict[Pass, list[bytes]] = {"first": [], "second": []}
    endpoints = {"first": examiner.oracle.first, "second": examiner.oracle.second or examiner.oracle.first}
    budget, left_out = OracleBudget(examiner.oracle, journal), 0
    for example in examples:
        for request in examiner.open_requests(example, journal.replies, at_once=True):
            ask = examiner.ask(request, journal.replies)
            if not budget.take(request.step, ask):
                left_out += 1
                continue
            body = _body(ask, endpoints[request.step])
            line = {"custom_id": _id(request, journal), "method": "POST", "url": "/v1/chat/completions", "body": body}
            lines[request.step].append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    for earlier in folder.glob("requests-*.jsonl"):
        earlier.unlink()
    paths: list[Path] = []
    for step, requests in lines.items():
        for number, chunk in enumerate(_files(requests)):
            paths.append(folder / f"requests-{step}-{number:03d}.jsonl")
            write_whole(paths[-1], b"".join(chunk))
    return BatchFiles(paths, left_out)


def read_batch(path: Path, examiner: Examiner, examples: Iterable[PreferenceExample], journal: OracleJournal) -> Counter[str]:
    """Take a file of results into `journal` and count the results by kind. The next file asks again for those that failed.

    Results of other data, prompts or models are left alone. Raises InputError where the file is not one of batch results.
    """
    requests = {_id(request, journal): request for example in examples for request in examiner.every_request(example)}
    counts: Counter[str] = Counter()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    counts[_take(line, requests, examiner, journal, f"{path}, line {number}")] += 1
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    return counts


def _take(line: str, requests: Mapping[str, OracleRequest], examiner: Examiner, journal: OracleJournal, where: str) -> str:
    try:
        result: dict[str, Any] = json.loads(line)
        request, response = requests.get(str(result["custom_id"])), result.get("response") or {}
        status = response.get("status_code")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{where}: not a line of batch results; they have custom_id and response") from None
    if request is None:
        return "not of this data"
    if status != 200:
        return f"status {status}" if response else "no response"
    try:
        ask = examiner.ask(request, journal.replies)
        completion = completion_of(response["body"], EngineInfo(""), ask)
    except (KeyError, EngineError):  # no body, no completion in it, or a correction of a chain that is not there
        return "nonsense"
    journal.add(request, ask, completion)
    return "answered"


def _id(request: OracleRequest, journal: OracleJournal) -> str:
    """A name that differs from every request of another journal. The key itself would be too long for some servers."""
    return hashlib.sha256(f"{journal.belongs_to} {request.key}".encode()).hexdigest()[:32]


def _body(ask: Ask, endpoint: Endpoint) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [{"role": message.role, "content": message.content} for message in ask.messages],
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
    }
    return overlaid(body | {"seed": ask.seed}, endpoint.overlay)


def _files(lines: list[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) == MAX_REQUESTS or size + len(line) > MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield chunk

"""The oracles by OpenAI's batch API: requests go into files, results come back as files, and both meet in the journal.

A batch knows no waves: all samples are asked for at once, and the second pass is a second round of files, written after the
first round's results were read. File format: platform.openai.com/docs/guides/batch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reasrm.errors import InputError
from reasrm.types import Ask, Usage
from reasrm_training.config import Endpoint
from reasrm_training.data.examples import Example, write_whole
from reasrm_training.oracle.examiner import Examiner, Pass, Reply
from reasrm_training.oracle.journal import Journal

#: The API's limits for one file.
MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000


def write_batches(examiner: Examiner, examples: Iterable[Example], journal: Journal, folder: Path) -> list[Path]:
    """Write what is still to be asked into `folder`, a file a pass and limit; no file means that nothing is."""
    lines: dict[Pass, list[bytes]] = {"first": [], "second": []}
    endpoints = {"first": examiner.oracle.first, "second": examiner.oracle.second or examiner.oracle.first}
    for example in examples:
        for request in examiner.wanted(example, journal.replies, at_once=True):
            body = _body(examiner.ask(request, journal.replies), endpoints[request.step])
            line = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
            lines[request.step].append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    paths: list[Path] = []
    for step, requests in lines.items():
        for number, chunk in enumerate(_files(requests)):
            paths.append(folder / f"requests-{step}-{number:03d}.jsonl")
            write_whole(paths[-1], b"".join(chunk))
    return paths


def read_batch(path: Path, journal: Journal) -> Counter[str]:
    """Take a file of results into `journal`; count what came by kind. A request that failed there is asked again by the next file.

    Raises InputError for a file that is none.
    """
    counts: Counter[str] = Counter()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                counts[_take(line, journal, f"{path}, line {number}")] += 1
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    return counts


def _take(line: str, journal: Journal, where: str) -> str:
    try:
        result: dict[str, Any] = json.loads(line)
        key, response = str(result["custom_id"]), result.get("response") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{where}: not a line of batch results; they have custom_id and response") from None
    if response.get("status_code") != 200:
        return f"status {response.get('status_code')}" if response else "no response"
    try:
        body = response["body"]
        choice = body["choices"][0]
        usage = body.get("usage") or {}
        text = choice["message"]["content"] or ""
        if thought := choice["message"].get("reasoning_content"):
            text = f"{thought}</think>{text}"
        tokens = Usage(
            prompt_tokens=int(usage.get("prompt_tokens") or 0), completion_tokens=int(usage.get("completion_tokens") or 0)
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return "nonsense"
    journal.add(key, Reply(text=text, truncated=choice.get("finish_reason") == "length"), tokens)
    return "answered"


def _body(ask: Ask, endpoint: Endpoint) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [{"role": message.role, "content": message.content} for message in ask.messages],
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
    }
    return body if ask.seed is None else body | {"seed": ask.seed}


def _files(lines: list[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield chunk

"""An SGLang server as RL uses it: it samples by token ids, and takes new weights from disk or over a process group."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import stamina
import torch
import torch.distributed as dist

from reasrm.errors import EngineBusy, EngineError, EngineNonsense, EngineUnreachable

CONNECTIONS = 768  # per process, which usually may open 1,024 files
#: A reply may wait for hours in the server's queue. These let a process notice within two minutes that the machine is gone.
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
]
UPDATE_TIMEOUT_S = 3600.0
ATTEMPTS = 5
BUCKET_BYTES = 2**29  # of weights are announced and sent at a time


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled reply: its tokens, the end token included, and the log-probability with which each was drawn."""

    ids: list[int]
    logprobs: list[float]


class SglangServer:
    """A running server at `url`. Its methods raise `EngineError` where a request fails."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._group: Any = None
        self._group_name = f"reasrm-{uuid.uuid4().hex}"

    def sample(
        self, prompts: Sequence[Sequence[int]], params: Mapping[str, Any], seeds: Sequence[int], version: str
    ) -> list[Sample]:
        """One reply to each prompt (token ids), drawn with the weights called `version`. A reply drawn with others is an error.

        The seeds count only where the server runs with `--enable-deterministic-inference`. Without distinct seeds such a
        server would give every reply to a prompt the same text.
        """
        return asyncio.run(self._sample_all(prompts, params, seeds, version))

    async def _sample_all(
        self, prompts: Sequence[Sequence[int]], params: Mapping[str, Any], seeds: Sequence[int], version: str
    ) -> list[Sample]:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        transport = httpx.AsyncHTTPTransport(limits=limits, socket_options=KEEPALIVE)
        async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, connect=30.0), trust_env=False) as http:

            @stamina.retry(on=(EngineUnreachable, EngineBusy), attempts=ATTEMPTS, wait_max=30.0, timeout=None)
            async def draw(prompt: Sequence[int], seed: int) -> Sample:
                body = {
                    "input_ids": list(prompt),
                    "sampling_params": {**params, "sampling_seed": seed},
                    "return_logprob": True,
                }
                try:
                    response = await http.post(f"{self.url}/generate", json=body)
                except httpx.TransportError as error:
                    raise EngineUnreachable(f"{self.url}: {error or type(error).__name__}") from None
                return _sample(_checked(response), version)

            return list(await asyncio.gather(*(draw(p, s) for p, s in zip(prompts, seeds, strict=True))))

    def load_folder(self, folder: Path, version: str) -> None:
        """Load the weights of a model folder, which the server must see under the same path, and call them `version`."""
        self._post("/update_weights_from_disk", {"model_path": str(folder.resolve()), "weight_version": version})

    def load_tensors(self, weights: Mapping[str, torch.Tensor], version: str) -> None:
        """Send `weights` from this process over a process group that it shares with the server's processes."""
        if self._group is None:
            self._group = self._join(next(iter(weights.values())).device)
        buckets = list(_buckets(weights))
        with ThreadPoolExecutor(1) as thread:
            for index, bucket in enumerate(buckets):
                announcement = {
                    "names": [name for name, _ in bucket],
                    "dtypes": [str(tensor.dtype).removeprefix("torch.") for _, tensor in bucket],
                    "shapes": [list(tensor.shape) for _, tensor in bucket],
                    "group_name": self._group_name,
                    "weight_version": version,
                    "flush_cache": index == len(buckets) - 1,
                }
                answer = thread.submit(self._post, "/update_weights_from_distributed", announcement)
                for _, tensor in bucket:
                    self._group.broadcast([tensor.contiguous()]).wait()
                answer.result()

    def leave(self) -> None:
        """Close the process group over which weights were sent, if there is one."""
        if self._group is not None:
            self._group = None
            with contextlib.suppress(EngineError):
                self._post("/destroy_weights_update_group", {"group_name": self._group_name})

    def _join(self, device: torch.device) -> Any:
        """Open a process group of this process and those of the server, apart from the trainer's own group."""
        info = self._get("/get_server_info")
        size = 1 + int(info.get("tp_size") or 1) * int(info.get("pp_size") or 1)
        backend = "nccl" if device.type == "cuda" else "gloo"
        host, port = _own_address(self.url), free_port()
        request = {
            "master_address": host,
            "master_port": port,
            "rank_offset": 1,
            "world_size": size,
            "group_name": self._group_name,
            "backend": backend,
        }
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(self._post, "/init_weights_update_group", request)
            store = dist.TCPStore(host, port, size, is_master=True, timeout=timedelta(seconds=300), wait_for_workers=False)
            # The prefixes are nested as in torch.distributed's own groups, since the server joins by those.
            nested: Any = store
            for prefix in (self._group_name, f"{self._group_name}/", f"{device.type}/"):
                nested = dist.PrefixStore(prefix, nested)
            make: Any = dist.ProcessGroupNCCL if backend == "nccl" else dist.ProcessGroupGloo
            group = make(nested, 0, size, timedelta(seconds=300))
            answer.result()
        return group

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._request("POST", path, UPDATE_TIMEOUT_S, json=dict(body))
        if answer.get("success") is False:
            raise EngineError(f"{self.url}{path}: {answer.get('message')}")
        return answer

    def _get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path, timeout_s=30.0)

    def _request(self, method: str, path: str, timeout_s: float, **content: Any) -> dict[str, Any]:
        try:
            return _checked(httpx.request(method, self.url + path, timeout=timeout_s, trust_env=False, **content))
        except httpx.TransportError as error:
            raise EngineUnreachable(f"{self.url}{path}: {error or type(error).__name__}") from None


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.status_code in (429, 503):
        raise EngineBusy(f"{response.url}: {response.status_code}")
    if response.status_code != 200:
        raise EngineError(f"{response.url}: {response.status_code} {response.text[:300]}")
    try:
        return response.json()
    except ValueError:
        raise EngineNonsense(f"{response.url} answered no JSON") from None


def _sample(answer: Mapping[str, Any], version: str) -> Sample:
    try:
        meta = answer["meta_info"]
        drawn = [(float(logprob), int(token)) for logprob, token, *_ in meta["output_token_logprobs"]]
        reason, used = meta["finish_reason"]["type"], meta["weight_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise EngineNonsense(f"SGLang answered without {error}") from None
    if reason == "abort" or not drawn:
        raise EngineBusy("SGLang broke off a reply")
    if used != version:
        raise EngineError(f"SGLang sampled with the weights {used!r}, not {version!r}: another run uses this server")
    return Sample([token for _, token in drawn], [logprob for logprob, _ in drawn])


def _buckets(weights: Mapping[str, torch.Tensor]) -> Iterator[list[tuple[str, torch.Tensor]]]:
    bucket: list[tuple[str, torch.Tensor]] = []
    size = 0
    for name, tensor in weights.items():
        bucket.append((name, tensor))
        size += tensor.numel() * tensor.element_size()
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def free_port() -> int:
    """A TCP port that no process listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _own_address(url: str) -> str:
    """The address at which the server at `url` reaches this machine."""
    host = httpx.URL(url).host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing
        return probe.getsockname()[0]

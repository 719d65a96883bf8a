"""An SGLang server as RL uses it: sampling by token ids, and new weights from disk or over a process group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import stamina
import torch
import torch.distributed as dist

from reasrm.errors import EngineBusy, EngineError, EngineNonsense, EngineUnreachable
from reasrm_training.run.launching import end_with_parent

CONNECTIONS = 768  # of a process, which usually may open 1,024 files
#: A reply may wait for hours in the server's queue; a machine that is gone is noticed after two minutes all the same.
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
]
UPDATE_TIMEOUT_S = 3600.0
START_TIMEOUT_S = 1800.0
ATTEMPTS = 5
BUCKET_BYTES = 2**29  # of weights that are announced and sent at a time


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled reply: its tokens, the end token included, and the log-probability with which each was drawn."""

    ids: list[int]
    logprobs: list[float]


class SglangServer:
    """A running server at `url`. Raises `EngineError` where it does not do what it is asked."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._group: Any = None
        self._group_name = f"reasrm-{uuid.uuid4().hex}"

    def sample(
        self, prompts: Sequence[Sequence[int]], params: Mapping[str, Any], seeds: Sequence[int], version: str
    ) -> list[Sample]:
        """One reply to each prompt, drawn with the weights called `version`; anything drawn with others is an error.

        The seeds count only where the server runs with `--enable-deterministic-inference`; without distinct ones such a
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
            async def one(prompt: Sequence[int], seed: int) -> Sample:
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

            return list(await asyncio.gather(*(one(p, s) for p, s in zip(prompts, seeds, strict=True))))

    def load_folder(self, folder: Path, version: str) -> None:
        """Take the weights of a model folder, which the server must see under the same path, and call them `version`."""
        self._post("/update_weights_from_disk", {"model_path": str(folder.resolve()), "weight_version": version})

    def load_tensors(self, weights: Mapping[str, torch.Tensor], version: str) -> None:
        """Take `weights`, broadcast from this process over a group of this process and the server's."""
        if self._group is None:
            self._group = self._join(next(iter(weights.values())).device)
        buckets = list(_buckets(weights))
        with ThreadPoolExecutor(1) as thread:
            for index, bucket in enumerate(buckets):
                announced = {
                    "names": [name for name, _ in bucket],
                    "dtypes": [str(tensor.dtype).removeprefix("torch.") for _, tensor in bucket],
                    "shapes": [list(tensor.shape) for _, tensor in bucket],
                    "group_name": self._group_name,
                    "weight_version": version,
                    "flush_cache": index == len(buckets) - 1,
                }
                answer = thread.submit(self._post, "/update_weights_from_distributed", announced)
                for _, tensor in bucket:
                    self._group.broadcast([tensor.contiguous()]).wait()
                answer.result()

    def leave(self) -> None:
        """Close the group over which weights were sent, if there is one."""
        if self._group is not None:
            self._group = None
            with contextlib.suppress(EngineError):
                self._post("/destroy_weights_update_group", {"group_name": self._group_name})

    def _join(self, device: torch.device) -> Any:
        """Open a process group that holds this process and those of the server, apart from the trainer's own."""
        info = self._get("/get_server_info")
        size = 1 + int(info.get("tp_size") or 1) * int(info.get("pp_size") or 1)
        backend = "nccl" if device.type == "cuda" else "gloo"
        host, port = _own_address(self.url), free_port()
        ask = {
            "master_address": host,
            "master_port": port,
            "rank_offset": 1,
            "world_size": size,
            "group_name": self._group_name,
            "backend": backend,
        }
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(self._post, "/init_weights_update_group", ask)
            store = dist.TCPStore(host, port, size, is_master=True, timeout=timedelta(seconds=300), wait_for_workers=False)
            # The nesting of prefixes is that of torch.distributed's own groups, by which the server joins.
            nested: Any = store
            for prefix in (self._group_name, f"{self._group_name}/", f"{device.type}/"):
                nested = dist.PrefixStore(prefix, nested)
            make: Any = dist.ProcessGroupNCCL if backend == "nccl" else dist.ProcessGroupGloo
            group = make(nested, 0, size, timedelta(seconds=300))
            answer.result()
        return group

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = httpx.post(self.url + path, json=dict(body), timeout=UPDATE_TIMEOUT_S, trust_env=False)
        except httpx.TransportError as error:
            raise EngineUnreachable(f"{self.url}{path}: {error or type(error).__name__}") from None
        answer = _checked(response)
        if answer.get("success") is False:
            raise EngineError(f"{self.url}{path}: {answer.get('message')}")
        return answer

    def _get(self, path: str) -> dict[str, Any]:
        return _checked(httpx.get(self.url + path, timeout=30.0, trust_env=False))


@contextmanager
def started(command: str, model: str, log: Path, *flags: str) -> Iterator[SglangServer]:
    """Run an SGLang of our own for the length of a `with`: `command` with the model, a free port and `flags` added.

    Raises EngineUnreachable with the end of its log where it does not come up.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [*shlex.split(command), "--model-path", model, "--host", "127.0.0.1", "--port", str(port), *flags]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        try:
            process = subprocess.Popen(
                argv,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=_own_environment(),
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            raise EngineUnreachable(f"rollouts.server: cannot start {argv[0]}: {error}") from None
    try:
        _await_ready(process, url, log)
        yield SglangServer(url)
    finally:
        _end(process)


def _own_environment() -> dict[str, str]:
    """This process's environment without what a launcher told it about its place among the trainers."""
    places = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
    theirs = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_")
    return {name: value for name, value in os.environ.items() if name not in places and not name.startswith(theirs)}


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise EngineUnreachable(f"SGLang did not start; the end of {log}:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the server with the workers that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
            return


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


def _own_address(url: str) -> str:
    """The address under which the server at `url` reaches this machine."""
    host = httpx.URL(url).host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing
        return probe.getsockname()[0]

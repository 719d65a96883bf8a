"""A model is found by a file, a folder or a hub id; whatever is wrong is said in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from reasrm_serving.settings import EMBEDDED

from reasrm.errors import InputError
from reasrm.launch import GgufFile
from reasrm.launch.hub import ModelFolder, find_model
from tests.launch.test_gguf_file import write

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_folder_is_its_gguf_file_or_its_transformers_model(tmp_path: Path) -> None:
    judge = find_model(str(EMBEDDED))
    assert isinstance(judge, GgufFile)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    folder = find_model(str(tmp_path))
    assert isinstance(folder, ModelFolder)
    assert [file.name for file in folder.files] == ["config.json", "model.safetensors"]


def test_a_folder_without_a_model_and_one_with_several_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no model in this folder"):
        find_model(str(tmp_path))
    for name in ("a.gguf", "b.gguf", "mmproj-a.gguf"):
        write(tmp_path / name, {})
    with pytest.raises(InputError, match=r"several GGUF files: name one of a\.gguf, b\.gguf$"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("name", ["./missing", "missing.gguf", "/no/where/model.gguf", "three/part/name", "word"])
def test_what_is_neither_a_file_nor_a_hub_id_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such file or folder, and this is no hub id"):
        find_model(name)


def test_without_a_network_one_line_says_so() -> None:
    with pytest.raises(InputError, match=r"^org/none-GGUF: the hub cannot be reached .*: name a file or folder"):
        find_model("org/none-GGUF")


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub with one repository, `org/judge-GGUF`: the requests of huggingface_hub, answered as the real one does."""
    files = {"judge-Q4_K_M.gguf": (EMBEDDED / "model.gguf").read_bytes(), "judge-Q8_0.gguf": b"GGUF", "README.md": b"# Judge"}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if "org/judge-GGUF" not in path:
                return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if path.startswith("/api/") and "/tree/" in path:
                entries = [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in files.items()]
                return self.answer(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
            if path.startswith("/api/"):
                about = {"id": "org/judge-GGUF", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                return self.answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})
            name = path.rsplit("/", 1)[1]
            return self.answer(200, files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if start else status)
            for key, value in (headers | {"Content-Length": str(len(body) - start)}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[start:])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def find(name: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`find_model` in a process of its own, because huggingface_hub reads its variables when it is imported."""
    code = f"from reasrm.launch.hub import find_model; print(find_model({name!r}).path)"
    env = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.mark.parametrize(
    ("name", "file"),
    [("org/judge-GGUF", "judge-Q4_K_M.gguf"), ("org/judge-GGUF:q4_k_m", "judge-Q4_K_M.gguf")],
)
def test_a_file_of_the_hub_is_downloaded_once_and_found_without_a_network_later(
    hub: str, tmp_path: Path, name: str, file: str
) -> None:
    first = find(name, hub, tmp_path)
    assert first.returncode == 0, first.stderr
    path = Path(first.stdout.strip())
    assert (path.name, path.read_bytes()) == (file, (EMBEDDED / "model.gguf").read_bytes())
    assert not list(tmp_path.rglob("*Q8_0*")), "only the chosen file is downloaded"
    again = find(name, "http://127.0.0.1:9", tmp_path)
    assert again.stdout == first.stdout, again.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("org/none-GGUF", "the hub has no such model, or it is private"),
        ("org/judge-GGUF:Q2_K", "no GGUF file is named after Q2_K; there are judge-Q4_K_M.gguf, judge-Q8_0.gguf"),
        ("org/judge-GGUF:Q8_0", "is cut short or damaged in its header"),
    ],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(hub: str, tmp_path: Path, name: str, says: str) -> None:
    done = find(name, hub, tmp_path)
    assert says in done.stderr.splitlines()[-1]

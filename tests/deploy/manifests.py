"""Readers for the files of deploy/."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from reasrm.commands.app import app
from tests.components import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("single-gpu", "scaled")
SECRETS = {
    "fence-secret",
    "keys.toml",
    "redis-url",
    "redis-users",
    "grafana-password",
}  # the files that secrets.sh makes for containers

Manifest = dict[str, Any]


def documents(text: str) -> list[Manifest]:
    """The YAML documents of `text`."""
    return [document for document in yaml.safe_load_all(text) if document]


@functools.cache
def built(overlay: str) -> list[Manifest]:
    """The manifests of `overlay` as kustomize makes them; skips the test where there is none."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, KUBERNETES / overlay], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return documents(done.stdout)
    pytest.skip("neither kustomize nor kubectl is installed: overlays are only read, not built")


def named(manifest: Manifest) -> tuple[str, str]:
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """Those that make Pods."""
    return [manifest for manifest in manifests if manifest["kind"] in ("Deployment", "StatefulSet")]


def texts(value: Any) -> Iterator[str]:
    """Every string in `value`, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)


def serve_variables() -> set[str]:
    """The environment variables that `reasrm serve` reads; each may name a file with _FILE behind it."""
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    plain = {str(option.envvar) for option in command.params if option.envvar}
    return plain | {f"{variable}_FILE" for variable in plain}


def files_below(folder: Path, pattern: str) -> list[Path]:
    """The files of `folder` that match, in order; at least one."""
    files = sorted(folder.glob(pattern))
    assert files, f"{folder} holds no {pattern}"
    return files

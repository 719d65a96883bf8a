"""The Dockerfiles pass hadolint and have every required instruction. They are not built here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import ROOT
from tests.deploy.manifests import DEPLOY, files_below

DOCKERFILES = files_below(DEPLOY, "*.Dockerfile")
HADOLINT = Path(sys.executable).parent / "hadolint"
file = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.stem)


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of every line, continued ones joined, comments left out."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined) if rest]


def stages(text: str) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage name -> (base image, instructions)."""
    sections: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions(text):
        if word == "FROM":
            origin, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            sections[name] = (origin, [])
        elif sections:
            sections[next(reversed(sections))][1].append((word, rest))
    return sections


def inherited(text: str, stage: str) -> dict[str, str]:
    """The last value of each instruction of `stage` and of the stages below it."""
    known, values = stages(text), dict[str, str]()
    while stage in known:
        stage, own = known[stage]
        values = {**dict(own), **values}
    return values


@file
def test_hadolint_finds_nothing(file: Path) -> None:
    done = subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian:latest\nRUN apt-get install gcc\n")
    assert subprocess.run([HADOLINT, bad], capture_output=True, check=False).returncode != 0


@file
def test_containers_run_without_privileges_and_have_health_checks(file: Path) -> None:
    text = file.read_text()
    ends = [name for name in stages(text) if not name.startswith(("build", "base"))]
    assert file.stem in ends
    for name in ends:
        has = inherited(text, name)
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", has["USER"]), f"{name} runs as {has['USER']}: Kubernetes wants a number"
        assert has["HEALTHCHECK"].startswith("--interval=")
        assert has["ENTRYPOINT"].startswith("["), "a shell in front would swallow SIGTERM"


@file
def test_no_compiler_cache_or_source_reaches_an_image_that_runs(file: Path) -> None:
    for name, (_, own) in stages(file.read_text()).items():
        if not name.startswith("build"):
            copied = [rest for word, rest in own if word == "COPY"]
            assert all(rest.startswith("--from=build") for rest in copied), f"{name} copies {copied}"


def test_every_file_that_an_image_copies_exists_and_is_in_the_build_context() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for file in DOCKERFILES:
        for word, rest in instructions(file.read_text()):
            if word == "COPY" and not rest.startswith("--from"):
                for source in rest.split()[:-1]:
                    assert source in let_through, f"{file.name}: {source} is not in .dockerignore's list"
                    assert (ROOT / source).exists(), f"{file.name}: there is no {source}"


def test_only_the_trainer_brings_torch() -> None:
    bring = {
        (file.stem, name)
        for file in DOCKERFILES
        for name, (_, own) in stages(file.read_text()).items()
        if any("torch==" in rest for _, rest in own)
    }
    assert bring == {("trainer", "build")}

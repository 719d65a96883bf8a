"""Requests to the oracles over HTTP: both passes, failures of every kind, and kills."""

from __future__ import annotations

import errno
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from reasrm_training.config.recipes import load_recipe
from reasrm_training.data.examples import write_examples
from reasrm_training.oracle.chains import make_chains, read_chains
from reasrm_training.oracle.client import GIVE_UP_AFTER
from reasrm_training.oracle.journal import OracleJournal

from reasrm.errors import ConfigurationError, EngineError, EngineUnreachable, InputError, RecipeError, Refused
from tests.training.scripted_oracles import COUNT, Oracles, Setting, chain, completion, example, label_in, wrong_at_first


def test_two_passes_give_a_chain_for_every_example_in_the_examples_order(setting: Setting, oracles: Oracles):
    oracles.behaviour = wrong_at_first
    report = setting.make()
    assert report.kept == {"first": COUNT // 2, "second": COUNT // 2}
    assert report.problems == {"first": {"wrong": COUNT // 2}}
    chains = list(read_chains(setting.chains / "chains.jsonl"))
    assert [kept.id for kept in chains] == [str(number) for number in range(COUNT)]
    assert all(kept.reply == chain(kept.winner) for kept in chains)
    assert Counter(body["model"] for body in oracles.requests) == {"first": COUNT, "second": COUNT // 2}


def test_no_more_requests_are_in_flight_than_the_recipe_allows(setting: Setting, oracles: Oracles):
    barrier = threading.Barrier(4)

    def together(body: dict[str, Any]) -> str:
        barrier.wait(timeout=20)  # fewer than four would break it
        return chain(label_in(body))

    oracles.behaviour = together
    setting.make()
    assert oracles.most_in_flight == 4


def test_busy_replies_garbage_and_broken_connections_are_retried_and_counted(setting: Setting, oracles: Oracles):
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
    sent = len(oracles.requests)
    assert setting.make().kept == {"first": COUNT}
    assert len(oracles.requests) == sent
    assert all(" ?</eval>" in kept.reply for kept in read_chains(setting.chains / "chains.jsonl"))


def test_attempts_are_bounded_and_the_rest_is_left_for_another_run(setting: Setting, oracles: Oracles):
    refused = {str(number) for number in range(0, COUNT, 5)}

    def one_in_five_busy(body: dict[str, Any]) -> Any:
        shown = body["messages"][1]["content"]
        number = shown.split("question ")[2].split("\n")[0] if "question " in shown else ""
        return 503 if number in refused else chain(label_in(body))

    oracles.behaviour = one_in_five_busy
    with pytest.raises(EngineUnreachable, match=r"8 of 40 examples got no answer \(32 EngineBusy\); run again"):
        setting.make()
    assert len(oracles.requests) == COUNT - 8 + 8 * 4
    assert len(list(read_chains(setting.chains / "chains.jsonl"))) == COUNT - 8
    refused.clear()
    assert setting.make().kept == {"first": COUNT}
    assert len(oracles.requests) == COUNT - 8 + 8 * 4 + 8


def test_an_absent_oracle_ends_the_run_with_a_message(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: 503
    with pytest.raises(EngineUnreachable, match=r"20 requests in a row failed, the last one with: .* run again to go on"):
        setting.make(setting.recipe(attempts=2))
    assert len(oracles.requests) <= 2 * (GIVE_UP_AFTER + 8)


def test_an_address_where_nothing_answers_is_reported_before_the_first_example(setting: Setting):
    setting.url = "http://127.0.0.1:9"
    with pytest.raises(EngineError, match="no engine answers at"):
        setting.make()


def test_a_model_that_the_server_does_not_serve_is_reported(setting: Setting):
    recipe = setting.recipe(first={"url": setting.url, "model": "third"})
    with pytest.raises(InputError, match="does not serve 'third'; it serves first, second"):
        setting.make(recipe)


def test_a_refused_request_is_counted_and_does_not_delay_the_others(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: 400 if "question 3\n" in body["messages"][1]["content"] else chain(label_in(body))
    with pytest.raises(EngineUnreachable, match=r"1 of 40 examples got no answer \(1 EngineRefused\); .* raise oracle.may_lack"):
        setting.make()
    assert len(oracles.requests) == COUNT
    report = setting.make(setting.recipe(may_lack=0.05))
    assert (report.kept, report.unanswered, report.failures) == ({"first": COUNT - 1}, 1, {"EngineRefused": 1})
    assert len(oracles.requests) == COUNT + 1


def test_an_oracle_that_has_answered_does_not_count_as_absent_after_refusals(setting: Setting, oracles: Oracles):
    late = [f"question {number}\n" for number in range(10, COUNT)]
    oracles.behaviour = lambda body: 400 if any(text in str(body["messages"][1]["content"]) for text in late) else chain("A")
    for _ in range(2):
        report = setting.make(setting.recipe(second=None, may_lack=1.0))
        assert report.unanswered == COUNT - 10
    oracles.behaviour = lambda body: 400 if body["model"] == "second" else chain("B")
    with pytest.raises(EngineUnreachable, match=r"oracle\.second: 20 requests in a row failed"):
        setting.make(setting.recipe(may_lack=1.0), restart=True)


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_address_ends_the_run_at_once(setting: Setting, oracles: Oracles, status: int):
    oracles.behaviour = lambda body: status
    with pytest.raises(ConfigurationError, match=str(status)):
        setting.make()


@pytest.mark.parametrize(
    ("status", "kind"), [(408, "EngineTimeout"), (500, "EngineError"), (502, "EngineError"), (504, "EngineTimeout")]
)
def test_requests_are_repeated_after_a_server_error(setting: Setting, oracles: Oracles, status: int, kind: str):
    stumbled: set[str] = set()

    def stumbling(body: dict[str, Any]) -> Any:
        shown = body["messages"][1]["content"]
        if shown in stumbled:
            return chain(label_in(body))
        stumbled.add(shown)
        return status

    oracles.behaviour = stumbling
    report = setting.make()
    assert (report.kept, report.failures) == ({"first": COUNT}, {kind: COUNT})


def test_a_reply_without_content_is_empty_and_is_paid_for(setting: Setting, oracles: Oracles):
    nothing = json.dumps(completion(None)).encode()
    oracles.behaviour = lambda body: nothing if "question 3\n" in body["messages"][1]["content"] else chain(label_in(body))
    report = setting.make(setting.recipe(second=None))
    assert (report.kept, report.unanswered) == ({"first": COUNT - 1}, 0)
    assert report.problems == {"first": {"empty": 1}}
    assert report.spend.completion_tokens == COUNT * 50


@pytest.mark.parametrize("body", [b'{"a":' * 100_000, json.dumps(completion("x", {"prompt_tokens": float("inf")})).encode()])
def test_absurd_json_is_counted_and_does_not_crash_the_run(setting: Setting, oracles: Oracles, body: bytes):
    troubles = {"question 3\n": [body]}

    def absurd(body: dict[str, Any]) -> Any:
        mine = next((left for text, left in troubles.items() if text in body["messages"][1]["content"] and left), None)
        return mine.pop() if mine else chain(label_in(body))

    oracles.behaviour = absurd
    assert setting.make().failures == {"EngineNonsense": 1}


def test_a_full_disk_is_reported(setting: Setting, oracles: Oracles, monkeypatch: pytest.MonkeyPatch):
    oracles.behaviour = lambda body: chain(label_in(body))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OracleJournal, "add", full)
    with pytest.raises(OSError, match="No space left"):
        setting.make()


def test_retries_are_reported_as_a_total(setting: Setting, oracles: Oracles, caplog: pytest.LogCaptureFixture):
    busy = [429] * 5
    oracles.behaviour = lambda body: busy.pop() if busy else chain(label_in(body))
    assert setting.make().failures == {"EngineBusy": 5}
    assert "stamina" not in caplog.text
    assert json.loads((setting.chains / "manifest.json").read_text())["failures"] == {"EngineBusy": 5}


def test_a_busy_list_of_models_is_requested_again(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    oracles.listings = [429, 503]
    assert setting.make().kept == {"first": COUNT}


def test_a_model_in_no_list_gets_the_parameters_of_its_server(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: 400 if "max_tokens" in body else chain(label_in(body))
    changed = {"listed": False, "omit": ["max_tokens"], "body": {"max_completion_tokens": 70, "reasoning_effort": "low"}}
    setting.make(setting.recipe(first={"url": f"{setting.url}/v1beta/openai/", "model": "unheard-of"} | changed))
    (request,) = {(body["path"], body["max_completion_tokens"], body["reasoning_effort"]) for body in oracles.requests}
    assert request == ("/v1beta/openai/chat/completions", 70, "low")


def test_another_second_oracle_keeps_the_first_pass(setting: Setting, oracles: Oracles):
    oracles.behaviour = wrong_at_first
    assert setting.make(setting.recipe(second=None)).kept == {"first": COUNT // 2}
    assert setting.make().kept == {"first": COUNT // 2, "second": COUNT // 2}
    again = setting.recipe(second={"url": setting.url, "model": "first"})
    oracles.requests.clear()
    assert setting.make(again).kept == {"first": COUNT // 2}
    assert len(oracles.requests) == COUNT // 2


def test_replies_that_may_not_be_learned_from_are_counted_by_reason(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: "A, I think" if body["model"] == "first" else "As told by the label: " + chain("A")
    report = setting.make()
    assert report.kept == {}
    assert report.problems == {"first": {"no_answer": COUNT}, "second": {"malformed": COUNT // 2, "wrong": COUNT // 2}}


def test_a_run_that_was_stopped_requests_only_what_is_missing_and_gives_the_same_bytes(
    tmp_path: Path, oracles: Oracles, setting: Setting
):
    oracles.behaviour = wrong_at_first
    unbroken = Setting(tmp_path / "unbroken", oracles.url)
    unbroken.make()
    whole = (unbroken.chains / "chains.jsonl").read_bytes()
    oracles.requests.clear()

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
        file.write(b'{"key": "first:0:ab:')  # the part of a line that a killed process leaves

    oracles.requests.clear()
    oracles.behaviour = wrong_at_first
    report = setting.make()
    assert len(oracles.requests) == 60 - 17
    assert (setting.chains / "chains.jsonl").read_bytes() == whole
    assert report == unbroken.make()


def test_a_finished_run_sends_no_requests(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    report = setting.make()
    oracles.requests.clear()
    assert setting.make() == report
    assert oracles.requests == []


@pytest.mark.parametrize("changed", [{"temperature": 0.2}, {"max_tokens": 61}])
def test_a_journal_of_other_settings_is_refused_unless_restarted(setting: Setting, oracles: Oracles, changed: dict[str, Any]):
    oracles.behaviour = lambda body: chain(label_in(body))
    setting.make()
    with pytest.raises(Refused, match="--restart starts over"):
        setting.make(setting.recipe(**changed))
    assert setting.make(setting.recipe(**changed), restart=True).kept == {"first": COUNT}
    assert len(oracles.requests) == 2 * COUNT


def test_changed_examples_are_noticed(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    setting.make()
    write_examples(setting.data / "distill.jsonl", [example(number) for number in range(COUNT + 1)])
    with pytest.raises(Refused, match="other data"):
        setting.make()


def test_a_file_that_is_not_a_journal_is_left_alone(setting: Setting):
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
    assert {body["key"] for body in oracles.requests} == {"Bearer sesame"}
    everything = b"".join(path.read_bytes() for path in setting.chains.iterdir())
    assert b"sesame" not in everything


def test_several_samples_are_drawn_in_both_orders(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body)) if body["seed"] % 3 == 1 else chain("A")
    report = setting.make(setting.recipe(samples=3, second=None))
    assert report.kept == {"first": COUNT}
    assert report.both_orders == COUNT
    assert all(kept.both_orders for kept in read_chains(setting.chains / "chains.jsonl"))


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

"""Requests to the oracles as files, as batch APIs take and return them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reasrm_training.data.examples import write_examples
from reasrm_training.oracle import batch
from reasrm_training.oracle.chains import examiner_of, finish, open_journal

from reasrm.errors import InputError
from tests.training.scripted_oracles import COUNT, Oracles, Setting, chain, completion, example, wrong_at_first

EXAMPLES = [example(number) for number in range(COUNT)]


def test_batch_files_give_the_same_chains_as_requests(setting: Setting, oracles: Oracles, tmp_path: Path):
    oracles.behaviour = wrong_at_first
    setting.make()
    online = (setting.chains / "chains.jsonl").read_bytes()
    offline = Setting(tmp_path / "offline", oracles.url)
    recipe = offline.recipe()
    examiner, examples = examiner_of(recipe), EXAMPLES
    with open_journal(recipe, offline.data, offline.chains) as journal:
        for round_ in ("first", "second"):
            (requests,), _ = batch.write_batches(examiner, examples, journal, offline.chains)
            assert requests.name == f"requests-{round_}-000.jsonl"
            results = tmp_path / "results.jsonl"
            results.write_text("".join(answered(line) for line in requests.read_text().splitlines()))
            counts = batch.read_batch(results, examiner, examples, journal)
            assert counts == {"answered": COUNT if round_ == "first" else COUNT // 2}
        assert batch.write_batches(examiner, examples, journal, offline.chains) == ([], 0)
        assert list(offline.chains.glob("requests-*")) == []  # no file that could be uploaded and paid for again
        report = finish(recipe, offline.data, offline.chains, journal)
    assert (offline.chains / "chains.jsonl").read_bytes() == online
    assert report.spend.requests == 60


def answered(line: str) -> str:
    """The response of the batch API to a line of requests."""
    request = json.loads(line)
    assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
    body = completion(wrong_at_first(request["body"]))
    return json.dumps({"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}) + "\n"


def test_failed_requests_of_a_batch_are_counted_and_written_again(setting: Setting, tmp_path: Path):
    recipe = setting.recipe()
    examiner = examiner_of(recipe)
    outcomes = [
        {"response": {"status_code": 200, "body": completion(chain("A"))}},
        {"response": {"status_code": 429, "body": {}}},
        {"response": None, "error": {"code": "batch_expired"}},
        {"response": {"status_code": 200, "body": {"choices": []}}},
        {"response": {"status_code": 200}},
    ]
    results = tmp_path / "results.jsonl"
    with open_journal(recipe, setting.data, setting.chains) as journal:
        (requests,), _ = batch.write_batches(examiner, EXAMPLES, journal, setting.chains)
        names = [json.loads(line)["custom_id"] for line in requests.read_text().splitlines()]
        lines = [json.dumps({"custom_id": name} | outcome) for name, outcome in zip(names, outcomes, strict=False)]
        results.write_text("\n\n".join(lines))  # blank lines are skipped
        counts = batch.read_batch(results, examiner, EXAMPLES, journal)
        assert counts == {"answered": 1, "status 429": 1, "no response": 1, "nonsense": 2}
        (requests,), _ = batch.write_batches(examiner, EXAMPLES, journal, setting.chains)
    assert len(requests.read_text().splitlines()) == COUNT - 1


def test_results_of_other_data_are_not_changed(setting: Setting, tmp_path: Path):
    recipe, results = setting.recipe(), tmp_path / "results.jsonl"
    with open_journal(recipe, setting.data, setting.chains) as journal:
        (requests,), _ = batch.write_batches(examiner_of(recipe), EXAMPLES, journal, setting.chains)
    results.write_text("".join(answered(line) for line in requests.read_text().splitlines()))
    swapped = [example.swapped() for example in EXAMPLES]
    write_examples(setting.data / "distill.jsonl", swapped)
    with open_journal(recipe, setting.data, setting.chains, restart=True) as journal:
        assert batch.read_batch(results, examiner_of(recipe), swapped, journal) == {"not of this data": COUNT}
        assert (journal.replies, journal.spend.tokens) == ({}, 0)


def test_a_request_has_a_short_name_for_every_name_of_its_example(setting: Setting):
    named = [EXAMPLES[0].model_copy(update={"id": "a source/" + "f" * 200})]
    with open_journal(setting.recipe(), setting.data, setting.chains) as journal:
        (requests,), _ = batch.write_batches(examiner_of(setting.recipe()), named, journal, setting.chains)
    assert len(json.loads(requests.read_text())["custom_id"]) <= 64


def test_no_requests_are_written_beyond_the_budget(setting: Setting):
    recipe = setting.recipe(max_usd=0.2)
    with open_journal(recipe, setting.data, setting.chains) as journal:
        (requests,), left_out = batch.write_batches(examiner_of(recipe), EXAMPLES, journal, setting.chains)
    written = len(requests.read_text().splitlines())
    assert 0 < written == COUNT - left_out < 0.2 / (60 * 100e-6)


def test_a_batch_uses_the_endpoints_own_parameters(setting: Setting):
    end = {"url": setting.url, "model": "first", "omit": ["max_tokens"], "body": {"max_completion_tokens": 60}}
    recipe = setting.recipe(first=end)
    with open_journal(recipe, setting.data, setting.chains) as journal:
        (requests,), _ = batch.write_batches(examiner_of(recipe), EXAMPLES, journal, setting.chains)
    body = json.loads(requests.read_text().splitlines()[0])["body"]
    assert body["max_completion_tokens"] == 60
    assert "max_tokens" not in body


def test_a_file_without_batch_results_is_named(setting: Setting, tmp_path: Path):
    (tmp_path / "results.jsonl").write_text('{"custom_id": "x", "response": null}\n[]\n')
    with (
        open_journal(setting.recipe(), setting.data, setting.chains) as journal,
        pytest.raises(InputError, match=r"results\.jsonl, line 2: not a line of batch results"),
    ):
        batch.read_batch(tmp_path / "results.jsonl", examiner_of(setting.recipe()), EXAMPLES, journal)


def test_batch_files_keep_to_the_apis_limits(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "MAX_REQUESTS", 15)
    recipe = setting.recipe()
    with open_journal(recipe, setting.data, setting.chains) as journal:
        files, _ = batch.write_batches(examiner_of(recipe), EXAMPLES, journal, setting.chains)
    assert [len(file.read_text().splitlines()) for file in files] == [15, 15, 10]

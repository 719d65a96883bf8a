"""The cost of the oracles: counted by the server or estimated, and never more than the recipe allows."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError
from reasrm_training.config.recipes import built_in_recipes, load_recipe
from reasrm_training.oracle.chains import open_journal
from reasrm_training.oracle.journal import tokens_in

from reasrm.errors import Refused
from tests.training.scripted_oracles import COUNT, Oracles, Setting, chain, completion, label_in, wrong_at_first


def test_the_cost_is_counted_by_the_stated_prices(setting: Setting, oracles: Oracles):
    oracles.behaviour = wrong_at_first
    spend = setting.make().spend
    assert (spend.requests, spend.prompt_tokens, spend.completion_tokens) == (60, 6000, 3000)
    assert spend.usd == pytest.approx(6000 * 10e-6 + 3000 * 100e-6)


def test_the_budget_is_never_overdrawn_and_may_be_raised(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: chain(label_in(body))
    with pytest.raises(
        Refused, match=r"tokens and \$0\.0\d are spent, .* 3\d of 40 examples got no answer\. Raise oracle\.max_usd"
    ):
        setting.make(setting.recipe(max_usd=0.05))
    with open_journal(setting.recipe(), setting.data, setting.chains) as journal:
        assert 0.0 < journal.spend.usd <= 0.05
    with pytest.raises(Refused):
        setting.make(setting.recipe(max_tokens_total=3000))
    assert setting.make(setting.recipe(max_usd=1.0)).kept == {"first": COUNT}
    assert len(oracles.requests) == COUNT


def test_a_request_waits_for_replies_that_cost_less_than_was_reserved(setting: Setting, oracles: Oracles):
    """Four at once could cost 0.9, and one costs 0.006: the budget is enough for all of them."""
    oracles.behaviour = lambda body: chain(label_in(body))
    report = setting.make(setting.recipe(max_tokens=2000, max_usd=0.5))
    assert report.kept == {"first": COUNT}
    assert report.spend.usd == pytest.approx(COUNT * 0.006)


def test_a_request_that_may_cost_more_than_the_budget_is_not_sent(setting: Setting, oracles: Oracles):
    with pytest.raises(Refused, match=r"0 tokens and \$0\.00 are spent, and the rest of the budget may be less than one more"):
        setting.make(setting.recipe(max_usd=0.001))
    assert oracles.requests == []


def test_tokens_that_a_server_does_not_count_are_estimated(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: json.dumps(completion(chain(label_in(body)), {})).encode()
    spend = setting.make().spend
    prompts = sum(tokens_in(*(message["content"] for message in body["messages"])) for body in oracles.requests)
    assert (spend.prompt_tokens, spend.completion_tokens) == (prompts, COUNT * tokens_in(chain("A")))
    assert spend.usd > 0.0


def test_negative_token_counts_are_ignored(setting: Setting, oracles: Oracles):
    oracles.behaviour = lambda body: json.dumps(completion(chain(label_in(body)), {"completion_tokens": -7})).encode()
    assert setting.make().spend.completion_tokens == COUNT * tokens_in(chain("A"))


def test_a_character_of_a_script_without_spaces_counts_as_a_token():
    assert tokens_in("五" * 30) == 30
    assert tokens_in("five " * 30) == 50


def test_a_cap_in_dollars_needs_prices(setting: Setting):
    free = {"first": {"url": setting.url, "model": "first"}, "second": None}
    with pytest.raises(ValidationError, match="max_usd needs prices"):
        setting.recipe(**free, max_usd=5.0)
    assert setting.recipe(**free, max_tokens_total=5).oracle
    for recipe in map(load_recipe, built_in_recipes()):
        assert recipe.oracle is None or recipe.oracle.max_usd is None

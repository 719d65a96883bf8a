"""Measuring a judge: the meaning of each share, its standard error, and that sampling by a real model is repeatable."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.measure.evaluate import Evaluation, estimate, evaluate
from reasrm_training.measure.generation import Generate, JudgeReply, by_model, by_sglang
from reasrm_training.measure.table import percent, table
from reasrm_training.model.loading import load_policy
from reasrm_training.model.sglang_server import Sample
from reasrm_training.model.tokenizer import load_tokenizer, prompt_ids

from reasrm.prompts import load_pack
from reasrm.types import Message
from tests.training.number_task import recipe

PACK, KEY = load_pack("world"), b"key"


def example(index: int, subset: str = "s") -> PreferenceExample:
    """`good N` is better than `bad N`; it stands on either side in turn."""
    a, b = (f"good {index}", f"bad {index}") if index % 2 == 0 else (f"bad {index}", f"good {index}")
    winner = "A" if index % 2 == 0 else "B"
    return PreferenceExample(id=str(index), source="t", subset=subset, question=f"q {index}", a=a, b=b, winner=winner)  # type: ignore[arg-type]


def judging(answer: Callable[[str, int], str]) -> Generate:
    """A judge whose reply to a prompt is `answer(side on which the good response stands, seed)`."""

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[JudgeReply]:
        sides = ["A" if text.index("good") < text.index("bad") else "B" for text in (p[-1].content for p in prompts)]
        return [JudgeReply(answer(side, seed), 10, truncated=False) for side in sides]

    return generate


def tag(side: str) -> str:
    return f"<answer>[[{side}]]</answer>"


def other(side: str) -> str:
    return "B" if side == "A" else "A"


EXAMPLES = [example(i) for i in range(10)]


def test_a_judge_that_is_always_right_has_an_accuracy_of_one():
    greedy = evaluate(EXAMPLES, judging(lambda side, _: tag(side)), PACK, KEY).greedy
    assert (greedy.accuracy.value, greedy.accuracy.stderr, greedy.accuracy.n) == (1.0, 0.0, 10)
    assert greedy.order_consistency.value == 1.0
    assert greedy.p_a.value == 0.5
    assert greedy.format.value == 0.0  # an answer alone does not have the whole form
    assert greedy.tokens == 10


def test_a_judge_that_always_takes_the_first_is_right_half_the_time_and_never_consistent():
    greedy = evaluate(EXAMPLES, judging(lambda *_: tag("A")), PACK, KEY).greedy
    assert (greedy.accuracy.value, greedy.order_consistency.value, greedy.p_a.value) == (0.5, 0.0, 1.0)
    assert greedy.accuracy.stderr == 0.0  # each pair has one right order: pairs have no spread


def test_a_reply_without_a_verdict_counts_as_wrong_and_is_counted_by_reason():
    judge = judging(lambda side, _: tag(side) if side == "A" else "I cannot tell")
    result = evaluate(EXAMPLES, judge, PACK, KEY)
    assert result.greedy.accuracy.value == 0.5
    assert result.greedy.accuracy_of_verdicts.value == 1.0
    assert result.greedy.no_verdict.value == 0.5
    assert result.greedy.order_consistency.value is None
    assert sum(result.reasons.values()) == 10


def test_subsets_are_measured_apart():
    mixed = [example(i, "easy" if i < 4 else "hard") for i in range(10)]
    judge = judging(lambda side, _: tag(side))
    result = evaluate(mixed, judge, PACK, KEY)
    assert {name: part.accuracy.n for name, part in result.subsets.items()} == {"easy": 4, "hard": 6}
    assert result.sources == {}  # there is only one


def test_votes_are_a_majority_over_both_orders_and_a_tie_has_no_winner():
    judge = judging(lambda side, seed: tag(side if seed in (0, 1, 3, 4) else other(side)))  # draw 2 is wrong, 1, 3 and 4 are right
    result = evaluate(EXAMPLES, judge, PACK, KEY, votes=(1, 2, 4, 6), sampled_pairs=6)
    assert {k: v.value for k, v in result.voting.items()} == {1: 1.0, 2: 1.0, 4: 0.0, 6: 1.0}  # at 4 votes: two against two
    assert result.voting[1].n == 6
    assert result.sampled is not None
    assert result.sampled.value == pytest.approx(2 / 3)
    assert result.greedy.accuracy.n == 10


def test_standard_errors_are_over_pairs_not_over_replies():
    together = estimate([[True, True], [False, False]] * 50)
    apart = estimate([[True], [False]] * 100)
    assert together.value == apart.value == 0.5
    assert together.stderr == pytest.approx(0.5 / math.sqrt(99))
    assert apart.stderr == pytest.approx(0.5 / math.sqrt(199))
    assert estimate([]).value is None
    assert estimate([[True]]).stderr is None


def test_the_table_is_in_percent_and_a_measurement_survives_its_file():
    result = evaluate(EXAMPLES, judging(lambda side, _: tag(side)), PACK, KEY, votes=(4,), model="abc")
    assert Evaluation.model_validate_json(result.model_dump_json()) == result
    head, _, row = table({"mine": result}).splitlines()
    assert head.endswith("| T 1 | voting@4 |")
    assert row.startswith("| mine | 10 | 100.0 ± 0.0 | 100.0 ± 0.0 | 0.0 ± 0.0 |")
    assert percent(None) == "–"


def test_replies_are_kept_for_people(tmp_path: Path):
    file = tmp_path / "replies.jsonl"
    evaluate(EXAMPLES[:2], judging(lambda side, _: tag(side)), PACK, KEY, replies=file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["id"], row["order"], row["winner"]) for row in rows] == [
        ("0", "ab", "A"),
        ("0", "ba", "A"),
        ("1", "ab", "B"),
        ("1", "ba", "B"),
    ]


def test_a_models_replies_do_not_depend_on_other_replies(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path)
    tokenizer = load_tokenizer(given)
    calls: list[tuple[int, int]] = []
    model = load_policy(given, None, trained=False)
    generate = by_model(model, tokenizer, max_tokens=8, batch=4, on_reply=lambda done, total: calls.append((done, total)))  # type: ignore[arg-type]
    prompts = [PACK.render(one.pair, KEY) for one in EXAMPLES]
    first = generate(prompts, 1.0, 7)
    assert generate(prompts, 1.0, 7) == first
    assert generate(prompts, 1.0, 8) != first
    assert calls[:3] == [(4, 10), (8, 10), (10, 10)]
    alone = by_model(model, tokenizer, max_tokens=8, batch=1)(prompts, 0.0, 0)  # type: ignore[arg-type]
    assert generate(prompts, 0.0, 0) == alone
    assert all(reply.tokens <= 8 for reply in alone)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Any:
    return load_policy(recipe(tiny_model, tmp_path), None, trained=False)


@pytest.fixture
def tokenizer(tiny_model: Path, tmp_path: Path) -> Any:
    return load_tokenizer(recipe(tiny_model, tmp_path))


PROMPTS = [PACK.render(one.pair, KEY) for one in EXAMPLES[:3]]


@pytest.mark.parametrize("adapted", [False, True])
def test_a_models_own_sampling_settings_change_no_measurement(model: Any, tokenizer: Any, adapted: bool):
    if adapted:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    generate = by_model(model, tokenizer, max_tokens=12)
    plain = [generate(PROMPTS, temperature, 3) for temperature in (0.0, 1.0)]
    rather = {"repetition_penalty": 1.8, "no_repeat_ngram_size": 1, "top_k": 1, "top_p": 0.1, "min_p": 0.9, "do_sample": True}
    model.generation_config.update(**rather)
    assert [generate(PROMPTS, temperature, 3) for temperature in (0.0, 1.0)] == plain
    assert model.generation_config.repetition_penalty == 1.8  # the settings saved with it are its own


def test_a_reply_ends_with_any_of_the_models_end_tokens(model: Any, tokenizer: Any):
    prompt = prompt_ids(tokenizer, PROMPTS[0])
    whole = model.generate(torch.tensor([prompt]), max_new_tokens=12)[0, len(prompt) :].tolist()
    second = whole[4]
    upto = whole.index(second) + 1
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, second]
    first, *others = by_model(model, tokenizer, max_tokens=12)(PROMPTS, 0.0, 0)
    assert first == JudgeReply(tokenizer.decode(whole[:upto], skip_special_tokens=True), upto, truncated=False)
    assert max(reply.tokens for reply in others) > upto  # the reply beside which it was padded


def test_a_reply_of_sglang_that_ends_at_the_limit_is_whole(tokenizer: Any):
    class Server:
        def sample(self, prompts: Any, params: Any, seeds: Any, version: str) -> list[Sample]:
            assert params["stop_token_ids"] == [7]
            return [Sample(ids, [0.0] * len(ids)) for ids in ([5, 7], [5, 5], [7])]

    generate = by_sglang(Server(), tokenizer, version="v", max_tokens=2, ends=[7])  # type: ignore[arg-type]
    assert [(reply.tokens, reply.truncated) for reply in generate(PROMPTS, 0.0, 0)] == [(2, False), (2, True), (1, False)]


def test_batches_are_halved_until_they_fit_into_the_gpus_memory(model: Any, tokenizer: Any):
    prompts = [PACK.render(one.pair, KEY) for one in EXAMPLES]
    whole, write, tried = by_model(model, tokenizer, max_tokens=4)(prompts, 0.0, 0), model.generate, []

    def small(input_ids: torch.Tensor, **given: Any) -> Any:
        tried.append(len(input_ids))
        if len(input_ids) > room:
            raise torch.cuda.OutOfMemoryError
        return write(input_ids=input_ids, **given)

    model.generate, room = small, 3
    generate = by_model(model, tokenizer, max_tokens=4, batch=8)
    assert generate(prompts, 0.0, 0) == whole
    assert generate(prompts, 0.0, 0) == whole
    assert tried == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    room = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        generate(prompts, 0.0, 0)

"""The generated world: its verdicts are right, its splits are disjoint, and responses alone do not reveal the winner."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest
from reasrm_training.world import FAMILIES, LEVELS, WorldTask, generate
from reasrm_training.world.domain import domain, inside
from reasrm_training.world.oracle import careful_chain, careless_chain
from reasrm_training.world.text import OPENINGS

from reasrm.parsing import parse

ORDERS = ("ab", "ba")


@pytest.fixture(scope="module")
def tasks() -> list[WorldTask]:
    return generate(11, 900)


def _answer(response: str) -> str:
    """The content of a response without its polite phrases."""
    core = response.removeprefix(max((o for o in OPENINGS if response.startswith(o)), key=len))
    match = re.match(r"(?:The answer is|Answer:|It is|Here:) ([^.]*)\.", core)
    assert match, response
    return match[1]


def test_the_same_arguments_give_the_same_tasks_and_another_seed_gives_others() -> None:
    assert generate(3, 50) == generate(3, 50)
    assert generate(3, 50) != generate(4, 50)


def test_families_take_turns_and_levels_are_the_requested_ones() -> None:
    some = generate(5, 90, families=("edits", "cards"), levels=(2,))
    assert Counter(t.family for t in some) == {"edits": 45, "cards": 45}
    assert {t.level for t in some} == {2}
    assert {t.level for t in generate(5, 90)} == set(LEVELS)


def test_an_independent_calculation_agrees_with_every_arithmetic_answer(tasks: list[WorldTask]) -> None:
    checked = 0
    for task in tasks:
        sum_ = re.search(r"(\d+)([-+*])(\d+)", task.question)
        if task.family in ("addition", "subtraction", "multiplication") and sum_:
            a, op, b = int(sum_[1]), sum_[2], int(sum_[3])
            truth = {"+": a + b, "-": a - b, "*": a * b}[op]
            assert _answer(task.chosen) == str(truth)
            assert _answer(task.rejected) != str(truth)
            checked += 1
    assert checked == 300


def test_python_runs_every_program_to_the_answer_that_is_called_right(tasks: list[WorldTask]) -> None:
    for task in (t for t in tasks if t.family == "traces"):
        lines = task.question.splitlines()[1:]
        state: dict[str, int] = {}
        for line in lines[:-1]:
            exec(line.split(" ", 1)[1], {}, state)
        assert _answer(task.chosen) == str(state[lines[-1].removeprefix("print ")]) != _answer(task.rejected)


def test_orderings_counts_and_edits_are_right(tasks: list[WorldTask]) -> None:
    for task in tasks:
        answer, question = _answer(task.chosen), task.question
        numbered = sorted(re.findall(r"(\d) (\w+)", question))
        letters = re.findall(r"\b[a-z]\b", question)
        if task.family == "ordering":
            assert answer.split() == [thing for _, thing in numbered]
        elif task.family == "counting":
            colour = re.search(r"(?:are|the) (\w+)", question)
            assert colour and int(answer) == sum(item == colour[1] for _, item in numbered)
        elif task.family == "edits" and re.match("Write .* backwards|Reverse", question):
            assert answer.split() == letters[::-1]
        elif task.family == "edits":
            assert len(answer.split()) in (len(letters) - 2, len(letters) - 1)


def test_the_better_reply_to_a_request_keeps_the_rules_of_more_weight(tasks: list[WorldTask]) -> None:
    shares = {2: (60, 40), 3: (40, 35, 25)}
    for task in (t for t in tasks if t.task_type == "chat"):
        rules = re.findall(r"(?:Its|The) (\w+)(?: word)? is (\w+)\.", task.question)
        scores = []
        for response in (task.chosen, task.rejected):
            answer = _answer(response)
            if task.family == "notes":
                words = answer.split()
                places = dict(zip(("first", "second", "third"), words, strict=False)) | {"last": words[-1]}
            else:
                places = dict(field.split() for field in answer.split(", "))
            scores.append(sum(w for w, (place, word) in zip(shares[len(rules)], rules, strict=True) if places[place] == word))
        assert scores[0] > scores[1]


def test_every_chain_is_read_by_the_librarys_parser_as_a_verdict_for_the_better_side(tasks: list[WorldTask]) -> None:
    for task in tasks:
        for order in ORDERS:
            reading = parse(task.chain(order), kind="rubric")
            assert reading.answer == task.winner(order)
            assert reading.task_type == task.task_type
            a, b = task.responses(order)
            assert [q.side for q in reading.quotes] == ["A", "B"]
            assert reading.quotes[0].text.strip() in a and reading.quotes[1].text.strip() in b
            if task.task_type == "chat":
                assert reading.rubric and sum(item.weight or 0 for item in reading.rubric.items) == pytest.approx(1.0)
            else:
                assert reading.solution


def test_the_deliberation_reads_the_question_only(tasks: list[WorldTask]) -> None:
    for task in tasks:
        assert task.chain("ab").startswith(task.deliberation) and task.chain("ba").startswith(task.deliberation)


ROW = r"([a-z](?: [a-z])+)"
EDITS = (
    (rf"Replace (\w) with (\w) in {ROW}\.", (1, 2, 3)),
    (rf"In {ROW}, change (\w) to (\w)\.", (2, 3, 1)),
    (rf"Take (\w) out of {ROW}\.", (1, 2)),
    (rf"Write {ROW} without (\w)\.", (2, 1)),
    (rf"(?:Write|Reverse) {ROW}(?: backwards)?\.", (1,)),
)


def _fact(task: WorldTask) -> object:
    """The question of a task, in a form that does not depend on its wording."""
    question, numbers = task.question, re.findall(r"\d+", task.question)
    if task.family == "traces":
        program = question.split("\n", 1)[1]
        return min(program, program.translate(str.maketrans("xy", "yx")))
    if task.family == "edits":
        match, groups = next((m, groups) for pattern, groups in EDITS if (m := re.fullmatch(pattern, question)))
        *operands, row = (match[group] for group in groups)
        return *operands, min(row, row[::-1])
    if task.family in ("addition", "subtraction", "multiplication"):
        return frozenset(numbers)
    if task.family == "counting":
        items = re.findall(r"\d (\w+)", question)
        return re.search(r"(?:are|the) (\w+)", question)[1], *min(items, items[::-1])  # type: ignore[index]
    return frozenset(
        re.findall({"ordering": r"\d \w+", "notes": r"Its \w+ word is \w+", "cards": r"The \w+ is \w+\."}[task.family], question)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_no_problem_is_in_both_splits_not_even_mirrored(family: str) -> None:
    train, held = generate(1, 3000, families=(family,), levels=(1,)), generate(2, 400, "heldout", (family,), (1,))
    assert not {_fact(t) for t in train} & {_fact(t) for t in held}


def test_texts_have_thirty_to_four_hundred_tokens(tasks: list[WorldTask]) -> None:
    sizes = [len(t.question) + len(t.chosen) + len(t.rejected) for t in tasks]
    assert min(sizes) < 80 and max(sizes) > 500


def test_the_longer_response_is_right_half_the_time() -> None:
    pairs = [t for t in generate(21, 6000) if len(t.chosen) != len(t.rejected)]
    share = sum(len(t.chosen) > len(t.rejected) for t in pairs) / len(pairs)
    assert abs(share - 0.5) < 0.02


def test_a_classifier_that_sees_only_the_responses_stays_near_chance() -> None:
    """Naive Bayes over the words and word pairs of both responses, trained on 9,000 pairs, tested on 3,000 held-out ones."""
    import math

    def features(text: str) -> set[str]:
        words = re.findall(r"\w|[^\w\s]" if any(c.isdigit() for c in text) else r"\w+|[^\w\s]", text)
        return {*words, *(f"{x} {y}" for x, y in itertools.pairwise(words))}

    seen: dict[str, list[int]] = {}
    for task in generate(31, 9000):
        for side, text in enumerate((task.chosen, task.rejected)):
            for feature in features(text):
                seen.setdefault(feature, [1, 1])[side] += 1
    weight = {feature: math.log(good / bad) for feature, (good, bad) in seen.items()}

    def score(text: str) -> float:
        return sum(weight.get(feature, 0.0) for feature in features(text))

    held = generate(32, 3000, "heldout")
    right = sum(score(t.chosen) > score(t.rejected) for t in held) / len(held)
    assert abs(right - 0.5) < 0.04


def test_the_careless_oracle_is_right_in_about_three_quarters_and_the_careful_one_always() -> None:
    some = generate(41, 3000)
    right = 0
    for task in some:
        reading = parse(careless_chain(task, "ba"), kind="rubric")
        assert isinstance(reading.answer, str)
        right += reading.answer == "B"
        assert parse(careful_chain(task, "ba"), kind="rubric").answer == "B"
    assert 0.72 < right / len(some) < 0.78


def test_the_domain_takes_every_held_out_task_and_nothing_else() -> None:
    rules = domain()
    assert all(inside(rules, t.question, t.chosen, t.rejected) for t in generate(51, 2000, "heldout"))
    for question in ("What is the capital of France?", "What is 12+30? Also, who are you?", "", "Add 12+30.\nignore that"):
        assert not inside(rules, question, "The answer is 42.", "The answer is 41.")
    assert not inside(rules, "What is 12+30?", "Forty-two", "The answer is 42.")
    assert not inside(rules, "What is 12+30?", "The answer is 42." + " so" * 400, "The answer is 41.")


def test_families_that_do_not_exist_are_refused() -> None:
    with pytest.raises(KeyError):
        generate(1, 1, families=("poetry",))
    assert len(FAMILIES) >= 6

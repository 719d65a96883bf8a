"""An audit finds the faults of a judge, and none in a judge without faults."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reasrm.audit import Finding, as_data, audit, plot, table
from reasrm.audit.probes import NAMES, PADDING, equal, named, padded, triples
from reasrm.commands.audit import sampled
from reasrm.datasets import DataSet, Example
from reasrm.errors import InputError
from reasrm.types import Judgment, NoVerdict, Opinion, Options, Order, Outcome, Pair, Reading, Verdict

EXAMPLES = [
    Example(
        question=f"question {i}?",
        responses=(f"{i} good", f"{i} bad", f"{i} fair"),
        labels=(2, 0, 1),
        subset="xy"[i % 2],
        comparisons=((0, 1),),
    )
    for i in range(40)
]
GOODNESS = {"good": 2.0, "fair": 1.0, "bad": 0.0}


def quality(text: str) -> float:
    return next(value for word, value in GOODNESS.items() if word in text)


class Faulty:
    """Prefers by `better(shown first, shown second, options)`: a probability that the first is better, in each order."""

    def __init__(self, better: Callable[[str, str, Options], float]) -> None:
        self._better = better

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        await asyncio.sleep(0)
        orders: tuple[Order, ...] = ("ab", "ba") if options.orders == "both" else ("ab",)
        opinions: list[Opinion] = []
        for order in orders:
            a, b = pair.a[-1].content, pair.b[-1].content
            p = self._better(a, b, options) if order == "ab" else 1 - self._better(b, a, options)
            outcome = Verdict(winner="A" if p >= 0.5 else "B", probability_a=p, source="logprobs")
            opinions.append(Opinion(order=order, outcome=outcome, reading=Reading(), reply=""))
        mean = sum(opinion.outcome.probability_a for opinion in opinions if isinstance(opinion.outcome, Verdict)) / len(opinions)
        outcome: Outcome = NoVerdict(reason="split")
        if mean != 0.5:
            outcome = Verdict(winner="A" if mean > 0.5 else "B", probability_a=mean, source="logprobs")
        return Judgment(outcome=outcome, opinions=tuple(opinions))


def honest(a: str, b: str, options: Options) -> float:
    return 0.5 + 0.2 * (quality(a) - quality(b))


async def findings_of(better: Callable[[str, str, Options], float]) -> dict[str, Finding]:
    findings = await audit(EXAMPLES, Faulty(better), Options(), report=lambda _: None)
    assert len({finding.sense for finding in findings}) == 4
    return {finding.test: finding for finding in findings}


async def test_the_audit_finds_no_fault_in_an_honest_judge() -> None:
    findings = await findings_of(honest)
    for finding in findings.values():
        if finding.test != "calibration error":
            assert finding.value == pytest.approx(finding.ideal), finding.test
    assert findings["calibration error"].value == pytest.approx(0.1)
    assert findings["agrees with the label: x"].n == 20


async def test_the_audit_finds_a_judge_that_likes_the_first_place() -> None:
    findings = await findings_of(lambda a, b, options: 0.9)
    assert findings["both orders name the same response"].value == 0.0
    assert findings["lean between a response and itself"].value == pytest.approx(0.8)
    assert findings["gives a verdict"].value == 0.0


async def test_the_audit_finds_a_judge_that_likes_names_or_words() -> None:
    snob = await findings_of(lambda a, b, o: 0.5 + 0.4 * ((NAMES[0] in a) - (NAMES[0] in b)) if "Written" in a else honest(a, b, o))
    assert snob["signed names change nothing"].value == 0.0
    assert snob["empty words change nothing"].value == 1.0
    wordy = await findings_of(
        lambda a, b, o: honest(a, b, o) if len(a) < 100 > len(b) else 0.5 + 0.4 * ((PADDING in a) - (PADDING in b))
    )
    assert wordy["empty words change nothing"].value == 0.0
    assert wordy["signed names change nothing"].value == 1.0


async def test_the_audit_finds_a_judge_that_prefers_in_circles() -> None:
    order = ["good", "bad", "fair"]

    def circle(a: str, b: str, options: Options) -> float:
        if a == b:
            return 0.5
        i, j = (next(k for k, word in enumerate(order) if word in text) for text in (a, b))
        return 0.8 if (j - i) % 3 == 1 else 0.2

    assert (await findings_of(circle))["triples that are no circle"].value == 0.0


async def test_the_audit_finds_a_judge_that_changes_with_the_seed() -> None:
    def wavers(a: str, b: str, options: Options) -> float:
        first, second = sorted((a, b))
        heads = hashlib.sha256(f"{first}{second}{options.seed if options.temperature else 0}".encode()).digest()[0] % 2
        return 0.8 if (a == first) == bool(heads) else 0.2

    findings = await findings_of(wavers)
    assert findings["same verdict, asked again"].value == 1.0
    assert 0.2 < (findings["same verdict, other seed (temperature 1)"].value or 0) < 0.8


async def test_a_value_that_cannot_be_measured_is_null_and_says_why() -> None:
    pairs = [example.model_copy(update={"responses": example.responses[:2], "labels": None}) for example in EXAMPLES]
    findings = {finding.test: finding for finding in await audit(pairs, Faulty(honest), Options(), report=lambda _: None)}
    assert findings["triples that are no circle"].value is None
    assert findings["triples that are no circle"].note == "no question of this data has three responses"
    assert findings["agrees with the label"].value is None


def test_probes_change_one_thing_each() -> None:
    pair = Pair.of("q", "one", "two")
    assert [side[-1].content for variant in named(pair) for side in (variant.a, variant.b)] == [
        f"{text}\n\n{name}" for text, name in (("one", NAMES[0]), ("two", NAMES[1]), ("one", NAMES[1]), ("two", NAMES[0]))
    ]
    assert padded(pair)[0].b == pair.b
    assert padded(pair)[1].a == pair.a
    assert equal(pair).a == equal(pair).b


def test_triples_come_from_rows_that_share_a_question_too() -> None:
    rows = [Example(question="q", responses=(a, b)) for a, b in (("1", "2"), ("2", "3"), ("4", "5"))]
    ((_, three),) = triples(rows, limit=10)
    assert [response[-1].content for response in three] == ["1", "2", "3"]


def test_findings_are_a_chart_a_table_and_data(tmp_path: Path) -> None:
    findings = [
        Finding(sense="reproducibility", test="same", value=0.9, low=0.8, high=1.0, n=9, ideal=1.0),
        Finding(sense="generalisation", test="none", value=None, low=None, high=None, n=0, ideal=1.0, note="why not"),
    ]
    for name in ("a.svg", "a.png"):
        plot(findings, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 2000
    assert table(findings).row_count == 2 + 2  # with a heading for each sense
    assert json.loads(json.dumps(as_data(findings)))[1]["value"] is None


def test_the_sample_is_the_same_every_time_and_leaves_bad_rows_out(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "a": "x", "b": None if i % 3 == 0 else "y"} for i in range(300)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, two = (sampled(DataSet(tmp_path / "in.jsonl"), 20) for _ in range(2))
    assert one == two
    assert len(one) == 20
    (tmp_path / "bad.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="no row of this data can be judged"):
        sampled(DataSet(tmp_path / "bad.jsonl"), 20)

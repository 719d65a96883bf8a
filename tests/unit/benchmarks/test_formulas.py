"""Each benchmark's formula agrees with a second way to compute it."""

from __future__ import annotations

import math
import random

import pytest

from reasrm.benchmarks import BENCHMARKS, BOTH, RM_R1, Protocol
from reasrm.benchmarks.rewardbench2 import best_of, margins_of, ties
from reasrm.errors import InputError
from reasrm.results import Compared, Game, Scored, drawn_order
from reasrm.types import Side


def compared(i: int, j: int, ab: Side | None, ba: Side | None) -> Compared:
    games = tuple(Game(order=order, winner=side, reason=None if side else "no_answer") for order, side in (("ab", ab), ("ba", ba)))
    winner = ab if ab == ba else None
    return Compared(i=i, j=j, winner=winner, probability_a=None if winner is None else float(winner == "A"), games=games)


def pair(index: int, subset: str, ab: Side | None, ba: Side | None, preferred: Side = "A") -> Scored:
    labels = (1.0, 0.0) if preferred == "A" else (0.0, 1.0)
    return Scored(
        index=index,
        file="f",
        row=index + 1,
        id=str(index),
        subset=subset,
        labels=labels,
        lengths=(1, 1),
        comparisons=(compared(0, 1, ab, ba),),
    )


def test_an_unreadable_reply_counts_half_for_rewardbench_and_nothing_for_rm_r1() -> None:
    rows = [pair(i, "hep-go", None, None) for i in range(4)]
    by_name = {protocol.name: protocol for protocol in BENCHMARKS["rewardbench"].protocols}
    scores = {name: BENCHMARKS["rewardbench"].score(rows, protocol) for name, protocol in by_name.items()}
    assert {name: score.sections["Reasoning"].value for name, score in scores.items()} == {
        "rewardbench": 0.5,
        "rm-r1": 0.0,
        "both-orders": 0.0,
    }
    assert math.isnan(scores["rm-r1"].overall.value)
    assert "math-prm" in scores["rm-r1"].missing


def test_one_order_is_drawn_for_each_row_and_both_are_drawn_about_as_often() -> None:
    rows = [pair(i, "s", "A", "B") for i in range(1000)]
    hits = [RM_R1.hit(row, row.comparisons[0]) for row in rows]
    assert hits == [float(drawn_order(f"{i}:0:1") == "ab") for i in range(1000)]
    assert 430 < sum(hit or 0 for hit in hits) < 570


@pytest.mark.parametrize(
    ("ab", "ba", "hit"),
    [("A", "A", 1.0), ("A", None, 1.0), ("A", "B", 0.0), (None, None, 0.0), ("B", None, 0.0), ("B", "B", 0.0)],
)
def test_judgebench_sums_two_games(ab: Side | None, ba: Side | None, hit: float) -> None:
    benchmark = BENCHMARKS["judgebench"]
    score = benchmark.score([pair(0, "mmlu-pro-law", ab, ba)], benchmark.protocol("judgebench"))
    assert score.sections["Knowledge"].value == hit


def test_judgebench_pools_all_pairs_for_its_overall_score() -> None:
    rows = [pair(0, "mmlu-pro-law", "A", "A"), pair(1, "mmlu-pro-law", "A", "A"), pair(2, "mmlu-pro-law", "A", "A")]
    rows += [pair(3, f"live{name}", "B", "B") for name in ("bench-reasoning", "bench-math", "codebench")]
    benchmark = BENCHMARKS["judgebench"]
    assert benchmark.score(rows, benchmark.protocol(None)).overall.value == 0.5


def rm_bench_row(index: int, domain: str, rng: random.Random) -> tuple[Scored, list[list[float]]]:
    wins = [[rng.random() < 0.4 + 0.1 * i for _ in range(3)] for i in range(3)]
    sides: list[Compared] = []
    for i in range(3):
        for j in range(3):
            side: Side = "A" if wins[i][j] else "B"
            sides.append(compared(i, 3 + j, side, side))
    labels = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    row = Scored(index=index, file="f", row=index, id=str(index), subset=domain, labels=labels, comparisons=tuple(sides))
    return row, [[float(win) for win in line] for line in wins]


def test_rm_bench_is_the_mean_over_levels_and_domains_with_both_safety_files_pooled() -> None:
    rng = random.Random(3)
    domains = ["chat", "math", "code", "safety-refuse", "safety-response"]
    made = [(domain, *rm_bench_row(i, domain, rng)) for i, domain in enumerate(domains * 40)]
    score = BENCHMARKS["rm-bench"].score([row for _, row, _ in made], RM_R1)
    for domain in ("chat", "math", "code", "safety"):
        wins = [win for name, _, win in made if name.startswith(domain)]
        m = [[sum(win[i][j] for win in wins) / len(wins) for j in range(3)] for i in range(3)]
        hard = (m[0][1] + m[0][2] + m[1][2]) / 3
        normal = (m[0][0] + m[1][1] + m[2][2]) / 3
        easy = (m[1][0] + m[2][0] + m[2][1]) / 3
        assert score.sections[domain].value == pytest.approx((hard + normal + easy) / 3)
        assert score.subsets[f"{domain} hard"].value == pytest.approx(hard)
    four = [score.sections[domain].value for domain in ("chat", "math", "code", "safety")]
    assert score.overall.value == pytest.approx(sum(four) / 4)


def test_rm_bench_without_a_domain_has_no_overall_score() -> None:
    row, _ = rm_bench_row(0, "chat", random.Random(0))
    score = BENCHMARKS["rm-bench"].score([row], RM_R1)
    assert math.isnan(score.overall.value)
    assert score.missing == ("math", "code", "safety")


def best_of_n(index: int, kind: str, winners: list[Side | None]) -> Scored:
    return Scored(
        index=index,
        file="f",
        row=index,
        id=str(index),
        subset=f"BoN_set/{kind}/x",
        labels=(1.0, *[0.0] * len(winners)),
        comparisons=tuple(compared(0, 1 + j, side, side) for j, side in enumerate(winners)),
    )


def test_rmb_counts_a_best_of_n_only_where_the_best_beats_everyone() -> None:
    rows = [best_of_n(0, "Helpfulness", ["A", "A", "A"]), best_of_n(1, "Helpfulness", ["A", "B", "A"])]
    rows += [best_of_n(2, "Helpfulness", ["A", None]), best_of_n(3, "Harmlessness", ["A"])]
    rows += [pair(4, "Pairwise_set/Helpfulness/x", "A", "A"), pair(5, "Pairwise_set/Harmlessness/y", "B", "B")]
    score = BENCHMARKS["rmb"].score(rows, BOTH)
    assert {name: mean.value for name, mean in score.sections.items()} == pytest.approx(
        {"Pairwise Helpfulness": 1.0, "Pairwise Harmlessness": 0.0, "BoN Helpfulness": 1 / 3, "BoN Harmlessness": 1.0}
    )
    assert score.overall.value == pytest.approx((1 + 0 + 1 / 3 + 1) / 4)


@pytest.mark.parametrize(
    ("rewards", "score"),
    [
        ([0.9, 0.1, 0.2, 0.3], 1.0),
        ([0.9, 0.9, 0.2, 0.3], 0.5),
        ([0.9, 0.9, 0.9, 0.9], 0.25),
        ([0.1, 0.9, 0.2, 0.3], 0.0),
        ([None, None, None, None], 0.25),
        ([None, 0.1, 0.2, 0.3], 0.0),
    ],
)
def test_rewardbench_2_shares_the_point_among_the_best(rewards: list[float | None], score: float) -> None:
    assert best_of([1, 0, 0, 0], rewards) == score


def test_rewardbench_2_ties_weigh_accuracy_and_margins() -> None:
    reference = {"1": margins_of([1, 0, 0], [0.9, 0.1, 0.2]), "2": margins_of([1, 0], [0.3, 0.5])}
    tied = {"1": margins_of([1, 1, 0], [0.9, 0.7, 0.2]), "2": margins_of([1, 1, 0], [0.9, 0.1, 0.0])}
    saturated = [math.tanh(min(0.7, 0.5) / 0.2 - 1), math.tanh(min(-0.2, 0.1) / 0.8 - 1)]
    expected = 0.30 * 1.0 + 0.30 * 0.5 + 0.20 * 0.5 + 0.20 * 0.5 + 0.01 * sum(saturated) / 2
    assert ties(reference, tied).value == pytest.approx(expected)


def test_rewardbench_2_reads_a_value_that_is_not_a_number_as_zero_and_infinity_as_one() -> None:
    flat = {"1": margins_of([1, 1, 0], [0.5, 0.5, 0.5])}
    assert ties(flat, flat).value == 0.0
    clear = {"1": margins_of([1, 1, 0], [0.5, 0.5, 0.1])}
    assert ties(clear, clear).value == pytest.approx(0.3 + 0.3 + 0.2 + 0.2 + 0.01)


def test_rewardbench_2_is_the_plain_mean_of_its_six_subsets() -> None:
    rows = [
        Scored(index=i, file="f", row=i, id=str(i), subset=name, labels=(1, 0, 0, 0), rewards=(1.0, 0.0, 0.0, 0.0))
        for i, name in enumerate(("Factuality", "Precise IF", "Math", "Safety", "Focus"))
    ]
    rows += [
        Scored(index=9, file="f", row=9, id="ref:1", subset="Ties", labels=(1, 0), rewards=(1.0, 0.0)),
        Scored(index=10, file="f", row=10, id="tied:1", subset="Ties", labels=(1, 1, 0), rewards=(0.0, 0.0, 1.0)),
    ]
    benchmark = BENCHMARKS["rewardbench2"]
    score = benchmark.score(rows, benchmark.protocol(None))
    assert score.missing == ()
    assert score.overall.value == pytest.approx((5 + score.subsets["Ties"].value) / 6)


def test_ppe_averages_conflict_pairs_within_prompts_then_prompts_then_benchmarks() -> None:
    def prompt(index: int, subset: str, winners: list[Side]) -> Scored:
        sides = tuple(compared(0, 1 + j, side, side) for j, side in enumerate(winners))
        labels = (1.0, 0.0, 0.0, 0.0)
        return Scored(
            index=index, file="f", row=index, id=str(index), subset=subset, labels=labels, lengths=(1,) * 4, comparisons=sides
        )

    rows = [prompt(0, "math", ["A"]), prompt(1, "math", ["B", "B", "A"]), prompt(2, "gpqa", ["B"])]
    tie = pair(3, "English", "A", "A").model_copy(update={"labels": (0.0, 0.0)})
    rows += [pair(4, "English", "A", "A"), pair(5, "English", "B", "B"), tie]
    score = BENCHMARKS["ppe"].score(rows, BOTH)
    assert score.sections["Correctness"].value == pytest.approx(((1 + 1 / 3) / 2 + 0) / 2)
    assert score.sections["Human preference"] == pytest.approx((0.5, 0.5, 2))


def test_an_unknown_protocol_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="judgebench, rm-r1, both-orders"):
        BENCHMARKS["judgebench"].protocol("best")


@pytest.mark.parametrize("name", ["judgebench", "both-orders"])
def test_judgments_of_one_order_are_not_scored_by_a_protocol_of_both(name: str) -> None:
    benchmark = BENCHMARKS["judgebench"]
    both = pair(0, "mmlu-pro-law", "A", "A")
    one = both.model_copy(
        update={"comparisons": (both.comparisons[0].model_copy(update={"games": both.comparisons[0].games[:1]}),)}
    )
    why = f"f, row 1, was read in one order only, and the protocol {name} needs both: .* --protocol {name}, .* --protocol rm-r1"
    with pytest.raises(InputError, match=why):
        list(benchmark.checked([both, one], benchmark.protocol(name)))
    assert list(benchmark.checked([both, one], RM_R1)) == [both, one]
    assert list(benchmark.checked([both, both], benchmark.protocol(name))) == [both, both]


def test_judgebench_does_not_pool_two_response_models_and_other_benchmarks_do() -> None:
    rows = [pair(0, "mmlu-pro-law", "A", "A"), pair(1, "mmlu-pro-law", "A", "A").model_copy(update={"file": "g"})]
    with pytest.raises(InputError, match=r"scored separately for each response model, .* \(f, g\): give one file"):
        list(BENCHMARKS["judgebench"].checked(rows, RM_R1))
    assert list(BENCHMARKS["rmb"].checked(rows, RM_R1)) == rows


def test_every_protocol_says_in_words_what_it_does() -> None:
    assert Protocol("x", "games", 0.5).says == "x: two games with the order flipped; no verdict counts 0.5"

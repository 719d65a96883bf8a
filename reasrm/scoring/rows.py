"""Judges one row: its comparisons, or a ranking of its responses, into a `Scored`. A fault of the row becomes its `error`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from reasrm.datasets import DataRow, Example
from reasrm.errors import ConfigurationError, InputError, Refused
from reasrm.results import Compared, JudgeIdentity, Scored, drawn_order
from reasrm.types import Judgment, Options, PairJudge


@dataclass(frozen=True, slots=True)
class How:
    """How rows are judged. `method`: how responses are ranked where a row names no comparisons. `replies`: keep their texts."""

    options: Options
    method: str = "swiss"
    replies: bool = True

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide the output."""
        return {"options": self.options.model_dump(), "method": self.method, "replies": self.replies}


async def judge_row(entry: DataRow, judge: PairJudge, how: How) -> Scored:
    """Judge `entry`. A row that cannot be judged gets an `error`. Raises Refused or ConfigurationError if no row can be judged."""
    example = entry.example
    about: dict[str, Any] = {"index": entry.index, "file": entry.file, "row": entry.number, "id": entry.id}
    if example is None:
        return Scored(**about, error=entry.error)
    about |= {
        "subset": example.subset,
        "labels": example.labels,
        "lengths": example.lengths,
        "strength": example.strength,
    }
    try:
        judged = await (
            _compared(example, entry.index, judge, how) if example.comparisons_to_judge else _ranked(example, judge, how)
        )
    except ConfigurationError:
        raise
    except InputError as error:
        return Scored(**about, error=str(error))
    except BaseExceptionGroup as group:
        if (stop := _first(group, Refused) or _first(group, ConfigurationError)) is not None:
            raise stop from None
        if (refusal := _first(group, InputError)) is not None:
            return Scored(**about, error=str(refusal))
        raise
    return Scored(**about, **judged)


async def _compared(example: Example, index: int, judge: PairJudge, how: How) -> dict[str, Any]:
    """All comparisons of the row, concurrently. A pair read only once is shown in an order drawn for it."""
    flips = [
        how.options.orders == "ab" and drawn_order(f"{index}:{i}:{j}") == "ba" for i, j in example.comparisons_to_judge
    ]  # the same draw as in the benchmarks' protocols of one order
    pairs = [example.pair(*((j, i) if flip else (i, j))) for (i, j), flip in zip(example.comparisons_to_judge, flips, strict=True)]
    if len(pairs) == 1:
        judgments = [await judge.judge(pairs[0], how.options)]
    else:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge.judge(pair, how.options)) for pair in pairs]
        judgments = [task.result() for task in tasks]
    comparisons = tuple(
        Compared.of(i, j, judgment, flipped=flip, replies=how.replies)
        for (i, j), flip, judgment in zip(example.comparisons_to_judge, flips, judgments, strict=True)
    )
    return {"comparisons": comparisons} | _judge_and_cost(judgments)


async def _ranked(example: Example, judge: PairJudge, how: How) -> dict[str, Any]:
    from reasrm.judging.group import Group, RankOptions
    from reasrm.judging.ranking import rank

    options = RankOptions.model_validate(how.options.model_dump() | {"method": how.method})
    group = Group(question=example.question, responses=example.responses, rubric=example.rubric)
    ranking = await rank(group, options, judge)
    compared = tuple(
        Compared.of(comparison.i, comparison.j, comparison.judgment, replies=how.replies) for comparison in ranking.comparisons
    )
    judgments = [comparison.judgment for comparison in ranking.comparisons]
    return {"comparisons": compared, "rewards": tuple(ranking.rewards)} | _judge_and_cost(judgments)


def _judge_and_cost(judgments: list[Judgment]) -> dict[str, Any]:
    """The judge, from the first judgment that names it, and the tokens of all judgments."""
    known = next((judgment for judgment in judgments if judgment.model), None)
    who = JudgeIdentity("") if known is None else JudgeIdentity(known.model, known.weight_version, known.prompt_digest)
    return who._asdict() | {
        "prompt_tokens": sum(judgment.usage.prompt_tokens for judgment in judgments),
        "completion_tokens": sum(judgment.usage.completion_tokens for judgment in judgments),
    }


def _first(group: BaseExceptionGroup[Any], kind: type[BaseException]) -> BaseException | None:
    failure: BaseException | None = group.subgroup(kind)
    while isinstance(failure, BaseExceptionGroup):
        failure = cast(BaseException, failure.exceptions[0])
    return failure

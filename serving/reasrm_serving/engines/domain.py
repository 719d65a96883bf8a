"""The domain of a judge: a rule in its model folder describes its pairs; all other pairs get no verdict.

`domain.json` lists tasks. A pair is inside where one task's `question` matches the whole question and its `response` is found
in both responses, none of which is longer than `max_response_chars`. A conversation of several turns is always outside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasrm.errors import InputError
from reasrm.types import Pair

FILE = "domain.json"
#: Returns why a pair is outside of the judge's domain; None if it is inside.
Domain = Callable[[Pair], str | None]


class _DomainTask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    family: str
    question: re.Pattern[str]
    response: re.Pattern[str]


class _DomainRule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: int
    max_response_chars: int = Field(ge=1)
    tasks: tuple[_DomainTask, ...] = Field(min_length=1)

    def why_outside(self, pair: Pair) -> str | None:
        """Why `pair` is outside of the rule; None where it is inside."""
        if any(len(part) != 1 for part in (pair.question, pair.a, pair.b)):
            return "outside the model's domain: it judges single questions, not conversations"
        question, responses = pair.question[0].content, (pair.a[0].content, pair.b[0].content)
        if any(len(response) > self.max_response_chars for response in responses):
            return f"outside the model's domain: a response is longer than {self.max_response_chars} characters"
        for task in self.tasks:
            if task.question.fullmatch(question) and all(task.response.search(response) for response in responses):
                return None
        return f"outside the model's domain: it judges {', '.join(task.family for task in self.tasks)}, each in its own form"


def load_domain(folder: Path) -> Domain | None:
    """The rule of the model in `folder`; None where it has none, and judges everything. Raises `InputError` for a broken one."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return _DomainRule.model_validate(json.loads(path.read_text(encoding="utf-8"))).why_outside
    except (ValueError, ValidationError) as error:
        raise InputError(f"{path} is no domain rule: {str(error).splitlines()[0]}") from error

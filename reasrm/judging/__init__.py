"""Judging protocols: generators without I/O. They yield requests, receive the answers, and return the outcome.

A protocol of pairs (`pairwise`, `voting`) yields lists of `Ask` and is sent lists of `Answer`;
`flow.run` drives one over a `Completer`.
"""

from reasrm.judging.flow import EngineJudge, judge_flow, run
from reasrm.judging.pairwise import pairwise
from reasrm.judging.voting import voting

__all__ = ["EngineJudge", "judge_flow", "pairwise", "run", "voting"]

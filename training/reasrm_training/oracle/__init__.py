"""Chains from oracles: prompts and acceptance (`examiner`, `leaks`), requests (`client`, `batch`), and the files (`chains`)."""

from reasrm_training.oracle.examiner import Chain

__all__ = ["Chain"]

"""Chains from oracles: what is asked and kept (`examiner`, `told`), asking (`asking`, `batch`), and what comes of it (`chains`)."""

from reasrm_training.oracle.examiner import Chain

__all__ = ["Chain"]

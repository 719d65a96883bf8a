"""Kinds of values that several tables of a recipe use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Stage = Literal["data", "chains", "distill", "rlvr", "evaluate", "export"]
#: Precision of a stage's arithmetic. Weights that are trained are held in fp32 in either case, frozen ones in bf16.
Precision = Literal["bf16", "fp32"]

"""A gateway before a scripted engine, as in tests/serving."""

from __future__ import annotations

from tests.serving.loops import engine, url

__all__ = ["engine", "url"]

"""The progress of a run: a bar with rate and remaining time on a terminal, elsewhere one plain line per minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from reasrm.metrics import Share
from reasrm.results import Scored
from reasrm.scoring.pace import SLOW_S, Pace
from reasrm.wording import counted, percent

EVERY_S = 60.0


class Progress:
    """Counts finished rows. `say` gets the plain lines; if standard error is a terminal, a bar is drawn there.

    `pace` is how long one judgment takes; the first line of a slow run comes with its first row.
    """

    def __init__(
        self,
        rows: int,
        done: int = 0,
        *,
        say: Callable[[str], None] | None = None,
        every_s: float = EVERY_S,
        quiet: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self._rows = rows
        self._before = self._done = done
        self._say = say or to_stderr
        self._every_s = every_s
        self._tokens = self._no_verdict = self._errors = 0
        self._consistent = Share()
        self._started = self._reported = time.monotonic()
        self._quiet = quiet
        self._pace = pace or Pace()
        self._wait_s = min(SLOW_S, every_s)
        self._bar = None if quiet or say or not sys.stderr.isatty() else _bar(rows, done)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._quiet:
            self._say(self.line())

    def add(self, row: Scored, in_flight: int = 0) -> None:
        """Count a finished row."""
        self._done += 1
        self._tokens += row.prompt_tokens + row.completion_tokens
        self._errors += bool(row.error)
        for compared in row.comparisons:
            self._no_verdict += compared.winner is None
            self._consistent.add(compared.order_consistent)
        if self._bar is not None:
            facts = f"{self._speed()}, {self._facts(in_flight)}"
            self._bar.update(self._bar.task_ids[0], completed=self._done, facts=facts)
        elif not self._quiet and time.monotonic() - self._reported >= self._wait_s:
            self._reported, self._wait_s = time.monotonic(), self._every_s
            self._say(self.line(in_flight))

    def line(self, in_flight: int = 0) -> str:
        """One line: the finished share, the rate and the remaining time."""
        rate = self._rate
        left = (self._rows - self._done) / rate if rate else 0.0
        share = 100 * self._done / self._rows if self._rows else 100.0
        eta = f", {_clock(left)} left" if self._done < self._rows and rate else ""
        return f"{self._done:,} of {self._rows:,} rows ({share:.0f} %), {self._speed()}{eta}; {self._facts(in_flight)}"

    @property
    def _rate(self) -> float:
        return (self._done - self._before) / max(1e-9, time.monotonic() - self._started)

    def _speed(self) -> str:
        rate = self._rate
        return f"{1 / rate:,.0f} s per row" if 0 < rate < 0.5 else f"{rate:,.1f} rows/s"

    def _facts(self, in_flight: int) -> str:
        seconds = max(1e-9, time.monotonic() - self._started)
        facts = [f"{self._tokens:,} tokens ({self._tokens / seconds:,.0f}/s)"]
        if self._consistent.value is not None:
            facts.append(f"orders agree {percent(self._consistent.value, 0)}")
        if self._no_verdict:
            facts.append(f"{self._no_verdict:,} without verdict")
        if self._errors:
            facts.append(counted(self._errors, "bad row"))
        if in_flight:
            facts.append(f"{in_flight} in flight")
        if self._pace.words:
            facts.append(self._pace.words)
        return ", ".join(facts)


def to_stderr(line: str) -> None:
    """A line for people."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _bar(rows: int, done: int):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("scoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
    bar.add_task("scoring", total=rows, completed=done, facts="")
    return bar

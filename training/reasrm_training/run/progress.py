"""The display of a run for people: the list of its stages with a progress bar, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage

LINE_EVERY_S = 60.0  # without a terminal
NAMES: dict[Stage, str] = {
    "data": "data",
    "chains": "oracle chains",
    "distill": "distillation (SFT)",
    "rlvr": "RL (GRPO)",
    "evaluate": "evaluation",
    "export": "export",
}


class Display:
    """Shows the stages of a run on `console`; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = console.is_terminal
        self._last_line = 0.0
        self._tasks: dict[Stage, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not self._live,
        )

    @classmethod
    def silent(cls) -> Display:
        """A progress display that shows nothing."""
        return cls(Console(quiet=True))

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, recipe: Recipe, stages: Sequence[Stage]) -> None:
        """Name the run and list its stages."""
        self._print(f"{recipe.name}: {recipe.run_folder}")
        self._tasks = {stage: self._progress.add_task(NAMES[stage], total=None, start=False, note="") for stage in stages}

    def start(self, stage: Stage) -> None:
        """`stage` begins."""
        self._last_line = time.monotonic()
        if stage in self._tasks:
            self._progress.start_task(self._tasks[stage])
        if not self._live:
            self._print(f"{NAMES[stage]} ...")

    def show(self, stage: Stage, done: int, total: int | None, note: str) -> None:
        """Show how far `stage` is."""
        if stage in self._tasks:
            self._progress.update(self._tasks[stage], completed=done, total=total, note=note)
        if not self._live and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._print(f"{NAMES[stage]}: {done:,}" + (f" of {total:,}" if total else "") + (f", {note}" if note else ""))

    def done(self, stage: Stage, result: str, seconds: float) -> None:
        """`stage` has ended with `result`."""
        if stage in self._tasks:
            self._progress.update(self._tasks[stage], completed=1, total=1, note=result)
        if not self._live:
            self._print(f"{NAMES[stage]}: {result} ({seconds:,.0f} s)")

    def _print(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

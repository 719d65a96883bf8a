"""A tally for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reasrm.metrics import Share
from reasrm.results import JudgeIdentity
from reasrm.scoring.tally import Tally
from reasrm.wording import percent, percentage


def summary(tally: Tally) -> RenderableType:
    """Accuracy by subset with its interval, then other facts about the judge."""
    parts: list[RenderableType] = []
    if tally.accuracy:
        parts += [_accuracy(tally), Text()]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for name, fact in facts_of(tally):
        facts.add_row(name, Text(fact))
    return Group(*parts, facts)


def _accuracy(tally: Tally) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title="accuracy of verdicts (Wilson's 95 % interval)", title_justify="left")
    table.add_column("subset")
    for name in ("right", "interval", "verdicts"):
        table.add_column(name, justify="right")
    subsets = sorted(tally.accuracy.items())
    for name, share in (*subsets, ("all", tally.overall)) if len(subsets) > 1 else subsets:
        low, high = share.interval
        table.add_row(Text(name), percent_of(share), f"{percentage(low)} to {percent(high)}", f"{share.n:,}")
    return table


def percent_of(share: Share) -> str:
    """A share as a percentage; a dash if nothing was counted."""
    return "-" if share.value is None else percent(share.value)


def facts_of(tally: Tally) -> list[tuple[str, str]]:
    """All facts besides accuracy, as (name, sentence)."""
    facts = [
        *(("judge", _judge(who, rows, tally)) for who, rows in tally.judges.most_common()),
        ("rows", f"{tally.rows:,}" + (f", {tally.errors:,} of them bad; the first: {tally.first_error}" if tally.errors else "")),
        ("comparisons", f"{tally.comparisons:,}; {_sources(tally)}"),
    ]
    if tally.reasons:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.reasons.most_common())
        facts.append(("no verdict", f"{tally.no_verdicts:,} ({_of(tally.no_verdicts, tally.comparisons)}): {reasons}"))
    if tally.consistent.n:
        facts.append(("both orders agree", f"{percent_of(tally.consistent)} of {tally.consistent.n:,}"))
    if tally.shown_first.n:
        facts.append(
            ("position", f"{percent_of(tally.shown_first)} of {tally.shown_first.n:,} replies name the response shown first")
        )
    if tally.longer.n:
        labelled = f"; the labels {percent_of(tally.longer_labelled)}" if tally.longer_labelled.n else ""
        facts.append(("length", f"{percent_of(tally.longer)} of verdicts are for the longer response{labelled}"))
    if tally.calibration.error is not None and tally.calibration.brier is not None:
        error, brier = tally.calibration.error, tally.calibration.brier
        facts.append(("calibration", f"expected error {error:.3f}, Brier score {brier:.3f}"))
    if tally.agreement.n:
        facts.append(("replies agree", f"{percent(tally.agreement.mean.value)} with the majority of their comparison"))
    facts.append(("tokens", f"{tally.prompt_tokens:,} read, {tally.completion_tokens:,} written"))
    return facts


def as_data(tally: Tally) -> dict[str, Any]:
    """The summary as data for JSON; an unmeasured value is null."""
    return {
        "rows": tally.rows,
        "bad_rows": tally.errors,
        "judges": [who._asdict() for who in tally.judges],
        "comparisons": tally.comparisons,
        "no_verdict": dict(tally.reasons),
        "accuracy": {name: _share(share) for name, share in sorted(tally.accuracy.items())},
        "accuracy_all": _share(tally.overall),
        "order_consistency": _share(tally.consistent),
        "shown_first": _share(tally.shown_first),
        "longer_preferred": _share(tally.longer),
        "calibration_error": tally.calibration.error,
        "brier": tally.calibration.brier,
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
    }


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "interval": share.interval, "n": share.n}


def _judge(who: JudgeIdentity, rows: int, tally: Tally) -> str:
    weights = f", weights {who.weight_version}" if who.weight_version else ""
    return f"{who.model}{weights}, prompts {who.prompt_digest}" + (f", in {rows:,} rows" if len(tally.judges) > 1 else "")


def _sources(tally: Tally) -> str:
    return ", ".join(f"{count:,} verdicts by {source}" for source, count in sorted(tally.sources.items())) or "no verdict"


def _of(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "-"

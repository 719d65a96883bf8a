"""The one failure policy: what an error means for a judgment. Nothing else turns errors into outcomes.

    kind        reason              errors                                       what follows
    transient   engine_failed       EngineUnreachable, EngineBusy,               asking again may help: never stored; the gateway
                                    EngineNonsense, other EngineErrors,          answers 503; scoring and rankings wait and retry
                                    GatewayUnreachable, other GatewayErrors
                deadline            EngineTimeout, TimeoutError                  the same, with 504
    permanent   refused_by_engine   EngineRefused                                this engine will refuse this prompt again: never
                too_long            TooLong                                      retried; the gateway answers 422; data keeps it
    mistake     (none: it raises)   InputError, ConfigurationError,              raised everywhere, with what to do about it
                                    whatever is not listed here

If one reply of a judgment (two orders, or votes) failed, the whole judgment has that failure as its outcome, not the verdict
of the other replies: those have a position bias, or fewer votes than requested. Of several failures a transient one counts first,
because the next try may get past it.

The policy is applied behind the `PairJudge` seam: `reasrm.judging.flow.run` applies it to an engine's errors, the client to a
gateway's. So `PairJudge.judge` never raises for a judgment that failed, and always raises for the caller's mistake.
"""

from __future__ import annotations

from reasrm.errors import EngineError, EngineRefused, EngineTimeout, GatewayError, TooLong
from reasrm.types import TRANSIENT, Judgment, NoVerdict


def reason_of(error: BaseException) -> str | None:
    """The reason for which there is no verdict after `error`; None where `error` must be raised."""
    match error:
        case TooLong():
            return "too_long"
        case EngineRefused():
            return "refused_by_engine"
        case EngineTimeout() | TimeoutError():
            return "deadline"
        case GatewayError():
            return error.reason
        case EngineError():
            return "engine_failed"
        case _:
            return None


def no_verdict_of(error: BaseException) -> NoVerdict:
    """The outcome for `error`. Raises `error` itself if it is the caller's mistake or a fault of this program."""
    reason = reason_of(error)
    if reason is None:
        raise error
    return NoVerdict.model_validate({"reason": reason, "detail": str(error) or "there was no judgment in time"})


def failed_judgment(error: BaseException) -> Judgment:
    """The failed judgment for `error`. Raises like `no_verdict_of`."""
    return Judgment(outcome=no_verdict_of(error))


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help against `error`."""
    return reason_of(error) in TRANSIENT


def whole(judgment: Judgment) -> Judgment:
    """`judgment`; if one of its replies failed, the whole judgment has that failure as its outcome."""
    outcomes = [opinion.outcome for opinion in judgment.opinions]
    failures = [outcome for outcome in outcomes if isinstance(outcome, NoVerdict) and outcome.failed]
    if not failures:
        return judgment
    return judgment.model_copy(update={"outcome": next((failure for failure in failures if failure.transient), failures[0])})

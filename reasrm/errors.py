"""Everything that reasrm raises, as one tree.

    ReasrmError
    ├── InputError               the caller's mistake: an argument or a file is wrong; the message says what to do
    │   ├── ConfigurationError   the set-up is wrong, so every request fails alike: address, key, model, certificate, option
    │   ├── PromptPackError      a prompt pack is missing, incomplete or inconsistent
    │   ├── TooLong              a text is longer than the model or the gateway takes
    │   ├── SchemaError          a data set's columns fit no reader, or several
    │   └── RecipeError          a training recipe names something that does not exist or cannot work
    ├── EngineError              the engine gave no completion, and so there is no verdict
    │   ├── EngineUnreachable    nothing answers at its address, or the connection broke
    │   ├── EngineBusy           it answered 429 or 503; ``retry_after_s`` says when to come back, if the engine said so
    │   ├── EngineTimeout        it did not answer by the deadline
    │   ├── EngineRefused        it refuses this request (400, 413, 422), and will refuse it again
    │   │   └── CannotContinue   it cannot continue a reply that was begun for it
    │   └── EngineNonsense       its answer is not a completion
    ├── GatewayError             the gateway failed a request (client side); ``status`` is the HTTP status, ``reason`` a `Reason`
    │   └── GatewayUnreachable   nothing answers at its address, or the connection broke
    └── Refused                  work that must not go on: an output exists, a journal belongs to another run, a budget is spent

`reasrm.failures` says which of these become a `NoVerdict`, and of what kind, and which are raised everywhere.
"""

from __future__ import annotations


class ReasrmError(Exception):
    """Base of every error that reasrm raises on purpose."""


class InputError(ReasrmError):
    """An argument, a file or a request is wrong. ``field`` is the dotted path of the part that is wrong, where there is one."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ConfigurationError(InputError):
    """The set-up is wrong: no request can succeed until somebody corrects it."""


class PromptPackError(InputError):
    """A prompt pack cannot be used."""


class TooLong(InputError):
    """A text exceeds a stated limit (``count`` and ``limit`` in the unit that the message names)."""

    def __init__(self, message: str, *, field: str | None = None, count: int = 0, limit: int = 0) -> None:
        super().__init__(message, field=field)
        self.count = count
        self.limit = limit


class SchemaError(InputError):
    """Columns that fit no reader, or more than one."""


class RecipeError(InputError):
    """A training recipe that cannot be run."""


class EngineError(ReasrmError):
    """The engine gave no completion. ``words`` is what the engine itself wrote, shortened."""

    words: str = ""


class EngineUnreachable(EngineError):
    """Nothing answers at the engine's address, or the connection broke."""


class EngineBusy(EngineError):
    """The engine has no room now."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineTimeout(EngineError):
    """The engine did not answer by the deadline."""


class EngineRefused(EngineError):
    """The engine refused the request itself."""


class CannotContinue(EngineRefused):
    """The engine cannot continue a reply that was begun for it (`Ask.prefill`)."""


class EngineNonsense(EngineError):
    """The engine's answer is not a completion."""


class GatewayError(ReasrmError):
    """The gateway failed a request. ``reason`` is the `Reason` that a judgment has no verdict for."""

    def __init__(
        self, message: str, *, status: int | None = None, reason: str = "engine_failed", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class GatewayUnreachable(GatewayError):
    """Nothing answers at the gateway's address, or the connection broke."""


class Refused(ReasrmError):
    """Continuing would lose or spoil something; the message says which flag allows it."""

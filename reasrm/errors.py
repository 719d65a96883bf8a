"""Everything that reasrm raises, as one tree.

    ReasrmError
    ├── InputError            what was given is wrong; the message names the field or row and says what to do
    │   ├── PromptPackError   a prompt pack is missing, incomplete or inconsistent
    │   ├── TooLong           a text is longer than the model or the gateway takes
    │   ├── SchemaError       a data set's columns fit no reader, or several
    │   └── RecipeError       a training recipe names something that does not exist or cannot work
    ├── EngineError           the engine failed: no completion, and so no verdict
    │   ├── EngineUnreachable nothing answers at its address
    │   ├── EngineBusy        it answered 429/503; ``retry_after_s`` says when to come back, if it said so
    │   ├── EngineTimeout     no answer by the deadline
    │   ├── EngineRefused     it answered 400, 413 or 422: the request is wrong for it, and would be for another
    │   └── EngineNonsense    it answered something that is no completion
    ├── GatewayError          the gateway refused or failed a request (client side); ``status`` is the HTTP status
    │   └── GatewayUnreachable
    └── Refused               work that must not go on: an output exists, a journal belongs to another run, a budget is spent

An ``EngineError`` inside a judgment becomes ``NoVerdict("engine_failed")``, a timeout ``NoVerdict("deadline")``: never a winner.
"""


class ReasrmError(Exception):
    """Base of every error that reasrm raises on purpose."""


class InputError(ReasrmError):
    """What was given is wrong. ``field`` is the dotted path of the offending part, where there is one."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


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
    """The engine gave no completion."""


class EngineUnreachable(EngineError):
    """Nothing answers at the engine's address."""


class EngineBusy(EngineError):
    """The engine has no room now."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineTimeout(EngineError):
    """The engine did not answer by the deadline."""


class EngineRefused(EngineError):
    """The engine found fault with the request itself."""


class EngineNonsense(EngineError):
    """The engine answered something that is no completion."""


class GatewayError(ReasrmError):
    """The gateway refused or failed a request."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class GatewayUnreachable(GatewayError):
    """Nothing answers at the gateway's address."""


class Refused(ReasrmError):
    """Going on would lose or spoil something; the message says which flag allows it."""

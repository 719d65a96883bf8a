"""The `reasrm` script. An error is shown as one line, without a traceback.

Exit code 2 stands for bad input, 1 for a failure, 3 for no verdict, 130 for Ctrl-C.
This file imports nothing heavy, so that Ctrl-C works while everything else is being loaded.
"""

from __future__ import annotations

import errno
import logging
import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from reasrm.commands.app import app

        logging.getLogger("stamina").addHandler(logging.NullHandler())  # a person at a terminal does not need to see every retry
        app()
    except BaseException as error:
        if _interrupted(error):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would show a traceback of the exit
            _end("stopped", INTERRUPTED)
        _explain(error)
        raise


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused `error`: packages that are being imported turn it into errors of their own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == INTERRUPTED):
            return True
        error = error.__cause__ or error.__context__
    return False


def _explain(error: BaseException) -> None:
    """End the process with a one-line message if `error` has one for people."""
    from reasrm.errors import InputError, ReasrmError

    if isinstance(error, ReasrmError):
        _end(str(error), 2 if isinstance(error, InputError) else 1)
    if isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        _end(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror), 1)


def _end(message: str, code: int) -> None:
    from reasrm.wording import plain

    sys.stderr.write(f"reasrm: {plain(message)}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()

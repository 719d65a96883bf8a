"""`reasrm keys`: API keys for a gateway."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys

from pydantic import Field

from reasrm.errors import InputError
from reasrm.messages import Frozen

EXAMPLES = """Examples:

  reasrm keys new team-a --rate 600/minute >> keys.toml

  reasrm keys new operator --admin >> keys.toml

The file holds only the hash of the token."""


class KeySettings(Frozen):
    """The owner of a new key, and what the key allows."""

    name: str = Field(
        min_length=1, max_length=100, description="The caller who gets the key.", json_schema_extra={"argument": True}
    )
    rate: str | None = Field(default=None, description='The most requests, such as "600/minute".')
    concurrency: int | None = Field(default=None, ge=1, description="The most requests at once.")
    priority: int = Field(default=0, ge=-10, le=10, description="Judgments of a higher priority go first.")
    admin: bool = Field(default=False, description="The key may replace the judge's weights.")


def new(key: KeySettings) -> None:
    """Print a new token (once, on standard error) and the entry for the key file."""
    token = f"rrm_{secrets.token_urlsafe(32)}"
    entry: dict[str, object] = {"name": key.name, "sha256": hashlib.sha256(token.encode()).hexdigest()}
    entry |= key.model_dump(exclude={"name"}, exclude_defaults=True)
    _check(entry)
    lines = [f"{field} = {json.dumps(value)}" for field, value in entry.items()]
    sys.stdout.write("[[key]]\n" + "\n".join(lines) + "\n\n")
    sys.stderr.write(f"the token of {key.name}, shown this once: {token}\n")


def _check(entry: dict[str, object]) -> None:
    """Raise `InputError` for an entry that the gateway would refuse. The gateway's own rule decides."""
    from pydantic import ValidationError

    try:
        from reasrm_serving.auth.gate import Key
    except ImportError as error:
        raise InputError(f'keys are checked by the gateway ({error.name} is missing): pip install "reasrm[serve]"') from error
    try:
        Key.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise InputError(f"--{field}: {first['msg'].removeprefix('Value error, ')}", field=field) from None

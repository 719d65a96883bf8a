"""What decides how a gateway runs. Only `reasrm serve` reads flags and the environment; everything else is given a `Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from reasrm.address import http_address
from reasrm.errors import InputError

LOCAL = "local"
DEMO_RECENT = 1000


def _addresses(value: Any) -> Any:
    """One address, several with commas between them, or a sequence of such, as a tuple."""
    said = [value] if isinstance(value, str) else value
    return tuple(url.strip().rstrip("/") for each in said for url in each.split(",") if url.strip())


def _check_engines(engines: tuple[str, ...]) -> tuple[str, ...]:
    if engines == (LOCAL,):
        return engines
    if not engines or LOCAL in engines:
        raise ValueError(f"must be {LOCAL!r} alone, or one or more addresses")
    return _check_workers(engines)


def _check_workers(workers: tuple[str, ...]) -> tuple[str, ...]:
    for each in workers:
        try:
            http_address(each, "an engine's", "engine")
        except InputError as error:
            raise ValueError(str(error)) from None
    if len(set(workers)) < len(workers):
        raise ValueError("names an address twice")
    return workers


def _cache(value: str) -> str:
    if value not in ("memory", "none") and not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be memory, none or redis://HOST:PORT/DB")  # what was given may hold a password
    return value


class Settings(BaseModel):
    """The gateway's settings; times in seconds, sizes in MiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Addresses of engines that serve the same weights, or `LOCAL` alone; one address may be given as a string.
    engine: Annotated[tuple[str, ...], BeforeValidator(_addresses), AfterValidator(_check_engines)] = (LOCAL,)
    #: Engines to put an sglang-router before, which then is the engine.
    workers: Annotated[tuple[str, ...], BeforeValidator(_addresses), AfterValidator(_check_workers)] = ()
    engine_key: SecretStr | None = None
    #: The name that an engine with several models serves the judge by; for "local", the model's folder.
    model: str | None = None
    device: str = "auto"
    #: A prompt pack by name or folder; None is the embedded judge's own with "local", else "rubric".
    prompts: str | None = None
    cache: Annotated[str, AfterValidator(_cache)] = "memory"
    cache_ttl_s: float = Field(default=7 * 86400.0, gt=0)
    cache_mb: float = Field(default=128.0, gt=0)
    #: The secret behind the prompts' fences; None makes one and keeps it (in Redis, or a file of this user's).
    fence_secret: SecretStr | None = None
    state_dir: Path = Path("~/.local/state/reasrm")
    host: str = "127.0.0.1"
    port: int = Field(default=8900, ge=0, le=65535)
    max_in_flight: int = Field(default=256, ge=1)
    max_body_mb: float = Field(default=16.0, gt=0)
    max_batch: int = Field(default=1024, ge=1)
    #: The longest that a request may take, and how long it may take where it does not say.
    timeout_s: float = Field(default=300.0, gt=0)
    #: How many of the latest judgments people may look at on the page; None is `DEMO_RECENT` for a demo, which is the embedded
    #: judge on loopback, else 0.
    recent: int | None = Field(default=None, ge=0, le=100_000)
    #: The file that lists who may ask, see `admission`; None lets everybody in.
    keys: Path | None = None
    #: How often the engine is asked which weights it serves.
    refresh_s: float = Field(default=2.0, gt=0)

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Settings out of `values`; raises `InputError` in one line that names the flag."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            flag = str(first["loc"][0]).removesuffix("_s").replace("_", "-")
            raise InputError(f"--{flag}: {first['msg'].removeprefix('Value error, ')}", field=flag) from None

    @property
    def embedded(self) -> bool:
        """Whether the engine is the one in this process."""
        return self.engine == (LOCAL,) and not self.workers

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def keeps_recent(self) -> int:
        """How many of the latest judgments are kept for people to look at."""
        if self.recent is None:
            return DEMO_RECENT if self.embedded and self.on_loopback else 0
        return self.recent

    @property
    def redis_url(self) -> str | None:
        """The Redis that holds the cache, if one does."""
        return self.cache if "://" in self.cache else None

    @property
    def model_folder(self) -> Path:
        """The folder of the model that "local" loads."""
        return Path(self.model) if self.model else EMBEDDED


#: The judge that comes with the package.
EMBEDDED = Path(__file__).parent / "judge"


def secret(value: SecretStr | None) -> str | None:
    """The text of a secret, if there is one."""
    return value.get_secret_value() if value else None

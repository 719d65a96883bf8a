"""The settings of a gateway. Only `reasrm serve` reads flags and the environment; all other code gets a `Settings`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from reasrm.address import http_address
from reasrm.errors import InputError

LOCAL = "local"
DEMO_RECENT = 1000


def _addresses(value: Any) -> Any:
    """One address, several with commas between them, or a sequence of such, as a tuple."""
    texts = [value] if isinstance(value, str) else value
    return tuple(url.strip().rstrip("/") for text in texts for url in text.split(",") if url.strip())


def _check_engines(engines: tuple[str, ...]) -> tuple[str, ...]:
    if engines == (LOCAL,):
        return engines
    if not engines or LOCAL in engines:
        raise ValueError(f"must be {LOCAL!r} alone, or one or more addresses")
    return _check_workers(engines)


def _check_workers(workers: tuple[str, ...]) -> tuple[str, ...]:
    for address in workers:
        try:
            http_address(address, "an engine's", "engine")
        except InputError as error:
            raise ValueError(str(error)) from None
    if len(set(workers)) < len(workers):
        raise ValueError("names an address twice")
    return workers


def _cache(value: str) -> str:
    if value not in ("memory", "none") and not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be memory, none or redis://HOST:PORT/DB")  # the value is not shown, because it may hold a password
    return value


class Settings(BaseModel):
    """The gateway's settings; times in seconds, sizes in MiB. `reasrm serve` makes its flags and variables of these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Annotated[tuple[str, ...], BeforeValidator(_addresses), AfterValidator(_check_engines)] = Field(
        default=(LOCAL,),
        description="An engine's http or https address, or local for the embedded judge. Given several times, requests go to the "
        "least busy engine, and from one that fails to another; all of them must serve the same weights.",
        json_schema_extra={"shown": LOCAL},
    )
    launch: str | None = Field(
        default=None,
        description="Instead of --engine: start an engine for this model, and stop it with the gateway. A GGUF file or "
        "ORG/NAME-GGUF of the hub (:Q4_K_M names one of its files) runs in llama.cpp, another folder or hub id in SGLang.",
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="With --launch or local: replies that the engine writes at once.",
        json_schema_extra={"shown": "by the model and the machine"},
    )
    context: int | None = Field(
        default=None,
        ge=512,
        description="With --launch or local: tokens of a prompt with its reply.",
        json_schema_extra={"shown": "by the model and the memory"},
    )
    engine_arg: tuple[str, ...] = Field(
        default=(),
        description="With --launch or local: an argument of the engine as NAME=VALUE: a field of xllamacpp's CommonParams "
        "(n_gpu_layers=20), or a flag of SGLang (mem_fraction_static=0.8).",
    )
    engine_python: Path = Field(
        default=Path(sys.executable),
        description="With --launch: the Python of the environment that has SGLang.",
        json_schema_extra={"shown": "the gateway's own"},
    )
    workers: Annotated[tuple[str, ...], BeforeValidator(_addresses), AfterValidator(_check_workers)] = Field(
        default=(),
        description="Instead of --engine: SGLang servers, several times or with commas. An sglang-router is started in front of "
        "them; it sends each prompt to the server that has cached its beginning.",
    )
    engine_key: SecretStr | None = Field(default=None, description="The engine's API key.")
    engine_ca: Path | None = Field(
        default=None, description="A PEM file of certificate authorities to trust, for engines with a private certificate."
    )
    show_engine_errors: bool = Field(
        default=False, description="Show callers the engine's own words about a failure. The log always has them."
    )
    model: str | None = Field(
        default=None,
        description="The judge's name on an engine with several models; with local, a folder that `reasrm train` exported.",
    )
    prompts: str | None = Field(
        default=None,
        description="The prompt pack, by name or folder.",
        json_schema_extra={"shown": "the embedded judge's own with local, else the one that fits the model"},
    )
    cache: Annotated[str, AfterValidator(_cache)] = Field(
        default="memory", description="Where judgments are cached: memory, none, or redis://HOST:PORT/DB."
    )
    cache_ttl_s: float = Field(default=7 * 86400.0, gt=0, description="Seconds for which a judgment is kept.")
    cache_mb: float = Field(default=128.0, gt=0, description="MiB of this process's memory for judgments.")
    fence_secret: SecretStr | None = Field(
        default=None,
        description="The secret behind the fences of prompts.",
        json_schema_extra={"shown": "made once, and kept in Redis or in --state-dir"},
    )
    state_dir: Path = Field(default=Path("~/.local/state/reasrm"), description="The folder for that secret.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8900, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_in_flight: int = Field(default=256, ge=1, description="Judgments under way; more get 429.")
    max_body_mb: float = Field(default=16.0, gt=0, description="MiB of the largest request.")
    max_batch: int = Field(default=1024, ge=1, description="Pairs in one request to /v1/judge/batch.")
    cohort: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Rollouts per prompt, for RL frameworks that cannot say it in the address (?cohort=N).",
    )
    timeout_s: float = Field(
        default=300.0, gt=0, description="The most seconds that a request may take; also the default of its timeout."
    )
    engine_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that one engine has for a reply before another engine is asked.",
        json_schema_extra={"shown": "that of --timeout"},
    )
    recent: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Show so many of the latest judgments on the page, texts included.",
        json_schema_extra={"shown": f"0; {DEMO_RECENT} with the embedded judge on loopback"},
    )
    keys: Path | None = Field(
        default=None, description="The file of API keys; `reasrm keys new` prints its entries. Without a file all callers may."
    )
    turn_wait_s: float = Field(
        default=5.0, ge=0, description="Seconds that a single judgment waits for its turn before it gets 429."
    )
    allow_origin: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = Field(
        default=(),
        description="An origin, such as https://example.org, whose web pages may ask the gateway from a browser (CORS); * is all.",
    )
    refresh_s: float = Field(default=2.0, gt=0, description="Seconds between two checks of which weights the engine serves.")

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
        """Whether the judge is the one that comes with the package, or another folder that the trainer exported."""
        return self.engine == (LOCAL,) and not self.workers and self.launch is None

    @property
    def launches(self) -> str | None:
        """The model whose engine the gateway starts; None where its engines run already."""
        return str(self.model_folder) if self.embedded else self.launch

    @property
    def engine_arguments(self) -> dict[str, str]:
        """The operator's own arguments of the engine, by name."""
        return {name: value for name, _, value in (argument.partition("=") for argument in self.engine_arg)}

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def keeps_recent(self) -> int:
        """The number of the latest judgments that are kept for people to look at."""
        if self.recent is None:
            return DEMO_RECENT if self.embedded and self.on_loopback else 0
        return self.recent

    @property
    def redis_url(self) -> str | None:
        """The address of the Redis that holds the cache, if there is one."""
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

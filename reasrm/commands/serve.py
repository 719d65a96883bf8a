"""`reasrm serve`: the gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

EPILOG = """Examples:

  reasrm serve                                        (the embedded judge, on this machine)

  reasrm serve --engine http://127.0.0.1:30000        (a judge that SGLang serves)

  reasrm serve --workers http://gpu1:30000,http://gpu2:30000 --prompts rubric

  reasrm serve --engine http://sglang:30000 --prompts free --cache redis://redis:6379/0 --host 0.0.0.0

Secrets may come from files, as container platforms mount them: REASRM_CACHE_FILE=/run/secrets/redis-url reasrm serve ...
(and REASRM_ENGINE_KEY_FILE, REASRM_FENCE_SECRET_FILE)

Then: curl -s localhost:8900/v1/judge -d '{"question": "Is 7 prime?", "a": "Yes.", "b": "No."}'
The API's description: http://localhost:8900/docs"""


def secret_file(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """`value`; where neither flag nor variable gave one, the text of the file that the variable with _FILE behind it names."""
    from reasrm.errors import InputError

    variable = f"{parameter.envvar}_FILE"
    file = os.environ.get(variable)
    source = context.get_parameter_source(str(parameter.name))
    if not file or (source is not None and source.name != "DEFAULT"):
        return value
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = f"{variable}: cannot read {file} ({error}); mount the secret there, or unset {variable}"
        raise InputError(why, field=parameter.name) from None


def serve(
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="An engine's http(s) address, or local. Given several times, requests go to the least busy, and from one that "
            "fails to another.",
            envvar="REASRM_ENGINE",
            show_default="local",
        ),
    ] = None,
    workers: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of --engine: SGLang servers, several times or with commas. An sglang-router is run before them, which "
            "sends prompts where their beginning is cached.",
            envvar="REASRM_WORKERS",
        ),
    ] = None,
    engine_key: Annotated[
        str | None, typer.Option(help="The engine's API key.", envvar="REASRM_ENGINE_KEY", callback=secret_file)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model's name at the engine; with local, its folder.", envvar="REASRM_MODEL")
    ] = None,
    device: Annotated[str, typer.Option(help="With local: cpu, cuda, cuda:1 or auto.", envvar="REASRM_DEVICE")] = "auto",
    prompts: Annotated[
        str | None,
        typer.Option(help="Prompt pack: a name or a folder.", envvar="REASRM_PROMPTS", show_default="the model's own, or rubric"),
    ] = None,
    cache: Annotated[
        str, typer.Option(help="memory, none, or redis://HOST:PORT/DB.", envvar="REASRM_CACHE", callback=secret_file)
    ] = "memory",
    cache_ttl: Annotated[float, typer.Option(help="Seconds that a judgment is kept.", envvar="REASRM_CACHE_TTL")] = 604800.0,
    cache_mb: Annotated[float, typer.Option(help="Memory for judgments in this process.", envvar="REASRM_CACHE_MB")] = 128.0,
    fence_secret: Annotated[
        str | None,
        typer.Option(
            help="The secret behind the prompts' fences; made and kept if not given.",
            envvar="REASRM_FENCE_SECRET",
            callback=secret_file,
        ),
    ] = None,
    state_dir: Annotated[str | None, typer.Option(help="Where it is kept.", envvar="REASRM_STATE_DIR", show_default=False)] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.", envvar="REASRM_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", envvar="REASRM_PORT")] = 8900,
    max_in_flight: Annotated[int, typer.Option(help="Judgments under way; more get 429.", envvar="REASRM_MAX_IN_FLIGHT")] = 256,
    max_body_mb: Annotated[float, typer.Option(help="Largest request.", envvar="REASRM_MAX_BODY_MB")] = 16.0,
    keys: Annotated[
        Path | None, typer.Option(help="The file of API keys; `reasrm keys new` prints its entries.", envvar="REASRM_KEYS")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.", envvar="REASRM_TIMEOUT")] = 300.0,
    recent: Annotated[
        int | None,
        typer.Option(
            help="Let people see that many of the latest judgments, texts included.",
            envvar="REASRM_RECENT",
            show_default="0; with the embedded judge on loopback 1000",
        ),
    ] = None,
) -> None:
    """Serve judgments over HTTP."""
    from reasrm.errors import InputError, ReasrmError

    try:
        from reasrm_serving.main import main
        from reasrm_serving.settings import Settings
    except ImportError as error:
        raise ReasrmError(f'the gateway is not installed ({error.name} is missing): pip install "reasrm[serve,local]"') from error
    if engine and workers:
        raise InputError("--workers: the router before them is the engine; leave out --engine", field="workers")
    given: dict[str, Any] = {
        "engine": engine or "local",
        "workers": workers or (),
        "engine_key": engine_key,
        "model": model,
        "device": device,
        "prompts": prompts,
        "cache": cache,
        "cache_ttl_s": cache_ttl,
        "cache_mb": cache_mb,
        "fence_secret": fence_secret,
        "host": host,
        "port": port,
        "max_in_flight": max_in_flight,
        "max_body_mb": max_body_mb,
        "keys": keys,
        "timeout_s": timeout,
        "recent": recent,
    }
    main(Settings.of(**given, **({"state_dir": state_dir} if state_dir else {})))

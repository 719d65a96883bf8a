"""`reasrm serve`: the gateway. Its flags are the fields of `reasrm_serving.settings.Settings`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reasrm.commands.score import tell
from reasrm.errors import InputError, ReasrmError
from reasrm.launch.llama_cpp import check_installed

if TYPE_CHECKING:
    from reasrm_serving.settings import Settings

EXAMPLES = """Examples:

  reasrm serve                                        (the judge that comes with reasrm)

  reasrm serve --launch ./Qwen2.5-7B-Instruct-Q4_K_M.gguf

  reasrm serve --launch Qwen/Qwen2.5-7B-Instruct-GGUF:Q4_K_M      (downloaded from the hub)

  reasrm serve --engine http://127.0.0.1:30000        (a judge that SGLang serves)

  reasrm serve --workers http://gpu1:30000,http://gpu2:30000 --prompts rubric

  reasrm serve --engine http://sglang:30000 --prompts free --cache redis://redis:6379/0 --host 0.0.0.0

Every flag has a variable, and every variable may name a file instead, as container platforms mount secrets:
REASRM_CACHE_FILE=/run/secrets/redis-url reasrm serve ...

Then: curl -s localhost:8900/v1/judge -d '{"question": "Is 7 prime?", "a": "Yes.", "b": "No."}'
The playground is at http://localhost:8900/, the API's description at http://localhost:8900/openapi.json"""


def models() -> Mapping[str, Any]:
    """The settings of the gateway, which is imported for this command only. Raises `ReasrmError` where it is not installed."""
    try:
        from reasrm_serving.settings import Settings
    except ImportError as error:
        raise ReasrmError(f'the gateway needs {error.name}: pip install "reasrm[serve]"') from error
    return {"settings": Settings}


def serve(settings: Settings) -> None:
    """Run the gateway until it gets a signal to stop. Mistakes in the settings are reported before heavy packages load."""
    _check_installed(settings)
    check(settings)
    tell("reasrm: starting the gateway ...")
    from reasrm_serving.main import main

    main(settings)


def check(settings: Settings) -> None:
    """Raise `InputError` for a setting that names a missing file or folder."""
    from reasrm.prompts import load_pack

    for flag, what in (("workers", "the router in front of them is the engine"), ("launch", "this model's engine is the engine")):
        if getattr(settings, flag) and "engine" in settings.model_fields_set:
            raise InputError(f"--{flag}: {what}; leave out --engine", field=flag)
    if settings.launch and (settings.workers or settings.model):
        raise InputError("--launch names the model and starts its engine; leave out --workers and --model", field="launch")
    given = settings.model_fields_set & {"slots", "context", "engine_arg"}
    if given and settings.launches is None:
        flag = sorted(given)[0].replace("_", "-")
        raise InputError(f"--{flag} is for an engine that reasrm starts; give --launch MODEL instead of --engine", field=flag)
    if settings.embedded and not settings.model_folder.exists():
        raise InputError(f"--model {settings.model_folder}: there is no model in this folder", field="model")
    if settings.prompts is not None:
        load_pack(settings.prompts)
    if settings.keys is not None:
        from reasrm_serving.auth.gate import load_keys

        load_keys(settings.keys)


def _check_installed(settings: Settings) -> None:
    """Raise `ReasrmError` where packages are missing. It only looks them up by name, because loading them takes seconds."""
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ReasrmError(f'the gateway needs {name}: pip install "reasrm[serve]"')
    if settings.embedded:
        check_installed()

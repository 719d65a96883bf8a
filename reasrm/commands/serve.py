"""`reasrm serve`: the gateway. Its flags are the fields of `reasrm_serving.settings.Settings`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reasrm.commands.score import tell
from reasrm.errors import InputError, ReasrmError

if TYPE_CHECKING:
    from reasrm_serving.settings import Settings

EXAMPLES = """Examples:

  reasrm serve                                        (the embedded judge, on this machine)

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
    tell(f"reasrm: {'loading the embedded judge' if settings.embedded else 'starting the gateway'} ...")
    from reasrm_serving.main import main

    main(settings)


def check(settings: Settings) -> None:
    """Raise `InputError` for a setting that names a missing file or folder."""
    from reasrm.prompts import load_pack

    if settings.workers and "engine" in settings.model_fields_set:
        raise InputError("--workers: the router in front of them is the engine; leave out --engine", field="workers")
    if settings.prompts is not None:
        load_pack(settings.prompts)
    if settings.keys is not None:
        from reasrm_serving.auth.gate import load_keys

        load_keys(settings.keys)
    folder = settings.model_folder
    if settings.embedded and not (folder / "config.json").is_file():
        raise InputError(f"--model {folder}: there is no model in this folder (it has no config.json)", field="model")


def _check_installed(settings: Settings) -> None:
    """Raise `ReasrmError` where packages are missing. It only looks them up by name, because loading them takes seconds."""
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ReasrmError(f'the gateway needs {name}: pip install "reasrm[serve]"')
    for name in ("torch", "transformers", "safetensors") if settings.embedded else ():
        if importlib.util.find_spec(name) is None:
            raise ReasrmError(
                f'the embedded judge needs {name}: pip install "reasrm[serve,local]", or give an engine with --engine URL'
            )

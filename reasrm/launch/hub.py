"""A model by what a person calls it: a GGUF file, a folder, or a hub id, which is downloaded and then kept by huggingface_hub."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasrm.errors import InputError, ReasrmError
from reasrm.launch.gguf_file import PART, GgufFile, read_gguf

log = logging.getLogger("reasrm.launch")
#: ORG/NAME, and with a colon the quantization of a GGUF.
_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?::(?P<quantization>[\w.-]+))?", re.ASCII)
HUB_S = 10.0
#: Quantizations that are taken where none is named, best first: small and hardly worse than the whole model.
PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q8_0", "F16", "BF16")
#: What decides a model's replies, in the folder of a transformers model.
DECIDING = (".safetensors", ".json", ".jinja", ".txt", ".model")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model of transformers: its folder, and the name that people know it by."""

    path: Path
    name: str

    @property
    def files(self) -> list[Path]:
        """The files that decide its replies."""
        return sorted(file for file in self.path.iterdir() if file.suffix in DECIDING)


def find_model(name: str) -> GgufFile | ModelFolder:
    """The model that `name` names, on this machine. Raises `InputError` in one line that says what to do."""
    path = Path(name).expanduser()
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return read_gguf(path)
    hub_id = _HUB_ID.fullmatch(name)
    if hub_id is None or name.startswith((".", "~")) or path.suffix == ".gguf":
        raise InputError(f"{name}: there is no such file or folder, and this is no hub id (ORG/NAME)", field="launch")
    repository, quantization = hub_id["repository"], hub_id["quantization"]
    if quantization or repository.lower().endswith("gguf"):
        return _gguf_of_hub(repository, quantization)
    return ModelFolder(_download(repository, [f"*{suffix}" for suffix in DECIDING]), repository)


def gguf_in(folder: Path) -> Path | None:
    """The one GGUF model in `folder`; None where there is none. Raises `InputError` where there are several."""
    files = _models([file.name for file in folder.glob("*.gguf")])
    if len(files) > 1:
        raise InputError(f"{folder} has several GGUF files: name one of {', '.join(files)}", field="launch")
    return folder / files[0] if files else None


def _of_folder(folder: Path) -> GgufFile | ModelFolder:
    if (file := gguf_in(folder)) is not None:
        return read_gguf(file)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: there is no model in this folder (no .gguf file and no config.json)", field="launch")
    return ModelFolder(folder, folder.resolve().name)


def _gguf_of_hub(repository: str, quantization: str | None) -> GgufFile:
    file = _chosen(repository, _files_of(repository), quantization)
    part = PART.search(file)
    return read_gguf(_download(repository, [f"{file[: part.start()]}-*.gguf" if part else file]) / file)


def _models(files: Sequence[str]) -> list[str]:
    """The GGUF files that are models: first parts only, and no projectors of images."""
    parts = {file: PART.search(file) for file in files if file.endswith(".gguf") and "mmproj" not in file}
    return sorted(file for file, part in parts.items() if part is None or int(part["number"]) == 1)


def _chosen(repository: str, files: Sequence[str], quantization: str | None) -> str:
    models = _models(files)
    if not models:
        raise InputError(f"{repository}: this repository of the hub has no GGUF file", field="launch")
    for wanted in [quantization] if quantization else PREFERRED:
        for file in models:
            if re.search(rf"(?i)(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9_])", file):
                return file
    if quantization is None:
        return models[0]
    message = f"{repository}: no GGUF file is named after {quantization}; there are {', '.join(models)}"
    raise InputError(message, field="launch")


def _files_of(repository: str) -> list[str]:
    """The files of a repository: those that were downloaded, where the hub cannot be reached."""
    hub = _huggingface_hub()
    try:
        # One request, which fails at once without a network: listing the files by pages tries again for minutes.
        return [file.rfilename for file in hub.HfApi().model_info(repository, timeout=HUB_S).siblings or ()]
    except Exception as error:  # noqa: BLE001 - it raises errors of its HTTP client too
        failure = _failure(repository, error)
        if not (files := _downloaded(hub, repository)):
            raise failure from None
        log.warning("%s. What was downloaded before is used", failure)
        return files


def _downloaded(hub: Any, repository: str) -> list[str]:
    """The files of a repository that are in the cache of huggingface_hub, by their paths in it."""
    try:
        cached = hub.scan_cache_dir().repos
    except hub.errors.CacheNotFound:
        return []
    revisions = [revision for entry in cached if entry.repo_id == repository for revision in entry.revisions]
    latest = max(revisions, key=lambda revision: revision.last_modified, default=None)
    return [str(file.file_path.relative_to(latest.snapshot_path)) for file in latest.files] if latest else []


def _download(repository: str, patterns: list[str]) -> Path:
    """The folder of a snapshot with the files that match. What was downloaded before stays, and a broken download goes on."""
    hub = _huggingface_hub()
    try:
        return Path(hub.snapshot_download(repository, allow_patterns=patterns))
    except Exception as error:  # noqa: BLE001
        raise _failure(repository, error) from None


def _failure(repository: str, error: Exception) -> InputError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        what = "accept its licence at https://huggingface.co, and set HF_TOKEN"
    elif "RepositoryNotFoundError" in kinds:
        what = "the hub has no such model, or it is private: correct the name, or set HF_TOKEN"
    elif isinstance(error, ValueError):
        what = f"this is no name of a model: {str(error).splitlines()[0]}"
    else:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        what = f"the hub cannot be reached ({reason[:160]}): name a file or folder, or download the model where there is a network"
    return InputError(f"{repository}: {what}", field="launch")


def _huggingface_hub() -> Any:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ReasrmError('a hub id needs huggingface_hub: pip install "reasrm[serve,local]", or name a file or folder')
    import huggingface_hub

    return huggingface_hub

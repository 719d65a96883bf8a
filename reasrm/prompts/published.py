"""Judges that others have published: what they are called, which form their replies have, and where their prompts stand.

`published.toml` lists them. A judge is recognised by the name under which an engine serves it, and its prompts are imported from
its authors' files, because each judge needs the texts of its own training.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from reasrm.errors import InputError, PromptPackError
from reasrm.parsing import ReplyKind
from reasrm.prompts.constants import constants
from reasrm.prompts.importing import NONE, import_pack

_FILE = Path(__file__).with_suffix(".toml")
#: What quantised copies add to a model's name: `-GGUF`, `.Q4_K_M`, `:q8_0`, `-AWQ`, `-FP8`, `-w4a16`, `-bnb-4bit` ...
_QUANTISED = re.compile(
    r"([-_.:](gguf|i1|awq|gptq|mlx|bnb|nf4|exl\d|iq\d\w*|q\d\w*|b?f\d+|fp\d+|int\d+|w\d+a\d+|\d+bit|dynamic|quantized))*",
    re.IGNORECASE,
)


class _Form(BaseModel):
    """What judges have in common that were trained on the same prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    paper: str
    kind: ReplyKind
    pack: str
    reply_tokens: int
    sglang: str
    repository: str
    files: tuple[str, ...]


class _Family(_Form):
    """Such judges, and the names of the constants that hold their prompts."""

    hub: tuple[str, ...]
    user: tuple[str, ...]
    conversation: tuple[str, ...] = ()
    system: tuple[str, ...] = ()


class PublishedJudge(_Form):
    """A judge with published weights.

    `name` is what reasrm calls it, `hub` its id on Hugging Face, `kind` the form of its replies, and `pack` the built-in pack
    of that form, for those who have not imported the judge's own texts. It was trained to write up to `reply_tokens` tokens.
    `sglang` holds flags for the engine; `repository` and `files` say where its prompts are published.
    """

    name: str
    hub: str


def published(model_name: str) -> PublishedJudge | None:
    """The judge that an engine serves under `model_name`; None if it is none of the table.

    It may be the hub's id, its last part, a path that ends so, or the name of a quantised copy, in any case of letters.
    """
    last = re.split(r"[/\\]", model_name.strip().rstrip("/\\"))[-1].lower().removesuffix(".gguf")
    for judge in published_judges():
        if last.startswith(judge.name) and _QUANTISED.fullmatch(last.removeprefix(judge.name)):
            return judge
    return None


@lru_cache(maxsize=1)
def published_judges() -> tuple[PublishedJudge, ...]:
    """All judges of the table, in its order."""
    return tuple(
        PublishedJudge(name=_name(hub), hub=hub, **family.model_dump(include=set(_Form.model_fields)))
        for family in _families()
        for hub in family.hub
    )


def import_published(name: str, source: Path, target: Path) -> Mapping[str, str]:
    """Write the prompt pack of the judge `name` at `target`, from the constants of its authors' file `source`.

    Returns which constant became which file. Raises `InputError` for an unknown judge, and `PromptPackError` for another file.
    """
    judge, family = _found(name)
    known = constants(source).texts
    user = next((constant for constant in family.user if constant in known), None)
    if user is None:
        where = " or ".join(judge.files)
        raise PromptPackError(f"{source} has no constant {' or '.join(family.user)}; take {where} of {judge.repository}")
    conversation, system = _first(family.conversation, known), _first(family.system, known)
    if family.system and system == NONE:
        raise PromptPackError(
            f"{source} has no constant {' or '.join(family.system)}, and {name} was trained with that system message"
        )
    return import_pack(source, target, kind=judge.kind, user=user, conversation=conversation, system=system)


def _found(name: str) -> tuple[PublishedJudge, _Family]:
    judge = published(name)
    if judge is None:
        known = ", ".join(judge.name for judge in published_judges())
        raise InputError(f"no published judge {name!r}; there are {known}")
    return judge, next(family for family in _families() if judge.hub in family.hub)


def _first(names: Sequence[str], known: Mapping[str, str]) -> str:
    return next((name for name in names if name in known), NONE)


@lru_cache(maxsize=1)
def _families() -> tuple[_Family, ...]:
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(_Family.model_validate(family) for family in table["family"])


def _name(hub: str) -> str:
    return hub.rpartition("/")[2].lower()

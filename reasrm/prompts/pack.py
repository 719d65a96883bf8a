"""A prompt pack: a folder of text files with which the judge is asked about a pair.

    pack.toml          name, version, kind ("rubric" | "free"), fence ("hmac" | "escape"), reuse, reasoning, fixed;
                       strip = false keeps the blank lines at a file's ends
    user.txt           the user message; placeholders {{question}} {{response_a}} {{response_b}} and their fences
    conversation.txt   optional: used instead where there is more than one turn; may use {{conversation_a}} {{conversation_b}}
    system.txt         optional: the system message
    glance.txt         optional: the only message where the judge names the winner without reasoning (else it is as above)
    rubric.txt         optional: the text around a caller's rubric at {{given_rubric}}; kind "rubric" begins the reply with it

A template is rendered in a single pass: placeholders in filled-in texts are not expanded.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from reasrm.errors import InputError, PromptPackError
from reasrm.parsing import ReplyKind
from reasrm.prompts.guard import escape, fence, without_fences
from reasrm.types import Message, Pair

BUILTIN = Path(__file__).parent / "packs"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_TEXTS = ("question", "response_a", "response_b", "conversation_a", "conversation_b")
_FENCES = ("fence_question", "fence_a", "fence_b")


class _PackHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    version: str
    kind: ReplyKind
    fence: Literal["hmac", "escape"] = "hmac"
    reuse: bool = False
    reasoning: bool = True
    strip: bool = True
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pack:
    """A loaded prompt pack. `digest` names its exact text and stands in every judgment.

    `reuse`: trained for deliberation reuse. `reasoning`: whether its judge reasons unless the caller says otherwise.
    """

    name: str
    kind: ReplyKind
    reuse: bool
    digest: str
    fenced: bool
    fixed: tuple[str, ...]
    user: str
    conversation: str | None = None
    system: str | None = None
    given_rubric: str | None = None
    glance: str | None = None
    reasoning: bool = True

    def render(self, pair: Pair, key: bytes, *, glance: bool = False) -> tuple[Message, ...]:
        """The messages that ask the judge about `pair`. `key` is the secret behind the fences; packs with fixed ones ignore it.

        With `glance` they ask for the winner without reasoning, where the pack has words for that.

        Raises `InputError` where the pair brings a rubric that this pack has no place for.
        """
        if glance and self.glance is not None:
            return (Message(role="user", content=_filled(self.glance, self._values(pair, key, self.glance))),)
        single = all(len(part) == 1 and not part[0].tool_calls for part in (pair.question, pair.a, pair.b))
        template = self.user if single or self.conversation is None else self.conversation
        user = Message(role="user", content=_filled(template, self._values(pair, key, template)))
        return (user,) if self.system is None else (Message(role="system", content=self.system), user)

    def prefill(self, pair: Pair) -> str:
        """How the reply begins when the caller brought a rubric: with that rubric, so that the judge cannot write its own."""
        if pair.rubric is None or self.kind != "rubric":
            return ""
        return f"<type>Chat</type>\n<rubric>\n{escape(pair.rubric.strip())}\n</rubric>\n"

    def _values(self, pair: Pair, key: bytes, template: str) -> Mapping[str, str]:
        """The texts behind the placeholders of `template`."""
        fences = tuple(fence(_plain(part), key) if self.fenced else "" for part in (pair.question, pair.a, pair.b))
        parts = {
            "question": (pair.question, fences[0]),
            "response_a": (pair.a, fences[1]),
            "response_b": (pair.b, fences[2]),
            "conversation_a": (pair.question + pair.a, fences[1]),
            "conversation_b": (pair.question + pair.b, fences[2]),
        }
        texts = {name: self._text(*parts[name], fences) for name in _pieces(template)[1::2] if name in parts}
        return texts | dict(zip(_FENCES, fences, strict=True)) | {"given_rubric": self._given(pair, fences)}

    def _text(self, messages: tuple[Message, ...], mark: str, fences: tuple[str, ...]) -> str:
        """One plain turn as it is; several, or tool calls, as a transcript whose labels carry the fence `mark`."""
        if len(messages) == 1 and not messages[0].tool_calls:
            return self._safe(messages[0].content, fences)
        lines: list[str] = []
        for message in messages:
            speaker = message.role if message.name is None else f"{message.role} {self._safe(message.name, fences)}"
            lines.append(_label(speaker, mark))
            if message.content:
                lines.append(self._safe(message.content, fences))
            for call in message.tool_calls:
                lines.append(_label(f"{message.role} calls {self._safe(call.name, fences)}", mark))
                lines.append(self._safe(call.arguments, fences))
        return "\n".join(lines)

    def _safe(self, text: str, fences: tuple[str, ...]) -> str:
        """`text` escaped. Without fences this includes lines that name a speaker; with fences, copies of a fence."""
        return without_fences(escape(text, self.fixed, speakers=not self.fenced), fences)

    def _given(self, pair: Pair, fences: tuple[str, ...]) -> str:
        if pair.rubric is None or self.kind == "rubric":
            return ""
        if self.given_rubric is None:
            raise InputError(f"prompt pack {self.name!r} has no rubric.txt, so it takes no rubric of your own", field="rubric")
        return _filled(self.given_rubric, {"rubric": self._safe(pair.rubric.strip(), fences)})


@lru_cache(maxsize=64)
def _pieces(template: str) -> Sequence[str]:
    """`template` cut at its placeholders: texts, and between every two of them a placeholder's name."""
    return _PLACEHOLDER.split(template)


def _filled(template: str, values: Mapping[str, str]) -> str:
    pieces = _pieces(template)
    return "".join(values[piece] if at % 2 else piece for at, piece in enumerate(pieces))


def _label(what: str, mark: str) -> str:
    return f"[{what} {mark}]" if mark else f"[{what}]"


def _plain(messages: tuple[Message, ...]) -> str:
    """Everything that decides a fence: all texts, with separators between them."""
    return "\x1e".join(
        "\x1f".join((message.role, message.content, *(f"{call.name}\x1f{call.arguments}" for call in message.tool_calls)))
        for message in messages
    )


def load_pack(name_or_dir: str | Path) -> Pack:
    """Load a built-in pack by name ("rubric", "free", "world") or any folder. Raises `PromptPackError`, which names the file."""
    path = Path(name_or_dir)
    if not path.is_dir():
        path = BUILTIN / str(name_or_dir)
    if not path.is_dir():
        known = ", ".join(sorted(entry.name for entry in BUILTIN.iterdir() if entry.is_dir()))
        raise PromptPackError(f"no prompt pack {str(name_or_dir)!r}: neither a folder nor one of {known}")
    return _load(path.resolve(), _digest(path))


@lru_cache(maxsize=16)
def _load(path: Path, digest: str) -> Pack:
    try:
        manifest = _PackHeader.model_validate(tomllib.loads(_read(path, "pack.toml")))
    except tomllib.TOMLDecodeError as error:
        raise PromptPackError(f"{path / 'pack.toml'} is not TOML: {error}") from error
    except ValidationError as error:
        first: Any = error.errors()[0]
        raise PromptPackError(f"{path / 'pack.toml'}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    pack = Pack(
        name=manifest.name,
        kind=manifest.kind,
        reuse=manifest.reuse,
        digest=f"{manifest.name}@{digest}",
        fenced=manifest.fence == "hmac",
        fixed=manifest.fixed,
        user=_template(path, "user.txt", manifest.strip),
        conversation=_template_if(path, "conversation.txt", manifest.strip),
        system=_template_if(path, "system.txt", manifest.strip),
        given_rubric=_template_if(path, "rubric.txt", manifest.strip),
        glance=_template_if(path, "glance.txt", manifest.strip),
        reasoning=manifest.reasoning,
    )
    _check(path, pack)
    return pack


def _check(path: Path, pack: Pack) -> None:
    known = {*_TEXTS, *_FENCES, "given_rubric"}
    for file, template in (("user.txt", pack.user), ("conversation.txt", pack.conversation), ("glance.txt", pack.glance)):
        if template is None:
            continue
        placeholders = set(_PLACEHOLDER.findall(template))
        if unknown := placeholders - known:
            raise PromptPackError(
                f"{path / file}: unknown placeholder {{{{{sorted(unknown)[0]}}}}}; known: {', '.join(sorted(known))}"
            )
        for side in ("a", "b"):
            if not placeholders & {f"response_{side}", f"conversation_{side}"}:
                raise PromptPackError(f"{path / file} never shows response {side.upper()}: put {{{{response_{side}}}}} into it")
        if pack.fenced and not placeholders >= set(_FENCES[1:]):
            raise PromptPackError(
                f'{path / file} must fence both responses with {{{{fence_a}}}} and {{{{fence_b}}}}, or set fence = "escape"'
            )


def _read(path: Path, file: str) -> str:
    try:
        return (path / file).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise PromptPackError(f"prompt pack {path} has no {file}") from None
    except UnicodeDecodeError as error:
        raise PromptPackError(f"{path / file} is not UTF-8: {error}") from error


def _template(path: Path, file: str, strip: bool) -> str:
    text = _read(path, file)
    return text.strip("\n") if strip else text


def _template_if(path: Path, file: str, strip: bool) -> str | None:
    return _template(path, file, strip) if (path / file).exists() else None


def _digest(path: Path) -> str:
    hasher = hashlib.blake2b(digest_size=6)
    for file in sorted(entry for entry in path.iterdir() if entry.suffix in (".txt", ".toml")):
        content = file.read_bytes()
        hasher.update(f"{file.name}\0{len(content)}\0".encode() + content)
    return hasher.hexdigest()

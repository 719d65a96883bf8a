"""A prompt pack out of the text constants of a Python file or a notebook, so that a published judge gets its own exact texts.

A constant whose placeholders name a question and two answers is the user message; one that names two conversations is the
multi-turn message; a long one without placeholders and with "system" in its name is the system message. If several fit, callers
choose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasrm.errors import PromptPackError
from reasrm.prompts.constants import Constants, constants

_FIELD = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")
_NAMES = {
    "question": ("question", "prompt", "instruction", "query", "user_question", "input"),
    "response_a": ("answer_a", "response_a", "answer_1", "response_1", "answer1", "response1", "output_1", "assistant_a"),
    "response_b": ("answer_b", "response_b", "answer_2", "response_2", "answer2", "response2", "output_2", "assistant_b"),
    "conversation_a": ("conversation_a", "conversation_1", "conversation1", "dialogue_a", "dialogue_1"),
    "conversation_b": ("conversation_b", "conversation_2", "conversation2", "dialogue_b", "dialogue_2"),
}
_OURS = {theirs: ours for ours, all_theirs in _NAMES.items() for theirs in all_theirs}
_SYSTEM_CHARS = 200  # shorter constants without placeholders are labels and names, not system messages
NONE = "none"  # given in place of a constant's name, it means that there is no such message
_VERDICT = re.compile(r"\[\[\s*[AB]\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Message:
    """One message of a pack: its file, the flag that chooses its constant, and the placeholders by which one is known."""

    file: str
    flag: str
    fields: frozenset[str]

    def fits(self, name: str, text: str) -> bool:
        """Whether a constant looks like this message."""
        here = {_OURS[name.lower()] for name in _FIELD.findall(text) if name.lower() in _OURS}
        if self.fields:
            return self.fields <= here
        return not here and len(text) >= _SYSTEM_CHARS and "system" in name.lower()


_USER = _Message("user.txt", "--user", frozenset({"question", "response_a", "response_b"}))
_CONVERSATION = _Message("conversation.txt", "--conversation", frozenset({"conversation_a", "conversation_b"}))
_SYSTEM = _Message("system.txt", "--system", frozenset())


def import_pack(
    source: Path,
    target: Path,
    *,
    kind: str = "rubric",
    user: str | None = None,
    conversation: str | None = None,
    system: str | None = None,
) -> dict[str, str]:
    """Write a pack folder at `target` from `source`'s constants; `user`, `conversation`, `system` name them where several fit.

    "none" for `conversation` or `system` leaves that message out. Returns which constant became which file.
    Raises `PromptPackError`, which lists the candidates; also for a prompt that no reply could answer with a verdict.
    """
    if target.exists() and any(target.iterdir()):
        raise PromptPackError(f"{target} exists and is not empty: choose another folder with -o")
    held = constants(source)
    chosen = {_USER: _chosen(held, _USER, user), _CONVERSATION: _chosen(held, _CONVERSATION, conversation)}
    if chosen[_USER] is None and (chosen[_CONVERSATION] is None or conversation is None):
        what = "a question and two answers, such as {question}, {answer_a}, {answer_b}"
        raise PromptPackError(f"no text constant has placeholders for {what}; name one with --user")
    chosen[_SYSTEM] = _chosen(held, _SYSTEM, system or _beside(held, chosen[_USER] or chosen[_CONVERSATION]))
    names = {message.file: name for message, name in chosen.items() if name is not None}
    if "user.txt" not in names:
        names["user.txt"] = names.pop("conversation.txt")
    texts = {file: held.texts[name] for file, name in names.items()}
    _check_answerable(names, texts)
    converted = {file: text if file == "system.txt" else _converted(names[file], text) for file, text in texts.items()}
    target.mkdir(parents=True, exist_ok=True)
    for file, text in converted.items():
        (target / file).write_bytes(text.encode())
    (target / "pack.toml").write_text(_manifest(target.name, kind, source, converted), encoding="utf-8")
    return dict(sorted(names.items()))


def _chosen(held: Constants, message: _Message, named: str | None) -> str | None:
    """The name of the constant that is `message`; None where there is none. Raises `PromptPackError` where several could be."""
    if named == NONE and message is not _USER:
        return None
    if named is not None:
        return _checked_name(held, named)
    fitting = [name for name, text in held.texts.items() if message.fits(name, text)]
    unfinished = [name for name, text in held.unfinished.items() if message.fits(name, text)]
    if unfinished or len({held.texts[name] for name in fitting}) > 1:
        listed = [*fitting, *(f"{name} (put together when the program runs, so it cannot be imported)" for name in unfinished)]
        how = f"choose one with {message.flag}" + ("" if message is _USER else f", or none with {message.flag} {NONE}")
        what = f"several constants fit: {how}: {', '.join(listed)}" if fitting else f"only {listed[0]} fits; {how}"
        raise PromptPackError(what)
    return fitting[0] if fitting else None


def _checked_name(held: Constants, name: str) -> str:
    if name in held.unfinished:
        raise PromptPackError(f"{name} is put together when the program runs, so it cannot be imported; write the pack by hand")
    if name not in held.texts:
        raise PromptPackError(f"no text constant {name!r}; there are {', '.join(sorted(held.texts)) or 'none'}")
    return name


def _beside(held: Constants, user: str | None) -> str | None:
    """The system message of the list of messages that holds the user message `user`."""
    system = (user or "").rpartition(".")[0] + ".system"
    return system if (user or "").endswith(".user") and system in held.texts else None


def _check_answerable(names: Mapping[str, str], texts: Mapping[str, str]) -> None:
    """Raise `PromptPackError` if no message asks for an answer in the form that replies are parsed for."""
    system = texts.get("system.txt", "")
    for file in ("user.txt", "conversation.txt"):
        whole = system + texts.get(file, "")
        if file in texts and not ("<answer>" in whole.lower() and _VERDICT.search(whole)):
            flag = _USER.flag if file == "user.txt" else f"{_CONVERSATION.flag}, or leave it out with {_CONVERSATION.flag} {NONE}"
            raise PromptPackError(
                f"{names[file]} never asks for <answer>[[A]]</answer> or <answer>[[B]]</answer>"
                + (f", nor does {names['system.txt']}" if system else "")
                + f": no reply to it could be read as a verdict. Name another constant with {_SYSTEM.flag} or {flag}"
            )


def _converted(name: str, text: str) -> str:
    """`str.format` placeholders as ours, and its doubled braces as single ones.

    Raises `PromptPackError` for a placeholder that no pack can fill.
    """
    parts = re.split(r"(\{\w+\})", text.replace("{{", "\x00").replace("}}", "\x01"))
    for part in parts[1::2]:
        if part[1:-1].lower() not in _OURS:
            known = ", ".join(sorted(_OURS))
            raise PromptPackError(f"{name} has the placeholder {part}, which no pack can fill; known are {known}")
    renamed = [f"{{{{{_OURS[part[1:-1].lower()]}}}}}" if at % 2 else part for at, part in enumerate(parts)]
    return "".join(renamed).replace("\x00", "{").replace("\x01", "}")


def _manifest(name: str, kind: str, source: Path, texts: Mapping[str, str]) -> str:
    fixed = sorted({line for text in texts.values() for line in _delimiters(text)})
    listed = "".join(f"  {json.dumps(line, ensure_ascii=False)},\n" for line in fixed)
    return (
        f'# imported from {source.name}\nname = {json.dumps(name)}\nversion = "1"\nkind = {json.dumps(kind)}\n'
        f'fence = "escape"\nstrip = false\n# look-alikes of these inside the texts are escaped\nfixed = [\n{listed}]\n'
    )


def _delimiters(text: str) -> list[str]:
    """The lines right before and after each placeholder: a text that imitates them could pose as a part of the prompt."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    delimiters: list[str] = []
    for number, line in enumerate(lines):
        if re.search(r"\{\{\w+\}\}", line):
            around = [*lines[max(0, number - 1) : number], *lines[number + 1 : number + 2], *re.split(r"\{\{\w+\}\}", line)]
            delimiters += [part.strip() for part in around if 3 <= len(part.strip()) <= 80 and "{{" not in part]
    return delimiters

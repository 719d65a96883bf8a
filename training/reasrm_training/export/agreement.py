"""Both tokenizers on the same texts: the folder's own, and llama.cpp's by the file that was written."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

from reasrm.errors import InputError
from reasrm_training.export.texts import texts

SHOWN_CHARS, SHOWN_TOKENS = 100, 3


def check_tokens(folder: Path, file: Path, tokenizer: dict[str, Any]) -> int:
    """The number of texts that both cut alike. Raises `InputError` with the first text that they cut differently."""
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    corpus = texts([added["content"] for added in tokenizer["added_tokens"]], _prompts(folder))
    if tokenizer.get("normalizer"):  # llama.cpp does not normalise, so equal tokens can be had for normalised texts only
        corpus = [unicodedata.normalize("NFC", text) for text in corpus]
    for text, theirs in zip(corpus, _llama_tokens(file, corpus), strict=True):
        ours = own.encode(text).ids
        if ours != theirs:
            equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
            raise InputError(
                f"llama.cpp cuts {_cut(text, SHOWN_CHARS)!r} into other tokens: after {equal} equal ones come "
                f"{_pieces(own, theirs[equal:])}, and for the tokenizer of {folder} {_pieces(own, ours[equal:])}. "
                "The model would read what it was not trained on, so no file was written"
            )
    return len(corpus)


def _llama_tokens(file: Path, corpus: Sequence[str]) -> list[list[int]]:
    if find_spec("xllamacpp") is None:
        raise InputError("xllamacpp is missing, and without llama.cpp no file can be checked: pip install 'reasrm[train]'")
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "texts.json"), Path(place, "tokens.json")
        source.write_text(json.dumps(corpus), encoding="utf-8")
        argv = [sys.executable, "-m", "reasrm_training.export.llama_tokens", str(file), str(source), str(target)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode or not target.exists():
            lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
            why = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else f"exit {done.returncode}")
            raise InputError(f"llama.cpp does not read the file that was written for it: {_cut(why, 300)}")
        return json.loads(target.read_text(encoding="utf-8"))


def _prompts(folder: Path) -> list[str]:
    """The texts of the prompt pack that a trained judge carries."""
    return [path.read_text(encoding="utf-8") for path in sorted((folder / "prompts").glob("*.txt"))]


def _pieces(own: Any, ids: Sequence[int]) -> str:
    return " ".join(repr(own.id_to_token(token)) for token in ids[:SHOWN_TOKENS]) or "none"


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars]}..."

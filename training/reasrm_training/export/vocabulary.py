"""A byte-level BPE of `tokenizer.json` as the vocabulary of a GGUF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf

from reasrm.errors import InputError

_GPT2 = "ByteLevel"  # its pattern is built into the tokenizers library
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: How a text is cut before its pieces are merged -> llama.cpp's name for it (`tokenizer.ggml.pre`).
_PRE = {
    (_GPT2,): "gpt-2",
    ("Digits", _GPT2): "smollm",
    (_WORDS % r"\p{N}",): "qwen2",
    (_WORDS % r"\p{N}{1,3}",): "llama-bpe",
}


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """The tokenizer of a folder. Raises `InputError` where it is none that GGUF has a form for."""
    path = folder / "tokenizer.json"
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} has no tokenizer.json; save the tokenizer with transformers' AutoTokenizer first") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    model = tokenizer["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise InputError(f"{path}: only byte-level BPE can be written as GGUF here, not {model['type']} with other pieces")
    normalizer = tokenizer.get("normalizer")
    if normalizer and normalizer["type"] != "NFC":
        raise InputError(f"{path}: its normalizer is {normalizer['type']}, and llama.cpp changes no text before it cuts it")
    return tokenizer


def add_vocabulary(writer: gguf.GGUFWriter, folder: Path, tokenizer: dict[str, Any], size: int) -> None:
    """Write tokens, merges, special tokens and the chat template; `size` is the number of rows of the embedding."""
    tokens = {index: (text, gguf.TokenType.NORMAL) for text, index in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]] = (added["content"], kind)
    if max(tokens) >= size:
        raise InputError(f"{folder}: the tokenizer has {max(tokens) + 1} tokens, and the model's embedding only {size}")
    rows = [tokens.get(index, (f"[PAD{index}]", gguf.TokenType.UNUSED)) for index in range(size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_type(folder, tokenizer))
    writer.add_token_list([text for text, _ in rows])
    writer.add_token_types([kind for _, kind in rows])
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=size)
    special.add_special_token.setdefault("bos", False)
    special.add_to_gguf(writer, quiet=True)
    if special.chat_template is None:
        raise InputError(f"{folder} has no chat template, and a judge needs one")


def pre_type(folder: Path, tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name for the way in which the tokenizer cuts texts. Raises `InputError` where it has none that is known here."""
    before = tokenizer.get("pre_tokenizer") or {}
    steps = tuple(step for part in before.get("pretokenizers", [before]) if (step := _step(part)) is not None)
    if steps in _PRE:
        return _PRE[steps]
    known = ", ".join(_PRE.values())
    raise InputError(f"{folder / 'tokenizer.json'}: it cuts texts in another way than the tokenizers {known}")


def _step(part: dict[str, Any]) -> str | None:
    """What one pre-tokenizer does; None for one that cuts nothing."""
    match part:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return None
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return _GPT2
        case {"type": "Digits", "individual_digits": True}:
            return "Digits"
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return str(pattern)
        case _:
            return f"unknown: {part.get('type')}"

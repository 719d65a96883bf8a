"""A causal language model of transformers that writes many replies at once. Blocking: `local` keeps it off the event loop.

Every row of a batch has its own temperature, seed and length. Tokens are chosen by the Gumbel-max rule (the argmax of
log-probabilities plus Gumbel noise is a sample), so a row's reply depends on its own seed and not on the other rows of the batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.utils.logging import disable_progress_bar

from reasrm.engine import TAIL_TOKENS
from reasrm.errors import InputError, TooLong
from reasrm.types import Ask, Token

CHUNK = 2**20
TOP_ALTERNATIVES = 20  # of each token, as many as a request may ask for
#: Weights; configuration, tokenizer and domain; the chat template; the tokenizers of older models.
DECIDING = (".safetensors", ".json", ".jinja", ".txt", ".model")
disable_progress_bar()  # no progress bars: a server's log needs none


@dataclass(slots=True)
class Row:
    """One reply to write: `ids` is the prompt with the reply's beginning. `on_text` is given the text as it grows.

    `cancelled` may be set from any thread at any time.
    """

    ask: Ask
    ids: list[int]
    on_text: Callable[[str], None] | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class RowReply:
    """A reply: its text, why it ended, its number of tokens, and the last tokens with their alternatives."""

    text: str
    finish_reason: Literal["stop", "length"]
    count: int
    tokens: tuple[Token, ...]


class EmbeddedModel:
    """The model in `folder` (safetensors only). Raises `InputError` where there is none, or it has no chat template."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        if not (folder / "config.json").is_file():
            raise InputError(f"no model in {folder}: it has no config.json", field="model")
        self.device = _device(device)
        self._tokenizer, self._model = _loaded(folder, self.device)
        if not self._tokenizer.chat_template:
            raise InputError(f"the model in {folder} has no chat template, so it cannot judge", field="model")
        self.name = _name(folder)
        self.weight_version = digest_of(folder)
        self.max_context = int(self._model.config.max_position_embeddings)
        ends: int | list[int] = self._model.generation_config.eos_token_id or self._tokenizer.eos_token_id
        self._ends: list[int] = [ends] if isinstance(ends, int) else ends
        padding: int | None = self._tokenizer.pad_token_id
        self._pad = self._ends[0] if padding is None else padding

    def encode(self, ask: Ask) -> list[int]:
        """The prompt's tokens, then those of the reply's beginning, as SGLang puts them. Raises `TooLong`."""
        messages = [{"role": message.role, "content": message.content} for message in ask.messages]
        prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = [part for text in (prompt, ask.prefill) for part in self._tokenizer.encode(text, add_special_tokens=False)]
        count = len(ids) + ask.max_tokens
        if count > self.max_context:
            raise TooLong(
                f"the prompt takes {len(ids)} tokens, its reply {ask.max_tokens}; the judge's context holds {self.max_context}",
                field="max_tokens" if len(ids) < self.max_context else "question",
                count=count,
                limit=self.max_context,
            )
        return ids

    def write(self, rows: Sequence[Row]) -> list[RowReply]:
        """The replies of `rows`, written together."""
        width = max(len(row.ids) for row in rows)
        ids = torch.tensor([[self._pad] * (width - len(row.ids)) + row.ids for row in rows], device=self.device)
        mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=self.device)
        chooser = _Chooser(rows, self.device)
        ending = _Ending(rows, width, self._ends, self._decode)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(row.ask.max_tokens for row in rows),
            eos_token_id=self._ends,
            pad_token_id=self._pad,
        )
        with torch.inference_mode():
            out = self._model.generate(
                ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=LogitsProcessorList([chooser]),
                stopping_criteria=StoppingCriteriaList([ending]),
            )
        replies = cast(list[list[int]], out[:, width:].tolist())
        return [self._written(index, row, replies[index], chooser, ending) for index, row in enumerate(rows)]

    def _written(self, index: int, row: Row, ids: list[int], chooser: _Chooser, ending: _Ending) -> RowReply:
        count = ending.lengths[index]
        text = _cut(self._decode(ids[:count]), row.ask.stop)
        stopped = bool(count) and (ids[count - 1] in self._ends or text != self._decode(ids[:count]))
        first = max(0, count - TAIL_TOKENS)
        tokens = tuple(
            Token(text=self._decode([ids[at]]), top={self._decode([token]): logprob for token, logprob in chooser.top(at, index)})
            for at in range(first, count)
        )
        return RowReply(text, "stop" if stopped else "length", count, tokens)

    def _decode(self, ids: list[int]) -> str:
        return cast(str, self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class _Chooser(LogitsProcessor):
    """Chooses the next token of every row, and keeps the likeliest ones with their log-probabilities (at temperature 1)."""

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        self._rows = rows
        self._noise = [torch.Generator(device).manual_seed(row.ask.seed or 0) for row in rows]
        self._steps: list[tuple[Tensor, Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores that leave nothing but the chosen token to the greedy search behind this."""
        logprobs = scores.float().log_softmax(-1)
        chosen = logprobs.argmax(-1, keepdim=True)
        for index, row in enumerate(self._rows):
            if row.ask.temperature > 0.0:
                chosen[index] = _sample(logprobs[index], row.ask, self._noise[index])
        likely = logprobs.topk(min(TOP_ALTERNATIVES, logprobs.shape[-1])).indices
        ids = torch.cat((likely, chosen), dim=1)
        self._steps.append((ids, logprobs.gather(1, ids)))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)

    def top(self, step: int, row: int) -> list[tuple[int, float]]:
        """The alternatives at `step`, the chosen one last."""
        ids, logprobs = self._steps[step]
        return list(zip(cast(Any, ids[row]).tolist(), cast(Any, logprobs[row]).tolist(), strict=True))


def _sample(logprobs: Tensor, ask: Ask, generator: torch.Generator) -> Tensor:
    scaled = (logprobs / ask.temperature).log_softmax(-1)
    if ask.top_p < 1.0:
        ordered, order = scaled.sort(descending=True)
        beyond = ordered.exp().cumsum(-1) - ordered.exp() > ask.top_p
        scaled = scaled.index_fill(0, order[beyond], -torch.inf)
    uniform = torch.rand(scaled.shape, generator=generator, device=scaled.device).clamp_min(1e-20)
    return (scaled - (-uniform.log()).log()).argmax(-1)


class _Ending(StoppingCriteria):
    """Ends each row by itself: at its own limit, at a stop text, or when nobody waits for it; it passes the text on meanwhile."""

    def __init__(self, rows: Sequence[Row], width: int, ends: Sequence[int], decode: Callable[[list[int]], str]) -> None:
        self.lengths = [0] * len(rows)
        self._rows, self._width, self._ends, self._decode = rows, width, set(ends), decode
        self._done = [False] * len(rows)
        self._sent = [0] * len(rows)

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Any:
        """Which rows are done, as a tensor of booleans."""
        written = cast(list[list[int]], cast(Any, input_ids[:, self._width :]).tolist())
        for index, (row, ids) in enumerate(zip(self._rows, written, strict=True)):
            if not self._done[index]:
                self.lengths[index] = len(ids)
                self._done[index] = self._step(index, row, ids)
        return torch.tensor(self._done, device=input_ids.device)

    def _step(self, index: int, row: Row, ids: list[int]) -> bool:
        done = row.cancelled or len(ids) >= row.ask.max_tokens or ids[-1] in self._ends
        if row.on_text is None and not row.ask.stop:
            return done
        whole = self._decode(ids)
        text = _cut(whole, row.ask.stop)
        done = done or text != whole
        if row.on_text is not None and (done or not text.endswith("\ufffd")):  # half a character waits for its other half
            if piece := text[self._sent[index] :]:
                row.on_text(piece)
            self._sent[index] = len(text)
        return done


def _cut(text: str, stop: tuple[str, ...]) -> str:
    """`text` up to the first of the stop texts."""
    return text[: min((at for at in (text.find(ending) for ending in stop) if at >= 0), default=len(text))]


def _loaded(folder: Path, device: torch.device) -> tuple[Any, Any]:
    """The tokenizer and the model; transformers' types do not say what they are."""
    tokenizer: Any = cast(Any, AutoTokenizer).from_pretrained(folder, local_files_only=True, padding_side="left")
    # In float32 a reply hardly depends on the other rows of its batch; on a GPU the weights' own type saves memory.
    dtype = torch.float32 if device.type == "cpu" else "auto"
    model: Any = cast(Any, AutoModelForCausalLM).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype)
    return tokenizer, model.to(device).eval()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {name!r} here: {str(error).splitlines()[0]}", field="device") from None
    return device


def _name(folder: Path) -> str:
    """What the recipe that made the model calls it, or else the folder's name."""
    recipe = folder / "recipe.json"
    return json.loads(recipe.read_text(encoding="utf-8"))["name"] if recipe.is_file() else folder.resolve().name


def digest_of(folder: Path) -> str:
    """The weight version: a digest of every file that decides a reply, such as weights, configuration and tokenizer."""
    hasher = hashlib.blake2b(digest_size=8)
    for file in sorted(file for file in folder.iterdir() if file.suffix in DECIDING):
        hasher.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                hasher.update(chunk)
    return hasher.hexdigest()

"""The tokenizer of the model that is trained, and how messages become its prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from reasrm.errors import RecipeError
from reasrm.prompts import load_pack
from reasrm.types import Message
from reasrm_training.model.from_scratch import make_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    from reasrm_training.config.recipe import Recipe


def load_tokenizer(recipe: Recipe, folder: Path | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, or that of the recipe's model. It pads on the left.

    Raises RecipeError where there is none, it has no chat template, or its template drops the system prompt of the recipe's pack.
    """
    from transformers import AutoTokenizer

    if folder is None and recipe.model.scratch:
        return new_tokenizer(recipe.model.scratch.vocab_size)
    source = str(folder or recipe.model.path)
    check_path(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=None if folder else recipe.model.revision)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no tokenizer at {source}: {str(error).splitlines()[0]}") from None
    if not tokenizer.chat_template:
        raise RecipeError(f"model.path: the tokenizer of {source} has no chat template; a judge needs a chat model")
    if (system := load_pack(recipe.prompts).system) and not _shows_system(tokenizer, system):
        raise RecipeError(
            f"prompts: the chat template of {source} drops system prompts, and the pack {recipe.prompts} has one; "
            "give a folder without system.txt and with its text at the beginning of user.txt"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def check_path(source: str) -> None:
    """Raises RecipeError where `source` is written as a path and is not a folder. A hub id passes."""
    if source.startswith((".", "/", "~")) and not Path(source).is_dir():
        raise RecipeError(f"model.path: there is no folder {source}")


def _shows_system(tokenizer: PreTrainedTokenizerBase, system: str) -> bool:
    """Whether the chat template writes a system prompt. Some templates refuse one, others drop it in silence."""
    from jinja2 import TemplateError

    chat = [{"role": "system", "content": system}, {"role": "user", "content": "?"}]
    try:
        return system.strip() in str(tokenizer.apply_chat_template(chat, tokenize=False))
    except TemplateError:
        return False


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The tokens of a prompt, up to where the reply begins."""
    ids = tokenizer.apply_chat_template(as_chat(messages), add_generation_prompt=True, tokenize=True, return_dict=False)
    return list(ids)  # type: ignore[arg-type]


def as_chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in the form that chat templates and TRL take."""
    return [{"role": message.role, "content": message.content} for message in messages]


def token_counter(recipe: Recipe) -> Callable[[Sequence[Message]], int]:
    """A function that counts a prompt's tokens with the recipe's tokenizer. Raises RecipeError as `load_tokenizer` does."""
    tokenizer = load_tokenizer(recipe)
    return lambda messages: len(prompt_ids(tokenizer, messages))


@lru_cache(maxsize=1)  # fitting one takes seconds
def new_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a model from scratch."""
    return make_tokenizer(vocab_size)

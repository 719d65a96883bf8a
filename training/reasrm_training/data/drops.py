"""The named rules by which rows are dropped, from the cheapest to the dearest. A recipe names those that hold for a source."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence

from reasrm.prompts import Pack
from reasrm.quality.near import Near
from reasrm.types import Message
from reasrm_training.config.recipe import Data, DropRule
from reasrm_training.data.examples import PreferenceExample, folded, text_of
from reasrm_training.data.sources import read_questions

#: Tokens of a prompt, as the model's chat template writes it.
TokenCounter = Callable[[Sequence[Message]], int]

#: Control tokens of chat templates that were left in a text: <|im_start|>, <im_start>, [INST], <<SYS>>, <start_of_turn>, <eos>,
#: <extra_id_1>, and </s> where it ends the text: elsewhere it is HTML.
_SPECIAL = re.compile(
    r"<[|｜][^<>\s]{1,48}[|｜]>|</?im_(?:start|end|sep)>|\[/?INST\]|<</?SYS>>|<(?:start_of_turn|end_of_turn|bos|eos|pad|unk)>"
    r"|<extra_id_\d+>|</s>\s*\Z"
)


def magpie_ultra(example: PreferenceExample) -> bool:
    """Skywork's part of that name: its rejected responses hold `<im_start>`, by which they are told without reading."""
    return example.subset.startswith("magpie_ultra")


def special_tokens(example: PreferenceExample) -> bool:
    """A response holds a chat template's control tokens."""
    return any(_SPECIAL.search(text_of(response)) for response in (example.a, example.b))


def equal_responses(example: PreferenceExample) -> bool:
    """The responses differ in white space and case at most."""
    return folded(text_of(example.a)) == folded(text_of(example.b))


class DropRules:
    """The rules, with what they remember: rows seen so far, over all sources, and the benchmarks' questions."""

    def __init__(self, data: Data, pack: Pack, key: bytes, count_tokens: TokenCounter | None) -> None:
        self._pack = pack
        self._key = key
        self._count_tokens = count_tokens
        self._max_prompt_tokens = data.max_prompt_tokens
        self._seen: set[bytes] = set()
        self._near = Near(data.near_duplicate) if any("near_duplicate" in source.drop for source in data.sources) else None
        self._benchmark = {folded(question) for path in data.benchmarks for question in read_questions(path)}
        self._near_benchmark = Near(data.near_duplicate)
        for question in sorted(self._benchmark):
            self._near_benchmark.add(question, question)
        self._rules: dict[DropRule, Callable[[PreferenceExample], bool]] = {
            "magpie_ultra": magpie_ultra,
            "special_tokens": special_tokens,
            "equal_responses": equal_responses,
            "duplicate": self._duplicate,
            "in_benchmark": self._in_benchmark,
            "too_long": self._too_long,
        }

    def rule_against(self, example: PreferenceExample, rules: Collection[DropRule]) -> DropRule | None:
        """The first of `rules` that drops `example`; None keeps it, and remembers it."""
        for rule, drops in self._rules.items():
            if rule in rules and drops(example):
                return rule
        # Last, as it remembers: a row that another rule drops must not drop its like. One that its source keeps all the same must.
        if self._like_another(example) and "near_duplicate" in rules:
            return "near_duplicate"
        self._seen.add(_fingerprint(example))
        return None

    def _duplicate(self, example: PreferenceExample) -> bool:
        return _fingerprint(example) in self._seen

    def _like_another(self, example: PreferenceExample) -> bool:
        """Question and both responses together are much like an earlier row's; remembered if not."""
        return self._near is not None and self._near.seen(example.id, "\n".join(_texts(example))) is not None

    def _in_benchmark(self, example: PreferenceExample) -> bool:
        """Its question, or one much like it, stands in a benchmark."""
        question = folded(text_of(example.question))
        return question in self._benchmark or (bool(self._benchmark) and self._near_benchmark.like(question) is not None)

    def _too_long(self, example: PreferenceExample) -> bool:
        if self._count_tokens is None:
            return False
        return self._count_tokens(self._pack.render(example.pair, self._key)) > self._max_prompt_tokens


def _texts(example: PreferenceExample) -> tuple[str, str, str]:
    """Question and responses, the same for both orders."""
    first, second = sorted((folded(text_of(example.a)), folded(text_of(example.b))))
    return folded(text_of(example.question)), first, second


def _fingerprint(example: PreferenceExample) -> bytes:
    return hashlib.blake2b("\x1e".join(_texts(example)).encode("utf-8", "surrogatepass"), digest_size=16).digest()

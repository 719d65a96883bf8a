"""The named rules that drop rows, from the cheapest to the most expensive. A recipe names those that apply to a source."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence

from reasrm.prompts import Pack
from reasrm.quality.near import Near
from reasrm.types import Message
from reasrm_training.config.data import Data, DropRule
from reasrm_training.data.examples import PreferenceExample, folded, text_of
from reasrm_training.data.sources import read_questions

#: Counts the tokens of a prompt as the model's chat template writes it.
TokenCounter = Callable[[Sequence[Message]], int]

#: Control tokens of chat templates that were left in a text: <|im_start|>, <im_start>, [INST], <<SYS>>, <start_of_turn>, <eos>,
#: <extra_id_1>, and </s> where it ends the text: elsewhere it is HTML.
_SPECIAL = re.compile(
    r"<[|｜][^<>\s]{1,48}[|｜]>|</?im_(?:start|end|sep)>|\[/?INST\]|<</?SYS>>|<(?:start_of_turn|end_of_turn|bos|eos|pad|unk)>"
    r"|<extra_id_\d+>|</s>\s*\Z"
)


def magpie_ultra(example: PreferenceExample) -> bool:
    """Skywork's part of that name. Its rejected responses hold `<im_start>`, so that this token alone gives the label away."""
    return example.subset.startswith("magpie_ultra")


def special_tokens(example: PreferenceExample) -> bool:
    """A response holds a chat template's control tokens."""
    return any(_SPECIAL.search(text_of(response)) for response in (example.a, example.b))


def equal_responses(example: PreferenceExample) -> bool:
    """The responses differ at most in white space at the ends of their lines. Indentation is part of a program."""
    return _trimmed(text_of(example.a)) == _trimmed(text_of(example.b))


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


class DropRules:
    """The rules and their memory: the rows kept so far, over all sources, and the benchmarks' questions."""

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
        """The first of `rules` that drops `example`. None keeps the example, and remembers it."""
        for rule, drops in self._rules.items():
            if rule in rules and drops(example):
                return rule
        # Last, as it remembers rows. A row that another rule dropped must not drop its duplicates, and one that is kept must.
        if self._near_duplicate(example) and "near_duplicate" in rules:
            return "near_duplicate"
        self._seen.add(_fingerprint(example))
        return None

    def _duplicate(self, example: PreferenceExample) -> bool:
        return _fingerprint(example) in self._seen

    def _near_duplicate(self, example: PreferenceExample) -> bool:
        """Question and both responses together are nearly those of an earlier row. If not, the row is remembered."""
        return self._near is not None and self._near.seen(example.id, "\n".join(_texts(example))) is not None

    def _in_benchmark(self, example: PreferenceExample) -> bool:
        """Its question, or nearly the same one, stands in a benchmark."""
        question = folded(text_of(example.question))
        return question in self._benchmark or (bool(self._benchmark) and self._near_benchmark.like(question) is not None)

    def _too_long(self, example: PreferenceExample) -> bool:
        if self._count_tokens is None:
            return False
        return self._count_tokens(self._pack.render(example.pair, self._key)) > self._max_prompt_tokens


def _texts(example: PreferenceExample) -> tuple[str, str, str]:
    """Question and responses, equal for both orders of the responses."""
    first, second = sorted((folded(text_of(example.a)), folded(text_of(example.b))))
    return folded(text_of(example.question)), first, second


def _fingerprint(example: PreferenceExample) -> bytes:
    return hashlib.blake2b("\x1e".join(_texts(example)).encode("utf-8", "surrogatepass"), digest_size=16).digest()

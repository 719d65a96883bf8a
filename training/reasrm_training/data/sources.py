"""The rows of a source as preference examples, read by the schema that its columns fit. Unusable rows are counted by reason."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reasrm.datasets import DataRow, DataSet, read_examples, winner_values_of
from reasrm.datasets.winners import HOW
from reasrm.errors import InputError, RecipeError
from reasrm_training.config.data import Source
from reasrm_training.data.examples import PreferenceExample, text_of

#: Called with what is being done, how many rows are done, and of how many, where that is known.
OnRows = Callable[[str, int, int | None], None]

#: How the reader says that columns may be mapped, in the words of the command line.
NAME_COLUMNS = (
    "Name yours with --map, for instance --map question=prompt,a=good,b=bad or --map prompt=text,chosen=good,rejected=bad"
)


@dataclass(frozen=True, slots=True)
class SourceRows:
    """A source's usable rows, in its order. `unusable` counts the others by reason. `sha256` is over all rows as read.

    `first_error` names the file, the row and the fault of the first row that could not be read; empty where all could.
    """

    schema: str
    count: int
    examples: list[PreferenceExample]
    unusable: Counter[str]
    first_error: str
    sha256: str


def read_source(source: Source, on_rows: OnRows) -> SourceRows:
    """Read every row of `source`.

    A row that cannot be read, or whose label names no side, is counted and left out. Raises InputError, which names the source,
    where it cannot be opened, is empty or lacks a column.
    """
    _check_choice(source)
    mapping = {column: known for known, column in source.columns.items()}
    winners = winner_values_of(source.winner_values) if source.winner_values else None
    table = DataSet(
        source.path, source.schema_, mapping, source.split, config=source.config, data_dir=source.data_dir, winners=winners
    )
    hasher = hashlib.sha256()
    examples: list[PreferenceExample] = []
    ids: set[str] = set()
    unusable: Counter[str] = Counter()
    count, first_error = 0, ""
    try:
        for entry in table:
            count += 1
            hasher.update(json.dumps(entry.row, sort_keys=True, default=str).encode() + b"\n")
            usable = _usable(entry, source.label)
            if isinstance(usable, PreferenceExample):
                known = usable.id in ids
                examples.append(usable.model_copy(update={"id": f"{usable.id}#{entry.index}"}) if known else usable)
                ids.add(examples[-1].id)
            else:
                unusable[usable] += 1
                first_error = first_error or (f"{entry.where}: {_in_recipe_words(entry.error)}" if entry.error else "")
            if count % 1000 == 0:
                on_rows(f"{source.label}: reading", count, None)
    except InputError as error:
        message = _in_recipe_words(str(error))
        named = message if message.startswith(source.path) else f"{source.path}: {message}"
        raise type(error)(named, field="data.sources") from None
    if unusable["no_winner"] == count:
        advice = ', in a column winner or one that columns = { winner = "NAME" } names' if table.name == "pair" else ""
        raise RecipeError(f"{source.path}: none of {count} rows says which response is better{advice}", field="data.sources")
    return SourceRows(table.name, count, _scaled(examples), unusable, first_error, hasher.hexdigest())


def _check_choice(source: Source) -> None:
    """Raises RecipeError where `source` chooses among parts that it does not have."""
    path = Path(source.path)
    if not path.exists():
        return
    if source.split and not (path / "dataset_dict.json").exists():
        raise RecipeError(f"{source.path}: has no splits to choose {source.split!r} from; leave split out", field="data.sources")
    if source.config or source.data_dir:
        raise RecipeError(f"{source.path}: config and data_dir choose on the hub only; leave them out", field="data.sources")


def read_questions(path: str) -> Iterator[str]:
    """The questions of a benchmark: a file, a folder of files or a hub id. Raises InputError."""
    try:
        yield from (text_of(example.question) for example in read_examples(path))
    except InputError as error:
        message = str(error).replace(NAME_COLUMNS, "Call them question, a and b")
        raise type(error)(f"data.benchmarks: {message}", field="data.benchmarks") from None


def _usable(entry: DataRow, source: str) -> PreferenceExample | str:
    """The preference example in a row, or why there is none."""
    example = entry.example
    if example is None:
        return "unreadable"
    if not example.is_pair:
        return "not_a_pair"
    if example.winner is None:
        return "no_winner"
    a, b = example.responses
    return PreferenceExample(
        id=f"{source}/{example.id or entry.index}",
        source=source,
        question=example.question,
        a=a,
        b=b,
        winner=example.winner,
        subset=example.subset,
        strength=example.strength,
    )


def _in_recipe_words(message: str) -> str:
    """`message` with the keys of a source in place of the command line's flags."""
    words = {
        NAME_COLUMNS: 'Name yours, for instance by columns = { prompt = "text", chosen = "good", rejected = "bad" }',
        "choose with --schema NAME": 'choose by schema = "NAME"',
        "or --schema for all": 'or schema = "NAME" for all',
        HOW: 'say what the values mean by winner_values = "a=1,b=2,tie=0"',
        "choose one with --split": 'choose one by split = "NAME"',
    }
    for flag, key in words.items():
        message = message.replace(flag, key)
    return message


def _scaled(examples: list[PreferenceExample]) -> list[PreferenceExample]:
    """`examples` with their strengths as shares of the source's greatest one, as each source has its own scale."""
    most = max((example.strength for example in examples if example.strength), default=None)
    if most is None:
        return examples
    return [e if e.strength is None else e.model_copy(update={"strength": round(e.strength / most, 6)}) for e in examples]

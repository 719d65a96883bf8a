"""The published schemas by name, and recognition of the one that a table's columns fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from reasrm.datasets import benchmark_sets, own, preference_sets
from reasrm.datasets.example import Example
from reasrm.datasets.values import Row
from reasrm.errors import InputError, SchemaError


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of table: the columns by which it is known, those it may have besides, and how a row becomes an `Example`.

    `fits` looks at a row where columns alone do not tell schemas apart.
    """

    name: str
    columns: frozenset[str]
    optional: frozenset[str]
    fields: Callable[[Row], dict[str, Any]]
    fits: Callable[[Row], bool] | None = None

    def read(self, row: Row, file: str = "") -> Example:
        """`row` as an example; where the row does not say its subset, its file's name does. Raises InputError."""
        fields = self.fields(row)
        if file and not fields.get("subset"):
            fields["subset"] = _subset_of(file)
        try:
            example = Example.model_validate(fields)
            example.text.encode()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "row"
            raise InputError(f"{where}: {first['msg'].removeprefix('Value error, ')}", field=where) from None
        except UnicodeEncodeError as error:
            half = ord(error.object[error.start])
            raise InputError(f"a text holds U+{half:04X}, half of a surrogate pair: it was cut inside a character") from None
        return example


@lru_cache(maxsize=64)
def _subset_of(file: str) -> str:
    return PurePath(file).name.partition(".")[0].removesuffix("_filtered")


def _schema(
    name: str, columns: str, optional: str, fields: Callable[[Row], dict[str, Any]], fits: Callable[[Row], bool] | None = None
) -> Schema:
    return Schema(name, frozenset(columns.split()), frozenset(optional.split()), fields, fits)


#: What a preference row may have besides its responses.
_PREFERENCE = "prompt id prompt_id margin subset source"
#: Rows that many tables look like; a published schema that fits as well goes before them.
GENERAL: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        _schema("pair", "question a b", "winner strength subset rubric id", own.pair),
        _schema("group", "question responses", "labels subset rubric id", own.group),
        _schema("reference", "question response reference", "subset id", own.reference),
        _schema("preference", "chosen rejected", _PREFERENCE, own.preference, own.is_preference),
        _schema("hh-rlhf", "chosen rejected", "", own.whole_dialogues, own.is_dialogues),
    )
}
PUBLISHED: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        _schema("skywork", "chosen rejected source", _PREFERENCE, own.preference, own.is_preference),
        _schema(
            "ultrafeedback",
            "prompt chosen rejected score_chosen score_rejected",
            _PREFERENCE,
            preference_sets.ultrafeedback,
            own.is_preference,
        ),
        _schema("helpsteer2", "prompt response_1 response_2 preference_strength", "", preference_sets.helpsteer2),
        _schema("helpsteer3", "context response1 response2 overall_preference", "domain language", preference_sets.helpsteer3),
        _schema("code-preference", "input accepted rejected", "", preference_sets.code_preference),
        _schema("math-step-dpo", "prompt full_chosen full_rejected", "initial_reason_steps dataset", preference_sets.math_step_dpo),
        _schema("rewardbench", "prompt chosen rejected subset id chosen_model rejected_model", "", benchmark_sets.rewardbench),
        _schema("rewardbench2", "id prompt chosen rejected num_correct num_rejected subset", "", benchmark_sets.rewardbench2),
        _schema("rm-bench", "id prompt chosen rejected", "domain", benchmark_sets.rm_bench, own.is_texts),
        _schema("rmb-pairwise", "pair_uid conversation_input chosen reject", "category_path", benchmark_sets.rmb_pairwise),
        _schema("rmb-best-of-n", "bon_uid conversation_input bon_best loser_list", "category_path", benchmark_sets.rmb_best_of_n),
        _schema("judgebench", "pair_id source question response_A response_B label", "", benchmark_sets.judgebench),
        _schema(
            "ppe-correctness",
            "question_id prompt response_1 scores sampled_conflict_pairs",
            "benchmark " + " ".join(f"response_{number}" for number in range(2, 33)),
            benchmark_sets.ppe_correctness,
        ),
        _schema("ppe-human", "question_id prompt response_1 response_2 winner", "language", benchmark_sets.ppe_human),
    )
}
SCHEMAS: dict[str, Schema] = PUBLISHED | GENERAL


def recognise(columns: Iterable[str], row: Row | None = None) -> Schema:
    """The schema that `columns` fit; of several, the one that names the others' columns and more.

    `row` is a sample row, looked at where columns alone do not decide. Raises SchemaError, which lists the choice.
    """
    present = frozenset(columns)
    best = _best(PUBLISHED, present, row) or _best(GENERAL, present, row)
    if len(best) == 1:
        return best[0]
    listed = ", ".join(sorted(present)) or "none"
    if best:
        choice = ", ".join(schema.name for schema in best)
        raise SchemaError(f"the columns ({listed}) fit several schemas: {choice}; choose with --schema NAME")
    nearest = max(SCHEMAS.values(), key=lambda schema: len(schema.columns & present) / len(schema.columns))
    lacking = ", ".join(sorted(nearest.columns - present)) or "a row of its kind"
    raise SchemaError(
        f"the columns ({listed}) fit no schema. Name yours with --map, for instance --map question=prompt,a=good,b=bad "
        f"or --map prompt=text,chosen=good,rejected=bad. (Nearest: {nearest.name}, which also needs {lacking})"
    )


def _best(schemas: Mapping[str, Schema], present: frozenset[str], row: Row | None) -> list[Schema]:
    fitting = [schema for schema in schemas.values() if schema.columns <= present]
    if row is not None:
        fitting = [schema for schema in fitting if schema.fits is None or schema.fits(row)]
    return [schema for schema in fitting if not any(schema.columns < other.columns for other in fitting)]


def schema_named(name: str) -> Schema:
    """The schema called `name`. Raises SchemaError, which lists the names."""
    if name not in SCHEMAS:
        raise SchemaError(f"there is no schema {name!r}; there are {', '.join(SCHEMAS)}", field="schema")
    return SCHEMAS[name]


def mapping_of(text: str) -> dict[str, str]:
    """`chosen=good,rejected=bad` as {"good": "chosen", "bad": "rejected"}: the column's name to the one that schemas know."""
    renamed: dict[str, str] = {}
    for part in text.split(","):
        known, equals, column = (side.strip() for side in part.partition("="))
        if not (known and equals and column) or column in renamed:
            raise InputError(f"--map takes NAME=COLUMN,NAME=COLUMN, each column once, not {text!r}", field="map")
        renamed[column] = known
    return renamed


def renamed(row: Row, mapping: Mapping[str, str]) -> Row:
    """`row` with its columns called as `mapping` says; one that the mapping's new names hide is dropped."""
    if not mapping:
        return row
    hidden = set(mapping.values())
    kept = {column: value for column, value in row.items() if column not in mapping and column not in hidden}
    return kept | {known: row.get(column) for column, known in mapping.items()}

"""The schemas by name: general ones that many tables have, and those of published data sets."""

from __future__ import annotations

from reasrm.datasets import benchmark_sets as bench
from reasrm.datasets import general_sets as general
from reasrm.datasets import preference_sets as sets
from reasrm.datasets.schema import NOT_USED, Schema
from reasrm.errors import SchemaError

#: Columns that may complete a question.
_PARTS = "question: input history system tools"
#: Columns that a preference row may have besides its responses.
_PREFERENCE = f"question: prompt; {_PARTS}; id: id prompt_id; strength: margin; subset: subset source"
_PAIR = f"{_PARTS}; label: winner; strength: strength; subset: subset; rubric: rubric; id: id"
_RESPONSES = "responses: chosen rejected"
_UP_TO_32 = " ".join(f"response_{number}" for number in range(2, 33))

GENERAL: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        Schema.of("pair", general.pair, "question: question; responses: a b", _PAIR),
        Schema.of(
            "group",
            general.group,
            "question: question; responses: responses",
            f"{_PARTS}; label: labels; subset: subset; rubric: rubric; id: id",
        ),
        Schema.of(
            "reference", general.reference, "question: question; responses: response reference", f"{_PARTS}; subset: subset; id: id"
        ),
        Schema.of("preference", general.preference, _RESPONSES, _PREFERENCE, general.is_preference),
        Schema.of("hh-rlhf", general.whole_dialogues, "question and responses: chosen rejected", "", general.is_dialogues),
    )
}
PREFERENCE_SETS: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        Schema.of("skywork", general.preference, f"{_RESPONSES}; subset: source", _PREFERENCE, general.is_preference),
        Schema.of(
            "ultrafeedback",
            sets.ultrafeedback,
            f"question: prompt; {_RESPONSES}; strength: score_chosen score_rejected",
            _PREFERENCE,
            general.is_preference,
        ),
        Schema.of(
            "helpsteer2",
            sets.helpsteer2,
            "question: prompt; responses: response_1 response_2; label and strength: preference_strength",
        ),
        Schema.of(
            "helpsteer3",
            sets.helpsteer3,
            "question: context; responses: response1 response2; label and strength: overall_preference",
            "subset: domain language",
        ),
        Schema.of("code-preference", sets.code_preference, "question: input; responses: accepted rejected"),
        Schema.of(
            "math-step-dpo",
            sets.math_step_dpo,
            "question: prompt; responses: full_chosen full_rejected",
            "responses: initial_reason_steps; subset: dataset",
        ),
        Schema.of(
            "pandalm",
            sets.pandalm,
            "question: instruction; responses: response1 response2; label: annotator1 annotator2 annotator3",
            "question: input; id: idx; subset: motivation_app",
        ),
        Schema.of("llmbar", sets.llmbar, "question: input; responses: output_1 output_2; label: label"),
    )
}
BENCHMARK_SETS: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        Schema.of(
            "rewardbench",
            bench.rewardbench,
            f"question: prompt; {_RESPONSES}; subset: subset; id: id; {NOT_USED}: chosen_model rejected_model",
        ),
        Schema.of(
            "rewardbench2",
            bench.rewardbench2,
            f"question: prompt; {_RESPONSES}; subset: subset; id: id; {NOT_USED}: num_correct num_rejected",
        ),
        Schema.of("rm-bench", bench.rm_bench, f"question: prompt; {_RESPONSES}; id: id", "subset: domain", general.is_texts),
        Schema.of(
            "rmb-pairwise",
            bench.rmb_pairwise,
            "question: conversation_input; responses: chosen reject; id: pair_uid",
            "subset: category_path",
        ),
        Schema.of(
            "rmb-best-of-n",
            bench.rmb_best_of_n,
            "question: conversation_input; responses: bon_best loser_list; id: bon_uid",
            "subset: category_path",
        ),
        Schema.of(
            "judgebench",
            bench.judgebench,
            "question: question; responses: response_A response_B; label: label; subset: source; id: pair_id",
        ),
        Schema.of(
            "ppe-correctness",
            bench.ppe_correctness,
            "question: prompt; responses: response_1; label: scores; comparisons: sampled_conflict_pairs; id: question_id",
            f"subset: benchmark; responses: {_UP_TO_32}",
        ),
        Schema.of(
            "ppe-human",
            bench.ppe_human,
            "question: prompt; responses: response_1 response_2; label: winner; id: question_id",
            "subset: language",
        ),
    )
}
#: A published schema wins over a general one if both fit.
PUBLISHED: dict[str, Schema] = PREFERENCE_SETS | BENCHMARK_SETS
SCHEMAS: dict[str, Schema] = PUBLISHED | GENERAL


def schema_named(name: str) -> Schema:
    """The schema called `name`. Raises SchemaError, which lists the names."""
    if name not in SCHEMAS:
        raise SchemaError(f"there is no schema {name!r}; there are {', '.join(SCHEMAS)}", field="schema")
    return SCHEMAS[name]

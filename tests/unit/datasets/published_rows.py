"""One row of each schema as it is published, and the expected result of reading it."""

from __future__ import annotations

from typing import Any


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def answered(name: str, text: str) -> dict[str, str]:
    return {"llm_name": name, "answer": text}


TALK = [user("Hi"), assistant("Hello"), user("Name a prime.")]
#: One row of each schema: its preferred response says "seven", the other "nine"; the other expected values follow.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pair": ({"question": TALK, "a": "nine", "b": "seven", "winner": "B", "id": 4}, {"winner": "B", "id": "4"}),
    "preference": ({"prompt": "Name a prime.", "chosen": "seven", "rejected": "nine"}, {"winner": "A"}),
    "skywork": (
        {"chosen": [*TALK, assistant("seven")], "rejected": [*TALK, assistant("nine")], "source": "magpie_ultra"},
        {"winner": "A", "subset": "magpie_ultra"},
    ),
    "hh-rlhf": (
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a prime.\n\nAssistant: seven",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Name a prime.\n\nAssistant: nine",
        },
        {"winner": "A"},
    ),
    "ultrafeedback": (
        {
            "prompt": "Name a prime.",
            "prompt_id": "f00",
            "chosen": [user("Name a prime."), assistant("seven")],
            "rejected": [user("Name a prime."), assistant("nine")],
            "messages": [],
            "score_chosen": 8.5,
            "score_rejected": 6.0,
        },
        {"winner": "A", "id": "f00", "strength": 2.5},
    ),
    "helpsteer2": (
        {
            "prompt": "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nName a prime.",
            "response_1": "nine",
            "response_2": "seven",
            "preference_strength": 2,
        },
        {"winner": "B", "strength": 2.0},
    ),
    "helpsteer3": (
        {
            "domain": "general",
            "language": "english",
            "context": TALK,
            "response1": "seven",
            "response2": "nine",
            "overall_preference": -3,
        },
        {"winner": "A", "strength": 3.0, "subset": "general/english"},
    ),
    "code-preference": ({"input": "Name a prime.", "accepted": "seven", "rejected": "nine"}, {"winner": "A"}),
    "math-step-dpo": (
        {
            "dataset": "gsm8k",
            "prompt": "Name a prime.",
            "initial_reason_steps": "",
            "chosen": "se",
            "rejected": "ni",
            "full_chosen": "seven",
            "full_rejected": "nine",
        },
        {"winner": "A", "subset": "gsm8k"},
    ),
    "rewardbench": (
        {
            "prompt": "Name a prime.",
            "chosen": "seven",
            "chosen_model": "m",
            "rejected": "nine",
            "rejected_model": "n",
            "subset": "hep-go",
            "id": 12,
        },
        {"winner": "A", "subset": "hep-go", "id": "12"},
    ),
    "rmb-pairwise": (
        {
            "pair_uid": "7",
            "conversation_input": [{"content": "Name a prime.", "language": "English", "role": "user"}],
            "chosen": answered("m", "seven"),
            "reject": answered("n", "nine"),
            "category_path": "Pairwise_set/Helpfulness/Chat/Discussion",
        },
        {"winner": "A", "subset": "Pairwise_set/Helpfulness/Chat/Discussion", "id": "7"},
    ),
    "pandalm": (
        {
            "idx": 3,
            "motivation_app": "Tutor",
            "instruction": "Do as told.",
            "input": "Name a prime.",
            "response1": "nine",
            "response2": "seven",
            "annotator1": 2,
            "annotator2": 0,
            "annotator3": "2",
        },
        {"winner": "B", "subset": "Tutor", "id": "3"},
    ),
    "llmbar": ({"input": "Name a prime.", "output_1": "seven", "output_2": "nine", "label": 1}, {"winner": "A"}),
    "judgebench": (
        {
            "pair_id": "x",
            "original_id": "y",
            "source": "livebench-math",
            "question": "Name a prime.",
            "response_model": "m",
            "response_A": "nine",
            "response_B": "seven",
            "label": "B>A",
        },
        {"winner": "B", "subset": "livebench-math", "id": "x"},
    ),
    "ppe-human": (
        {
            "question_id": "q",
            "prompt": "Name a prime.",
            "response_1": "nine",
            "response_2": "seven",
            "winner": "model_b",
            "language": "English",
        },
        {"winner": "B", "subset": "English"},
    ),
}
#: Rows of more than two responses, with the expected labels and comparisons.
GROUPS: dict[str, tuple[dict[str, Any], list[float] | None, list[tuple[int, int]]]] = {
    "group": ({"question": "Name a prime.", "responses": ["7", "9", "4"], "labels": [2, 1, 0]}, [2.0, 1.0, 0.0], []),
    "rewardbench2": (
        {
            "id": "tied:3",
            "prompt": "Name a prime.",
            "chosen": ["7", "5"],
            "rejected": ["9"],
            "num_correct": 2,
            "num_rejected": 1,
            "total_completions": 3,
            "models": ["m", "n", "o"],
            "subset": "Ties",
        },
        [1.0, 1.0, 0.0],
        [],
    ),
    "rm-bench": (
        {"id": 8, "prompt": "Name a prime.", "chosen": ["7", "It is 7.", "**7**"], "rejected": ["9", "It is 9.", "**9**"]},
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [(i, 3 + j) for i in range(3) for j in range(3)],
    ),
    "rmb-best-of-n": (
        {
            "bon_uid": "1",
            "conversation_input": [user("Name a prime.")],
            "bon_best": answered("m", "7"),
            "loser_list": [answered("n", "9"), answered("o", "4")],
            "category_path": "BoN_set/Helpfulness/Chat/Discussion",
        },
        [1.0, 0.0, 0.0],
        [(0, 1), (0, 2)],
    ),
    "ppe-correctness": (
        {
            "question_id": "q",
            "prompt": "Name a prime.",
            "response_1": "9",
            "response_2": "7",
            "response_3": "4",
            "scores": [False, True, False],
            "sampled_conflict_pairs": [[1, 0], [2, 1]],
        },
        [0.0, 1.0, 0.0],
        [(1, 0), (2, 1)],
    ),
}

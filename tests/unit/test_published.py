"""Published judges: recognised by an engine's name of them, and their prompts imported from their authors' files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reasrm.errors import InputError, PromptPackError
from reasrm.prompts import load_pack
from reasrm.prompts.published import PublishedJudge, import_published, published, published_judges
from reasrm.types import Pair

ANSWER = "End with <answer>[[A]]</answer> or <answer>[[B]]</answer>."
#: The constants of the authors' evaluation code, with short texts of our own.
EVALUATION = {
    "RM_R1_INSTRUCT_SYSTEM_PROMPT": f"Name the type, then judge. {ANSWER}",
    "RM_R1_SINGLE_TURN_INSTRUCT_USER_PROMPT": "Question: {question}\nA: {answer_a}\nB: {answer_b}",
    "RM_R1_MULTI_TURN_INSTRUCT_USER_PROMPT": "Chat A: {conversation_1}\nChat B: {conversation_2}",
    "RM_R1_SINGLE_TURN_REASONING_USER_PROMPT": f"Question: {{question}}\nA: {{answer_a}}\nB: {{answer_b}}\n{ANSWER}",
    "RM_R1_MULTI_TURN_REASONING_USER_PROMPT": f"Chat A: {{conversation_1}}\nChat B: {{conversation_2}}\n{ANSWER}",
    "OTHER_JUDGE_PROMPT": "Instruction: {question} {answer_a} {answer_b}",
}
#: The names that the same texts have in the authors' notebook.
NOTEBOOK = {
    "INSTRUCT_SYSTEM_PROMPT": EVALUATION["RM_R1_INSTRUCT_SYSTEM_PROMPT"],
    "INSTRUCT_SINGLE_USER_PROMPT_TEMPLATE": EVALUATION["RM_R1_SINGLE_TURN_INSTRUCT_USER_PROMPT"],
    "INSTRUCT_MULTI_USER_PROMPT_TEMPLATE": EVALUATION["RM_R1_MULTI_TURN_INSTRUCT_USER_PROMPT"],
    "REASONING_SINGLE_PROMPT_TEMPLATE": EVALUATION["RM_R1_SINGLE_TURN_REASONING_USER_PROMPT"],
    "REASONING_MULTI_PROMPT_TEMPLATE": EVALUATION["RM_R1_MULTI_TURN_REASONING_USER_PROMPT"],
}


def _python(folder: Path, texts: dict[str, str]) -> Path:
    file = folder / "generative.py"
    file.write_text("".join(f"{name} = ({text!r})\n" for name, text in texts.items()))
    return file


def _notebook(folder: Path, texts: dict[str, str]) -> Path:
    cells = [{"cell_type": "code", "source": [f"{name} = {text!r}\n"]} for name, text in texts.items()]
    file = folder / "demo.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    return file


def test_the_six_checkpoints_of_rm_r1_are_known() -> None:
    assert [judge.hub for judge in published_judges()] == [
        f"gaotang/RM-R1-{base}-{size}B" for base in ("Qwen2.5-Instruct", "DeepSeek-Distilled-Qwen") for size in (7, 14, 32)
    ]
    for judge in published_judges():
        assert load_pack(judge.pack).kind == judge.kind
        assert load_pack(judge.pack).reasoning


@pytest.mark.parametrize(
    "served",
    [
        "gaotang/RM-R1-Qwen2.5-Instruct-32B",
        "RM-R1-Qwen2.5-Instruct-32B",
        "rm-r1-qwen2.5-instruct-32b",
        "/models/RM-R1-Qwen2.5-Instruct-32B/",
        "/models/rm-r1-qwen2.5-instruct-32b.Q4_K_M.gguf",
        "somebody/RM-R1-Qwen2.5-Instruct-32B-GGUF:Q4_K_M",
        "RM-R1-Qwen2.5-Instruct-32B-i1-IQ3_XS.gguf",
        "RM-R1-Qwen2.5-Instruct-32B-AWQ",
        "RM-R1-Qwen2.5-Instruct-32B-FP8-Dynamic",
        "RM-R1-Qwen2.5-Instruct-32B-bnb-4bit",
    ],
)
def test_a_published_judge_is_recognised_by_its_name_on_an_engine(served: str) -> None:
    judge = published(served)
    assert judge is not None
    assert judge.name == "rm-r1-qwen2.5-instruct-32b"


@pytest.mark.parametrize(
    "served", ["", "rm-r1", "Qwen/Qwen2.5-32B-Instruct", "RM-R1-Qwen2.5-Instruct-32B-mine", "RM-R1-Qwen2.5-Instruct-3"]
)
def test_another_model_is_not_taken_for_a_published_judge(served: str) -> None:
    assert published(served) is None


@pytest.mark.parametrize("judge", published_judges(), ids=lambda judge: judge.name)
@pytest.mark.parametrize("form", ["evaluation", "notebook"])
def test_each_judge_gets_its_own_constants(judge: PublishedJudge, form: str, tmp_path: Path) -> None:
    name = judge.name
    file = _python(tmp_path, EVALUATION) if form == "evaluation" else _notebook(tmp_path, NOTEBOOK)
    import_published(name, file, tmp_path / name)
    pack = load_pack(tmp_path / name)
    messages = pack.render(Pair.of("What is 17 + 25?", "42", "43"), b"key")
    assert pack.conversation is not None
    if "instruct" in name:
        assert (pack.kind, [message.role for message in messages]) == ("rubric", ["system", "user"])
    else:
        assert (pack.kind, [message.role for message in messages]) == ("free", ["user"])
        assert ANSWER in messages[-1].content


def test_another_file_is_refused_with_the_place_of_the_right_one(tmp_path: Path) -> None:
    file = _python(tmp_path, {"OTHER_JUDGE_PROMPT": EVALUATION["OTHER_JUDGE_PROMPT"]})
    with pytest.raises(
        PromptPackError, match=r"no constant RM_R1_SINGLE.* take demo/demo.ipynb or .* of https://github.com/RM-R1-UIUC"
    ):
        import_published("rm-r1-qwen2.5-instruct-7b", file, tmp_path / "pack")


def test_instruct_texts_without_their_system_message_are_refused(tmp_path: Path) -> None:
    file = _python(tmp_path, {name: text for name, text in EVALUATION.items() if "SYSTEM" not in name})
    with pytest.raises(PromptPackError, match="trained with that system message"):
        import_published("rm-r1-qwen2.5-instruct-7b", file, tmp_path / "pack")


def test_texts_that_never_ask_for_a_verdict_are_refused(tmp_path: Path) -> None:
    mute = {name: text.replace(ANSWER, "Think.") for name, text in EVALUATION.items()}
    with pytest.raises(PromptPackError, match="no reply to it could be read as a verdict"):
        import_published("rm-r1-deepseek-distilled-qwen-7b", _python(tmp_path, mute), tmp_path / "pack")


def test_an_unknown_judge_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no published judge 'rm-r2'; there are rm-r1-qwen2.5-instruct-7b, "):
        import_published("rm-r2", tmp_path / "x.py", tmp_path / "pack")

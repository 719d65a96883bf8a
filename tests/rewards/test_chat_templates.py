"""Rendered prompts are taken apart into the messages that were rendered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers.utils.chat_template_utils import render_jinja_template

from reasrm.messages import EMPTY
from reasrm.rewards import texts
from reasrm.rewards.chat_templates import FORMS, read_rendered, without_special_tokens
from reasrm.rewards.texts import prompt_of, response_of
from reasrm.rewards.thinking import without_thought

TERSE, ADD = {"role": "system", "content": "Be terse."}, {"role": "user", "content": "Add 2 and 3."}
TALK = [TERSE, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, ADD]
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
#: They render parts of content and no text, or say the roles in words.
WORDS = ("idefics3", "smolvlm", "llava_next")

RENDERED = {
    "ChatML, a system prompt and a thought that is switched off": (
        "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nAdd 2 and 3.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        [TERSE, ADD],
        "",
    ),
    "ChatML, a thought that is opened": (
        "<|im_start|>user\nAdd 2 and 3.<|im_end|>\n<|im_start|>assistant\n<think>\n",
        [ADD],
        "<think>\n",
    ),
    "DeepSeek, several turns": (
        "<｜begin▁of▁sentence｜>Be terse.<｜User｜>Hi<｜Assistant｜></think>Hello<｜end▁of▁sentence｜><｜User｜>Add 2 and 3."
        "<｜Assistant｜><think>\n",
        TALK,
        "<think>\n",
    ),
    "DeepSeek, thinking switched off": ("<｜begin▁of▁sentence｜><｜User｜>Add 2 and 3.<｜Assistant｜></think>", [ADD], ""),
    "Llama 4": (
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\nAdd 2 and 3.<|eot|><|header_start|>assistant<|header_end|>\n\n",
        [ADD],
        "",
    ),
    "Phi 4": ("<|im_start|>user<|im_sep|>Add 2 and 3.<|im_end|><|im_start|>assistant<|im_sep|>", [ADD], ""),
    "gpt-oss": ("<|start|>user<|message|>Add 2 and 3.<|end|><|start|>assistant", [ADD], ""),
    "gpt-oss, several turns": (
        "<|start|>system<|message|>Be terse.<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant"
        "<|channel|>analysis<|message|>Greet.<|end|><|start|>assistant<|channel|>final<|message|>Hello<|end|>"
        "<|start|>user<|message|>Add 2 and 3.<|end|><|start|>assistant",
        TALK,
        "",
    ),
    "Mistral": ("<s>[INST] Add 2 and 3. [/INST]", [ADD], ""),
    "Mistral, several turns": (
        "<s>[SYSTEM_PROMPT]Be terse.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello</s>[INST]Add 2 and 3.[/INST]",
        TALK,
        "",
    ),
    "Llama 2": ("<s>[INST] <<SYS>>\nBe terse.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Add 2 and 3. [/INST]", TALK, ""),
    "GLM 4.5": (
        "[gMASK]<sop><|system|>\nBe terse.<|user|>\nHi<|assistant|>\n<think></think>\nHello<|user|>\nAdd 2 and 3."
        "<|assistant|>\n<think></think>\n",
        TALK,
        "",
    ),
    "Granite": (
        "<|start_of_role|>system<|end_of_role|>Be terse.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>Hello<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Add 2 and 3."
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
        TALK,
        "",
    ),
    "Kimi K2": (
        "<|im_system|>system<|im_middle|>Be terse.<|im_end|><|im_user|>user<|im_middle|>Hi<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>Hello<|im_end|><|im_user|>user<|im_middle|>Add 2 and 3.<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>",
        TALK,
        "",
    ),
    "Command R": (
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be terse.<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>"
        "Add 2 and 3.<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        TALK,
        "",
    ),
    "Seed": ("<seed:bos>system\nBe terse.<seed:eos><seed:bos>user\nAdd 2 and 3.<seed:eos><seed:bos>assistant\n", [TERSE, ADD], ""),
    "MiniMax M2": ("]~!b[]~b]system\nBe terse.[e~[\n]~b]user\nAdd 2 and 3.[e~[\n]~b]ai\n<think>\n", [TERSE, ADD], "<think>\n"),
    "EXAONE": ("[|system|]\nBe terse.[|endofturn|]\n[|user|]\nAdd 2 and 3.\n[|assistant|]\n", [TERSE, ADD], ""),
    "Ling": (
        "<role>SYSTEM</role>Be terse.<|role_end|><role>HUMAN</role>Add 2 and 3.<|role_end|><role>ASSISTANT</role>",
        [TERSE, ADD],
        "",
    ),
    "a prefix that the policy continues": (
        "<|im_start|>user\nAdd 2 and 3.<|im_end|>\n<|im_start|>assistant\nThe sum is",
        [ADD],
        "The sum is",
    ),
}


@pytest.mark.parametrize("name", RENDERED)
def test_a_rendered_prompt_becomes_its_messages(name: str) -> None:
    prompt, messages, begun = RENDERED[name]
    assert read_rendered(prompt) == (messages, begun, None)


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize(
    "template", sorted(path.stem for path in TEMPLATES.glob("*.jinja") if path.stem not in WORDS and "training" not in path.stem)
)
def test_the_prompt_of_a_models_own_template_is_read_back(template: str, thinking: bool) -> None:
    talk = TALK[1:] if "gemma" in template and "4" not in template else TALK
    source = (TEMPLATES / f"{template}.jinja").read_text()
    kwargs: dict[str, Any] = {
        "add_generation_prompt": True,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "enable_thinking": thinking,
    }
    [[rendered], _] = render_jinja_template([talk], chat_template=source, **kwargs)
    read = read_rendered(rendered)
    assert read.unknown is None
    texts_read = [message["content"].removesuffix("/nothink") for message in read.question]
    assert texts_read[-3:] == ["Hi", "Hello", "Add 2 and 3."]
    assert [message["role"] for message in read.question[-3:]] == ["user", "assistant", "user"]
    assert talk is not TALK or "Be terse." in texts_read[0] or "Be terse." in texts_read[1]
    assert response_of("1117", read.begun, special_tokens=True) in ("1117", EMPTY)
    assert response_of("5</think>\n1117", read.begun, special_tokens=True) == "1117"


def test_a_prompt_of_an_unknown_form_is_reported_once_and_loses_its_control_tokens(caplog: pytest.LogCaptureFixture) -> None:
    prompt = "<|fresh_turn|>user<|fresh_text|>Add 2 and 3."
    texts._warned.discard("<|fresh_turn|>")
    with caplog.at_level(logging.WARNING, logger="reasrm.rewards"):
        read = prompt_of(prompt)
        prompt_of(prompt)
    assert (read.question, read.unknown) == ("userAdd 2 and 3.", "<|fresh_turn|>")
    assert [record.message.count("'<|fresh_turn|>'") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    "prompt", ["<s>What is 2 + 3?", "What is <b>bold</b> & a < b?", "Which, <role>admin</role> or none?", "[1] or [2]"]
)
def test_a_plain_prompt_is_not_read_as_a_rendered_one(prompt: str) -> None:
    assert read_rendered(prompt) == (prompt.removeprefix("<s>"), "", None)


def test_a_conversation_that_quotes_a_chat_form_stays_whole() -> None:
    quoted = "What does <|im_start|>system\nSay A.<|im_end|> do?"
    assert read_rendered(quoted).question == "What does system\nSay A. do?"
    assert [turn["role"] for turn in read_rendered(f"[INST] {quoted} [/INST]").question] == ["user"]


def test_special_tokens_are_removed_and_other_text_stays() -> None:
    assert without_special_tokens("plain <|im_end|> text</s>") == "plain  text"
    assert without_special_tokens("a < b and <em>tags</em> stay<|endoftext|>") == "a < b and <em>tags</em> stay"


UNITS = ["a", " ", "\n", "<|", "<|a", "<think>", "</think>", "`<think>", "<s>", "x<|end|>\n", *(form.marker for form in FORMS)]
READERS = [read_rendered, without_thought, without_special_tokens]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_reading_takes_time_that_grows_no_faster_than_the_text(read: Callable[[str], Any]) -> None:
    def seconds(text: str) -> float:
        started = time.process_time()
        read(text)
        return time.process_time() - started

    for unit in UNITS:
        for start in ("", "<|im_start|>user\n"):
            short = start + unit * (20_000 // len(unit))
            long = start + unit * (320_000 // len(unit))
            assert seconds(long) < 64 * max(0.005, seconds(short)), unit

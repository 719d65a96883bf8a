"""Prompts are imported from the constants of published code: only complete prompts that lead to a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reasrm.errors import PromptPackError
from reasrm.prompts import load_pack
from reasrm.prompts.constants import constants
from reasrm.prompts.importing import import_pack
from reasrm.types import Pair

KEY = b"a secret"
ASK = "End with <answer>[[A]]</answer> or <answer>[[B]]</answer>."
USER = "[Question]\\n{question}\\n[A]\\n{answer_a}\\n[End A]\\n[B]\\n{answer_b}\\n[End B]\\n" + ASK


def file(folder: Path, text: str, name: str = "prompts.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def texts(folder: Path, code: str) -> dict[str, str]:
    return constants(file(folder, code)).texts


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('P = "a" + "b" "c" + "\\n"', "abc\n"),
        ('P = ("a" + ("b" + "c"))', "abc"),
        ('Q = "a"\nP = Q + "b" + Q', "aba"),
        ('Q = "a"\nP = f"{Q}b{{c}}"', "ab{c}"),
        ('P = "a"\nP += "b"\nP += "c"', "abc"),
        ('P = "-" * 3 + "a"', "---a"),
        ('P = "\\n".join(["a", "b"])', "a\nb"),
        ('import textwrap\nP = textwrap.dedent("""\n  a\n  b""")', "\na\nb"),
        ('P = "  a ".strip().replace("a", "b")', "b"),
        ('PARTS = {"x": "a", "y": ["b", "c"]}\nP = PARTS["x"] + PARTS["y"][1]', "ac"),
        ('class Prompts:\n    def f(self):\n        P: str = "a" + "b"', "ab"),
    ],
)
def test_a_text_that_is_put_together_from_constants_is_read_whole(code: str, text: str, tmp_path: Path) -> None:
    assert texts(tmp_path, code)["P"] == text


def test_texts_in_dicts_lists_messages_and_calls_have_names_of_their_own(tmp_path: Path) -> None:
    code = """
D = {"x": "1", "y": {"z": "2"}}
L = ["3", "4"]
M = [{"role": "system", "content": "5"}, {"role": "user", "content": "6" + "7"}]
T = Template.from_messages([("system", "8"), ("human", "9")])
C = Template(template="10", n=2)
D = "11"
"""
    held = constants(file(tmp_path, code))
    named = {"D.x": "1", "D.y.z": "2", "L[0]": "3", "L[1]": "4", "M.system": "5", "M.user": "67", "C.template": "10", "D#2": "11"}
    assert held.texts == named


@pytest.mark.parametrize(
    "expression",
    ['"a" + name', 'f"a{name}"', '"a".format(x=1)', 'open("a").read()', '"a" * 10**9', '"a" * 999999999', '",".join(f())',
     '("a" * 999999).replace("a", "b" * 999)', '("a" * 999999).join(["b", "b", "b", "b", "b", "b", "b", "b", "b", "b", "b"])'],
)  # fmt: skip
def test_a_constant_that_is_known_only_at_run_time_is_not_a_text_and_no_code_runs(expression: str, tmp_path: Path) -> None:
    held = constants(file(tmp_path, f"import os\nP = {expression}\nos.abort()"))
    assert held.texts == {}
    assert "P" in held.unfinished


def test_a_prompt_joined_by_plus_is_a_candidate_and_no_candidate_is_taken_in_silence(tmp_path: Path) -> None:
    code = f"""
OTHER_USER = "[Question]\\n{{question}}\\n[A]\\n{{answer_a}}\\n[B]\\n{{answer_b}}"
REASONING_USER = (
    "Judge.\\n[Question]\\n{{question}}\\n[A]\\n{{answer_a}}\\n[B]\\n{{answer_b}}" + "\\n\\n"
    "{ASK}"
)
"""
    source = file(tmp_path, code)
    with pytest.raises(PromptPackError, match="choose one with --user: OTHER_USER, REASONING_USER"):
        import_pack(source, tmp_path / "pack")
    with pytest.raises(PromptPackError, match=r"OTHER_USER never asks for <answer>\[\[A\]\]"):
        import_pack(source, tmp_path / "pack", user="OTHER_USER")
    assert not (tmp_path / "pack").exists()
    assert import_pack(source, tmp_path / "pack", user="REASONING_USER") == {"user.txt": "REASONING_USER"}
    (message,) = load_pack(tmp_path / "pack").render(Pair.of("q", "x", "y"), KEY)
    assert message.content == f"Judge.\n[Question]\nq\n[A]\nx\n[B]\ny\n\n{ASK}"


def test_a_prompt_that_is_built_at_run_time_is_named_and_not_skipped(tmp_path: Path) -> None:
    built = f'BUILT = load("x") + "{{question}} {{answer_a}} {{answer_b}} {ASK}"'
    with pytest.raises(PromptPackError, match=r"only BUILT \(put together when the program runs"):
        import_pack(file(tmp_path, built), tmp_path / "pack")
    source = file(tmp_path, f'{built}\nWHOLE = "{USER}"')
    with pytest.raises(PromptPackError, match=r"--user: WHOLE, BUILT \(put together"):
        import_pack(source, tmp_path / "pack")
    with pytest.raises(PromptPackError, match="write the pack by hand"):
        import_pack(source, tmp_path / "pack", user="BUILT")
    assert import_pack(source, tmp_path / "pack", user="WHOLE") == {"user.txt": "WHOLE"}


def test_the_same_text_under_two_names_is_one_candidate(tmp_path: Path) -> None:
    source = file(tmp_path, f'A = "{USER}"\nB = A')
    assert import_pack(source, tmp_path / "pack") == {"user.txt": "A"}


def test_a_list_of_messages_brings_its_own_system_message(tmp_path: Path) -> None:
    users = 'T = [{"role": "system", "content": "Ask %s"}, {"role": "user", "content": "{question} {answer_a} {answer_b}"}]'
    source = file(tmp_path, users % ASK + f'\nSYSTEM = "{"Judge well. " * 30}"')
    assert import_pack(source, tmp_path / "pack") == {"system.txt": "T.system", "user.txt": "T.user"}
    assert load_pack(tmp_path / "pack").system == f"Ask {ASK}"


def test_the_system_message_may_request_the_verdict_and_other_messages_may_be_absent(tmp_path: Path) -> None:
    code = f"""
JUDGE_SYSTEM = "{ASK} {"Judge well. " * 30}"
SINGLE = "{{question}} {{answer_a}} {{answer_b}}"
MULTI = "{{conversation_a}} {{conversation_b}}"
"""
    source = file(tmp_path, code)
    everything = {"conversation.txt": "MULTI", "system.txt": "JUDGE_SYSTEM", "user.txt": "SINGLE"}
    assert import_pack(source, tmp_path / "pack") == everything
    with pytest.raises(PromptPackError, match="SINGLE never asks"):
        import_pack(source, tmp_path / "other", system="none")
    assert import_pack(source, tmp_path / "other", conversation="none").keys() == {"system.txt", "user.txt"}


def test_a_placeholder_that_no_pack_can_fill_is_refused(tmp_path: Path) -> None:
    source = file(tmp_path, f'P = "{{question}} {{answer_a}} {{answer_b}} {{hint}} {{{{x}}}} {ASK}"')
    with pytest.raises(PromptPackError, match=r"P has the placeholder \{hint\}"):
        import_pack(source, tmp_path / "pack")


def test_a_notebooks_cells_are_one_program(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": ["%load_ext x\n", 'Q = "{question} {answer_a} "\n']},
        {"cell_type": "code", "source": [f'P = Q + "{{answer_b}} {ASK}"\n']},
    ]
    source = file(tmp_path, json.dumps({"cells": cells}), "prompts.ipynb")
    assert import_pack(source, tmp_path / "pack") == {"user.txt": "P"}

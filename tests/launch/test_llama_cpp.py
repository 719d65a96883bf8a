"""Slots and context that a model gets on a machine, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from reasrm_serving.settings import EMBEDDED

from reasrm.errors import InputError, ReasrmError
from reasrm.launch import GgufFile, llama_cpp, read_gguf
from reasrm.launch.llama_cpp import llama_server

GB = 10**9


class _Sized(GgufFile):
    """A model of 4 GB, whose cache takes 100,000 bytes per token."""

    size = 4 * GB  # type: ignore[assignment]
    cache_bytes = 100_000  # type: ignore[assignment]


@pytest.fixture
def large() -> GgufFile:
    about = {"general.architecture": "llama", "llama.context_length": 131072, "tokenizer.chat_template": "x"}
    return _Sized(Path("large.gguf"), (Path("large.gguf"),), about)


def served(model: GgufFile, monkeypatch: pytest.MonkeyPatch, *, memory: float, gpu: float = 0.0, **given: Any) -> tuple[int, int]:
    monkeypatch.setattr(llama_cpp, "_devices", lambda: (int(gpu * GB), int(memory * GB)))
    server = llama_server(model, **given)
    return server.slots, server.context


def test_a_tiny_model_gets_many_slots() -> None:
    server = llama_server(read_gguf(EMBEDDED / "model.gguf"))
    assert (server.slots, server.context) == (16, 4096)
    assert server.parameters["n_ctx"] == 16 * 4096


def test_slots_and_context_fit_into_the_memory(large: GgufFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(large, monkeypatch, memory=32) == (llama_cpp.CPU_SLOTS, 16384)
    assert served(large, monkeypatch, memory=32, gpu=24) == (llama_cpp.GPU_SLOTS, 16384)
    assert served(large, monkeypatch, memory=6.5) == (1, 16384)
    assert served(large, monkeypatch, memory=5) == (1, 4096)
    assert served(large, monkeypatch, memory=32, slots=4, context=2048) == (4, 2048)


def test_a_model_larger_than_the_memory_is_refused(large: GgufFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^large needs 4\.4 GB for 1 × 4,096 tokens of context, and 3\.6 GB are free for it"):
        served(large, monkeypatch, memory=4)


def test_what_was_given_is_not_changed(large: GgufFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="for 8 × 16,384 tokens"):
        served(large, monkeypatch, memory=8, slots=8, context=16384)


def test_a_model_without_a_chat_template_is_refused(large: GgufFile) -> None:
    base = dataclasses.replace(large, metadata={"general.architecture": "llama"})
    with pytest.raises(InputError, match="no chat template, so it cannot judge"):
        llama_server(base)


def test_an_argument_that_the_gateway_sets_is_refused(large: GgufFile) -> None:
    with pytest.raises(InputError, match=r"--engine-arg api_keys: the gateway sets it itself"):
        llama_server(large, arguments={"api_keys": "x"})


def test_without_xllamacpp_one_line_says_what_to_install(large: GgufFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ReasrmError, match=r'pip install "reasrm\[serve,local\]", or give an engine with --engine URL'):
        llama_server(large)

"""The prompt pack that a model gets where nobody names one."""

import pytest

from reasrm.prompts import load_pack
from reasrm.prompts.choice import pack_for


@pytest.mark.parametrize(
    ("model", "pack"),
    [
        ("gaotang/RM-R1-Qwen2.5-Instruct-7B", "rubric"),
        ("RM-R1-DeepSeek-Distilled-Qwen-14B-Q4_K_M.gguf", "free"),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", "compact"),
        ("/models/SmolLM2-135M-Instruct.Q4_1.gguf", "compact"),
        ("Qwen/Qwen2.5-7B-Instruct", "rubric"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "free"),
        ("Qwen/QwQ-32B", "free"),
        ("Qwen/Qwen3-4B-Thinking-2507", "free"),
        ("Qwen/Qwen3-30B-A3B", "rubric"),
        ("my-judge", "rubric"),
        ("", "rubric"),
    ],
)
def test_the_name_of_a_model_chooses_its_pack(model, pack):
    choice = pack_for(model)
    assert choice.pack == pack
    assert choice.why
    load_pack(choice.pack)

"""A model folder as one GGUF file: llama.cpp computes the same as transformers, and what it would read otherwise is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import httpx
import pytest
import torch
import xllamacpp
from reasrm_training.export.gguf_file import write_gguf
from reasrm_training.world import generate
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from reasrm.errors import InputError
from tests.components import smollm2
from tests.tiny_model import CHATML, CORPUS

JUDGE = Path(__file__).parents[2] / "serving/reasrm_serving/judge"
PROMPT = "<|im_start|>user\nWhich is better, 17 or 25? It's <answer>[[A]]</answer>.<|im_end|>\n<|im_start|>assistant\n"
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SPLIT_LLAMA3 = PRETOKENIZE_REGEX.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"attention_bias": True, "tie_word_embeddings": True}, None),
    "llama3": (LlamaForCausalLM, LlamaConfig, {"rope_parameters": LLAMA3}, SPLIT_LLAMA3),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}, PRETOKENIZE_REGEX),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 32}, PRETOKENIZE_REGEX),
}


def _tokenizer(pattern: str | None) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE(ignore_merges=pattern == SPLIT_LLAMA3))
    if pattern is None:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if pattern == PRETOKENIZE_REGEX:
        bpe.normalizer = normalizers.NFC()
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([*CORPUS * 4, *(task.question for task in generate(1, 40))], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)


def make_folder(folder: Path, family: str) -> Path:
    """A random model of `family` whose embedding has more rows than its tokenizer, in two files."""
    kind, config, extra, pattern = MODELS[family]
    tokenizer = _tokenizer(pattern)
    torch.manual_seed(1)
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = kind(config(**SHAPE | extra | ends, vocab_size=len(tokenizer) + 12))
    for name, values in model.named_parameters():
        if name.endswith("bias") or "norm" in name:  # transformers begins with zeros and ones, which would hide a mistake
            values.data.add_(torch.randn_like(values) * 0.2)
    model.save_pretrained(folder, max_shard_size="200KB")
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def llama_cpp(file: Path) -> Iterator[xllamacpp.Server]:
    """llama.cpp on a file, with a cache in float32."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 512, 1, False
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds to 16 bits
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    yield xllamacpp.Server(parameters)


def compared(folder: Path, file: Path, count: int = 12) -> tuple[list[int], list[int], float]:
    """The greedy tokens of transformers and of llama.cpp, and the largest difference of their log-probabilities."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.encode(PROMPT)
    with llama_cpp(file) as server:
        body = {"prompt": ids, "n_predict": count, "temperature": 0.0, "n_probs": 10, "ignore_eos": True, "return_tokens": True}
        reply = httpx.post(f"{server.listening_address}/completion", json=body, trust_env=False).raise_for_status().json()
    ours = reply["tokens"]
    theirs = model.generate(
        torch.tensor([ids]), max_new_tokens=count, do_sample=False, suppress_tokens=[model.config.eos_token_id]
    )[0, len(ids) :].tolist()
    with torch.no_grad():
        logprobs = model(torch.tensor([ids + ours])).logits[0, len(ids) - 1 :].log_softmax(-1)
    differences, at = [0.0], 0
    for step in reply["completion_probabilities"]:  # a token that is a part of a character has no step
        at = ours.index(step["id"], at)
        differences += [abs(top["logprob"] - float(logprobs[at, top["id"]])) for top in step["top_logprobs"]]
        at += 1
    assert len(differences) > 5 * count
    return theirs, ours, max(differences)


@pytest.mark.parametrize("family", MODELS)
def test_llama_cpp_computes_what_transformers_computes(family: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / family, family)
    file, checked = write_gguf(folder, precision="f32")
    theirs, ours, difference = compared(folder, file)
    assert ours == theirs
    assert difference < 0.001
    assert checked > 300
    assert len(list(folder.glob("*.safetensors"))) > 1


def test_the_judge_that_comes_with_reasrm_becomes_a_file_that_names_it(tmp_path: Path) -> None:
    file, _ = write_gguf(JUDGE, tmp_path / "judge.gguf", "f32")
    fields = gguf.GGUFReader(file).fields
    evaluation = json.loads((JUDGE / "evaluation.json").read_text())
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    assert fields["general.name"].contents() == "tiny"
    assert fields["reasrm.judge"].contents() is True
    assert fields["reasrm.weight_version"].contents() == evaluation["model"]
    assert fields["reasrm.pack"].contents() == "world"
    assert fields["reasrm.pack_digest"].contents() == evaluation["prompts"]
    theirs, ours, difference = compared(JUDGE, file)
    assert ours == theirs
    assert difference < 0.001


def test_the_vocabulary_of_a_real_model_is_read_alike(tmp_path: Path) -> None:
    real = smollm2()
    tokenizer: Any = AutoTokenizer.from_pretrained(real.parent, gguf_file=real.name)
    LlamaForCausalLM(LlamaConfig(**SHAPE, vocab_size=len(tokenizer), tie_word_embeddings=True)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    file, checked = write_gguf(tmp_path, precision="q8_0")
    assert len(gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()) == len(tokenizer)
    assert checked > 300


def test_smaller_types_make_smaller_files_that_llama_cpp_reads(tmp_path: Path) -> None:
    sizes = {kind: write_gguf(JUDGE, tmp_path / f"{kind}.gguf", kind)[0].stat().st_size for kind in ("f32", "f16", "q8_0")}
    assert sizes["q8_0"] < sizes["f16"] < sizes["f32"]
    assert not math.isnan(compared(JUDGE, tmp_path / "q8_0.gguf")[2])


def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    folder = shutil.copytree(JUDGE, tmp_path / "judge")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tag = next(token for token in tokenizer["added_tokens"] if token["content"] == "<answer>")
    tag["lstrip"] = True  # it now takes the spaces before it, and GGUF cannot say so
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        InputError,
        match=r"llama.cpp cuts '.*' into other tokens: after .* come 'Ċ' '<answer>' .* '<answer>' .*no file was written",
    ):
        write_gguf(folder, tmp_path / "out" / "judge.gguf")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"model_type": "gemma3"}, "'gemma3' cannot be written as GGUF here; llama, qwen2, qwen3 can"),
        ("config.json", {"rope_parameters": {"rope_type": "longrope"}}, "config.json: rope.rope_type: .*longrope|rope_type"),
        ("config.json", {"tie_word_embeddings": False}, "lack lm_head.weight"),
        ("config.json", {"vocab_size": 700}, "the tokenizer has 768 tokens, and the model's embedding only 700"),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}, "its normalizer is Lowercase"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "it cuts texts in another way than the tokenizers gpt-2"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(file: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = shutil.copytree(JUDGE, tmp_path / "judge")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match=message) as raised:
        write_gguf(folder)
    assert "\n" not in str(raised.value)
    assert sorted(folder.iterdir()) == before

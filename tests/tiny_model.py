"""A small chat model of random weights, for tests that need an engine but no meaningful replies.

`python tests/tiny_model.py DIR [--seed 1]` writes one: Llama-shaped, about 0.1 M parameters, byte-level BPE, ChatML.
"""

from __future__ import annotations

import argparse
import random
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "Which response is better? <answer>[[A]]</answer> <answer>[[B]]</answer>",
    "<type>Chat</type> <rubric>Accuracy (60%) Clarity (40%)</rubric> <eval>The first response is right.</eval>",
    "<type>Reasoning</type> <solution>17 + 25 = 42</solution>",
]
#: What an endless model writes after the beginnings `<type>Chat</type>` and `<type>Reasoning</type>`: each piece is one token.
CHAINS = (
    ("<type>Chat</type>", "<rubric>.</rubric>", "<answer>[[A]]"),
    ("<type>Reasoning</type>", "<solution>.</solution>", "<answer>[[B]]"),
)


def make_tiny_model(folder: Path, *, seed: int = 0, max_length: int = 8192, endless: bool = False) -> Path:
    """Write a random model with its tokenizer into `folder`; equal seeds give equal weights.

    `endless`: no greedy reply ends, and a reply that was begun with the first piece of a chain in `CHAINS` goes on with the others,
    so that it gives a verdict.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        model_max_length=max_length,
    )
    if endless:
        tokenizer.add_tokens([piece for chain in CHAINS for piece in chain])
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=max_length,
            initializer_range=0.2,
            tie_word_embeddings=not endless,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    if endless:
        chains = [tokenizer.convert_tokens_to_ids(list(chain)) for chain in CHAINS]
        _make_endless(model, chains, tokenizer.convert_tokens_to_ids(random.Random(seed).sample(ascii_lowercase, 26)))
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _make_endless(model: Any, chains: list[list[int]], letters: list[int]) -> None:
    """Let each token decide the next one: the layers add nothing, and the output looks for the embedding of the token before.

    A chain is followed to its end; then come the `letters`, one after the other, for ever.
    """
    import torch

    following = dict(zip(letters, [*letters[1:], letters[0]], strict=True))
    for chain in chains:
        following |= dict(pairwise([*chain, letters[0]]))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        unit = torch.nn.functional.normalize(model.get_input_embeddings().weight, dim=1)
        output = torch.zeros_like(unit)
        for before, after in following.items():
            output[after] += unit[before]  # greedy replies follow, samples leave the chain once in ten tokens
        model.get_output_embeddings().weight.copy_(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(make_tiny_model(given.folder, seed=given.seed))

"""A small chat model of random weights, for tests that need an engine but no meaningful replies.

`python tests/tiny_model.py DIR [--seed 1]` writes one: Llama-shaped, about 0.1 M parameters, byte-level BPE, ChatML.
"""

from __future__ import annotations

import argparse
from pathlib import Path

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "Which response is better? <answer>[[A]]</answer> <answer>[[B]]</answer>",
    "<type>Chat</type> <rubric>Accuracy (60%) Clarity (40%)</rubric> <eval>The first response is right.</eval>",
    "<type>Reasoning</type> <solution>17 + 25 = 42</solution>",
]


def make_tiny_model(folder: Path, *, seed: int = 0, max_length: int = 8192, endless: bool = False) -> Path:
    """Write a random model with its tokenizer into `folder`; equal seeds give equal weights. `endless`: no greedy reply ends."""
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
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    if endless:  # one of about 370 logits is always above 0, and this one never is
        with torch.no_grad():
            model.get_input_embeddings().weight[tokenizer.eos_token_id] = 0.0
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(make_tiny_model(given.folder, seed=given.seed))

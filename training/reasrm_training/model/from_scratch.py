"""A model from scratch: a byte-level tokenizer that is fitted to the world's texts, and a Llama with random weights."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, cast

from reasrm_training.config.model import Shape
from reasrm_training.world import generate
from reasrm_training.world.oracle import careless_chain

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

#: Tags with a token of their own: those of a reply, and the fences of the prompt pack "world".
TAGS = tuple(
    f"<{slash}{name}>"
    for name in (
        *("type", "solution", "rubric", "justify", "eval", "answer", "quote_A", "quote_B", "summary_A", "summary_B"),
        *("question", "response_A", "response_B"),
    )
    for slash in ("", "/")
)
#: ChatML without a default system message.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TAG = re.compile("|".join(TAGS))
FIT_TASKS = 6000  # tasks whose texts the merges are fitted to
FIT_SEED = 999
BRANCH_SCALE = 0.1  # of a layer's output weights at the start
LOOK_BACK = (1, 2, 3)
LOOK_BACK_SCORE = 20.0  # attention logit of the token looked at


def _texts() -> list[str]:
    """The texts that the tokenizer is fitted to: prompts and replies, careful and careless, of training tasks, without tags."""
    texts = []
    for i, task in enumerate(generate(FIT_SEED, FIT_TASKS)):
        order = "ab" if i % 2 else "ba"
        a, b = task.responses(order)
        reply = task.chain(order) if i % 4 else careless_chain(task, order)
        texts.append(_TAG.sub("", f"user\n{task.question}\n{a}\n{b}\nassistant\n{reply}"))
    return texts


def make_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of exactly `vocab_size` tokens: single digits, ChatML, and each of `TAGS` as one added token.

    It encodes any text, and decoding returns the text. Raises ValueError where `vocab_size` has no room for bytes and tags.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if vocab_size < 256 + len(special) + len(TAGS):
        raise ValueError(f"vocab_size must be at least {256 + len(special) + len(TAGS)}, not {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(TAGS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def make_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of `shape` with random fp32 weights drawn from `seed`; its vocabulary is the tokenizer's.

    It departs from plain random weights in two ways, without which copying is not learned within thousands of steps. The output
    of each layer starts small compared with the embeddings. And where the shape has attention biases, the first heads of the
    first layer start by looking 1, 2 and 3 tokens back.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        **shape.model_dump(exclude={"vocab_size", "rope_theta"}, exclude_none=True),
        vocab_size=len(tokenizer),
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        bos_token_id=None,
        eos_token_id=cast("int", tokenizer.eos_token_id),
        pad_token_id=cast("int", tokenizer.pad_token_id),
    )
    model = LlamaForCausalLM(config)
    layers: Any = model.model.layers
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.o_proj.weight.mul_(BRANCH_SCALE)
            layer.mlp.down_proj.weight.mul_(BRANCH_SCALE)
        if shape.attention_bias:
            for head, back in enumerate(LOOK_BACK[: shape.num_attention_heads]):
                _look_back(layers[0].self_attn, head, back, shape)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def _look_back(attention: Any, head: int, back: int, shape: Shape) -> None:
    """Let a head of the first layer attend `back` tokens back, by biases whose rotary phases agree there (arXiv 2104.09864)."""
    import torch

    size = shape.hidden_size // shape.num_attention_heads
    rows, half = slice(head * size, (head + 1) * size), size // 2
    frequency = 1.0 / shape.rope_theta ** (torch.arange(0, size, 2).float() / size)
    amplitude = math.sqrt(LOOK_BACK_SCORE * math.sqrt(size) / half)  # each of `half` pairs adds amplitude^2 / sqrt(size)
    attention.q_proj.weight[rows] *= BRANCH_SCALE
    attention.k_proj.weight[rows] *= BRANCH_SCALE
    attention.q_proj.bias[rows] = amplitude * torch.cat([torch.cos(frequency * back), -torch.sin(frequency * back)])
    attention.k_proj.bias[rows] = amplitude * torch.cat([torch.ones(half), torch.zeros(half)])

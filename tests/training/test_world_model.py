"""A tokenizer and a model from scratch."""

from __future__ import annotations

import pytest
import torch
from reasrm_training.config.model import Shape
from reasrm_training.model.from_scratch import LOOK_BACK, TAGS, make_model, make_tokenizer
from reasrm_training.world import generate

SHAPE = Shape(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    vocab_size=768,
    tie_word_embeddings=True,
    initializer_range=0.08,
    attention_bias=True,
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(768)


def test_any_text_survives_the_tokenizer(tokenizer) -> None:
    for text in ("What is 12+30?", "  spaces \n\n", "Grüße, 世界 🙂", "<eval>\n<quote_A> b c</quote_A>", "<|im_end|"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_each_digit_and_each_tag_is_a_token(tokenizer) -> None:
    assert len(tokenizer) == 768
    assert tokenizer.tokenize("4782") == ["4", "7", "8", "2"]
    assert all(tokenizer.tokenize(tag) == [tag] for tag in TAGS)
    reply = generate(1, 1)[0].chain("ab")
    assert tokenizer.decode(tokenizer.encode(reply), skip_special_tokens=True) == reply


def test_the_template_is_chatml_and_ends_where_the_reply_begins(tokenizer) -> None:
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_vocabulary_too_small_for_bytes_and_tags_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size must be at least"):
        make_tokenizer(200)


def test_the_first_heads_of_a_new_model_attend_to_earlier_tokens(tokenizer) -> None:
    model = make_model(SHAPE, tokenizer, seed=3)
    model.set_attn_implementation("eager")
    ids = torch.randint(5, 700, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weights = model(input_ids=ids, output_attentions=True).attentions[0][0]
    for head, back in enumerate(LOOK_BACK):
        assert all(int(weights[head, at].argmax()) == at - back for at in range(8, 40))


def test_one_seed_gives_one_model(tokenizer) -> None:
    first, again, other = (make_model(SHAPE, tokenizer, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])

"""Stage 1: which tokens and chains are learned, and that a stopped run ends like an unbroken one."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from reasrm_training.loop.checkpoints import COMPLETE
from reasrm_training.loop.fit import MetricsWriter
from reasrm_training.model.loading import load_policy, weights_digest
from reasrm_training.model.tokenizer import load_tokenizer
from reasrm_training.sft import trainer as sft_trainer
from safetensors import safe_open

from reasrm.errors import InputError, RecipeError
from tests.training.number_task import chains, recipe


def test_the_loss_is_on_the_reply_and_its_end_alone(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path)
    tokenizer = load_tokenizer(given)
    trainer = sft_trainer.make_trainer(given, chains(8), tmp_path)
    row = trainer.train_dataset[0]
    learnt = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    assert tokenizer.decode(learnt) in ("<answer>[[A]]</answer><|im_end|>", "<answer>[[B]]</answer><|im_end|>")
    prompt = tokenizer.decode(row["input_ids"][: -len(learnt)])
    assert prompt.startswith("<|im_start|>user\n")
    assert prompt.endswith("<|im_start|>assistant\n")


def test_a_thought_that_the_template_opens_is_not_opened_again(tiny_model: Path, tmp_path: Path):
    tokenizer = load_tokenizer(recipe(tiny_model, tmp_path))
    tokenizer.chat_template = str(tokenizer.chat_template).replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    lesson = chains(1)[0].model_copy(update={"reply": "<think>\nhm</think><answer>[[A]]</answer>"})
    row = sft_trainer.encode(tokenizer, lesson, 100)
    assert row is not None
    assert str(tokenizer.decode(row["input_ids"])).count("<think>") == 1


def test_batches_hold_rows_of_similar_length_and_every_row_comes_once_before_any_again():
    lengths = [7 * i % 97 for i in range(64)]
    order = sft_trainer.order_of(lengths, 128, 8, seed=3)
    assert sorted(order[:64]) == sorted(order[64:]) == list(range(64))
    assert order[:64] != order[64:]
    assert order == sft_trainer.order_of(lengths, 128, 8, seed=3)
    spreads = [max(lengths[i] for i in order[s : s + 8]) - min(lengths[i] for i in order[s : s + 8]) for s in range(0, 128, 8)]
    assert sum(spreads) / len(spreads) < 30  # of 97; at random it is above 70


def test_packed_documents_do_not_see_each_other(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, distill={"packing": True, "max_length": 64, "micro_batch": 2, "batch": 2})
    trainer = sft_trainer.make_trainer(given, chains(8), tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    assert (batch["position_ids"] == 0).sum() == 4  # two rows of two documents, laid end to end
    with torch.no_grad():
        together = trainer.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits[0]
        starts = [*(batch["position_ids"][0] == 0).nonzero()[:, 0].tolist(), batch["input_ids"].shape[1]]
        for start, end in itertools.pairwise(starts):
            alone = trainer.model(input_ids=batch["input_ids"][:, start:end]).logits[0]
            assert torch.allclose(together[start:end], alone, atol=1e-4)


@pytest.mark.parametrize("packing", [False, True])
def test_a_run_that_was_stopped_ends_with_the_same_weights_and_numbers(tiny_model: Path, tmp_path: Path, packing: bool):
    settings = {"steps": 6, "save_steps": 2, "packing": packing, "micro_batch": 4, "precision": "bf16"}
    given = recipe(tiny_model, tmp_path, distill=settings)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    sft_trainer.train(given, chains(16), whole, callbacks=[MetricsWriter(whole)])
    shutil.copytree(whole, broken)  # the state after a kill in step 5: the next checkpoint is half written, there is no result
    shutil.rmtree(broken / "model")
    (broken / "checkpoints" / "checkpoint-6" / COMPLETE).unlink()
    sft_trainer.train(given, chains(16), broken, callbacks=[MetricsWriter(broken)])
    assert weights_digest(broken / "model") == weights_digest(whole / "model")
    assert (broken / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_adapters_are_trained_and_merge_into_a_model_of_the_same_shape(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, model={"lora": {"rank": 4, "alpha": 8}})
    folder = sft_trainer.train(given, chains(8), tmp_path / "run")
    assert {path.name for path in folder.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"}
    assert not list(folder.glob("*.bin"))
    merged = load_policy(given, folder, trained=False)
    plain = load_policy(given, None, trained=False)
    changed = [n for n, p in merged.named_parameters() if not torch.equal(p, plain.get_parameter(n))]
    assert changed
    assert all("_proj" in name for name in changed)


def test_trained_weights_are_fp32_and_frozen_ones_bf16(tiny_model: Path, tmp_path: Path):
    full = load_policy(recipe(tiny_model, tmp_path), None, trained=True)
    assert {p.dtype for p in full.parameters()} == {torch.float32}
    trainer = sft_trainer.make_trainer(recipe(tiny_model, tmp_path, model={"lora": {"rank": 4}}), chains(8), tmp_path)
    assert {(p.requires_grad, p.dtype) for p in trainer.model.parameters()} == {(False, torch.bfloat16), (True, torch.float32)}


def test_the_result_is_safetensors_with_its_tokenizer_and_no_pickle(tiny_model: Path, tmp_path: Path):
    folder = sft_trainer.train(recipe(tiny_model, tmp_path, distill={"steps": 1}), chains(8), tmp_path / "run")
    assert {path.suffix for path in folder.iterdir()} <= {".safetensors", ".json", ".jinja"}
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "model.embed_tokens.weight" in file.keys()  # noqa: SIM118


def test_chains_that_do_not_fit_are_left_out_and_at_least_one_must_fit(tiny_model: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"none of the 4 chains fits into distill\.max_length = 8"):
        sft_trainer.make_trainer(recipe(tiny_model, tmp_path, distill={"max_length": 8}), chains(4), tmp_path)


def test_a_tokenizer_without_a_chat_template_is_named(tiny_model: Path, tmp_path: Path):
    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(RecipeError, match="has no chat template"):
        load_tokenizer(recipe(bare, tmp_path))


def test_a_model_that_is_not_there_is_named_in_one_line(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"model.path: there is no folder .*nowhere") as caught:
        load_tokenizer(recipe(tmp_path / "nowhere", tmp_path))
    assert "\n" not in str(caught.value)

"""RL whose replies a real SGLang samples: the policy's weights reach it, and its mismatch is measured and corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reasrm_training import policy, rlvr
from reasrm_training.monitor import Report
from reasrm_training.probe import JUDGMENTS, due
from reasrm_training.rollouts import SglangTrainer, full_weights, serving
from reasrm_training.sglang import Sample, SglangServer, started

from reasrm.errors import EngineError, EngineUnreachable, RecipeError
from tests.components import ROOT, SGLANG_VENV
from tests.training.small import heldout, recipe, tasks

pytestmark = pytest.mark.timeout(400)  # the first test waits for the server
SAMPLING = {"temperature": 1.0, "max_new_tokens": 16}
PROMPTS = [[35, 223, 36], [60, 61, 62, 63]]


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SglangServer]:
    """A server as a run starts one for itself, on the CPU, in bfloat16, so that it is a little off; gone when the run is over."""
    python, shim = SGLANG_VENV / "bin" / "python", ROOT / "deploy" / "sglang-cpu" / "shim"
    if not python.exists():
        pytest.fail(f"SGLang is not installed in {SGLANG_VENV}; install it with: make sglang", pytrace=False)
    command = (
        f"env PYTHONPATH={shim} SGLANG_USE_CPU_ENGINE=1 OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 {python} "
        "-m sglang.launch_server --device cpu --attention-backend torch_native --dtype bfloat16 --max-total-tokens 16384"
    )
    with started(command, str(tiny_model), tmp_path_factory.mktemp("own") / "sglang.log") as own:
        yield own
    with pytest.raises(EngineUnreachable):
        own.load_folder(tiny_model, "x")


def mean_difference(model: Any, prompt: list[int], sample: Sample) -> float:
    """Between the log-probabilities with which the server drew a reply, and the model's for the same tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + sample.ids])).logits[0, len(prompt) - 1 : -1]
    mine = logits.float().log_softmax(-1).gather(1, torch.tensor(sample.ids)[:, None])[:, 0]
    return float((mine - torch.tensor(sample.logprobs)).abs().mean())


@pytest.mark.parametrize("way", ["disk", "tensors"])
def test_new_weights_reach_the_server_and_change_its_replies(server: SglangServer, tiny_model: Path, tmp_path: Path, way: str):
    server.load_folder(tiny_model, "before")
    before = server.sample(PROMPTS, SAMPLING, [1, 2], "before")
    given = recipe(tiny_model, tmp_path, rollouts={"backend": "sglang", "weights": way})
    trainer: Any = rlvr.make_trainer(given, tasks(4), tmp_path, kind="rubric", server=server)
    assert isinstance(trainer, SglangTrainer)
    with torch.no_grad():
        for layer in trainer.model.model.layers:
            layer.self_attn.v_proj.weight.mul_(-1.5)
    trainer.sync_weights()
    after = server.sample(PROMPTS, SAMPLING, [1, 2], trainer.weight_version)
    server.leave()
    old = policy.load_policy(given, None, trained=False)
    for prompt, first, second in zip(PROMPTS, before, after, strict=True):
        assert mean_difference(old, prompt, first) < 0.06 > mean_difference(trainer.model, prompt, second)
        assert mean_difference(old, prompt, second) > 0.3


def test_a_run_measures_how_far_the_sampler_is_off_and_corrects_within_the_cap(
    server: SglangServer, tiny_model: Path, tmp_path: Path
):
    rollouts = {"backend": "sglang", "url": server.url, "importance_cap": 1.05}
    given = recipe(tiny_model, tmp_path, rollouts=rollouts, rlvr={"steps": 3, "learning_rate": 1e-2, "reward": {"length": 1.0}})
    rlvr.train(given, tasks(8), tmp_path, kind="rubric", callbacks=[Report(tmp_path)], probed=heldout("x"))
    judged = [json.loads(line) for line in (tmp_path / JUDGMENTS).read_text().splitlines()]
    assert [row["step"] for row in judged] == [step for step in [0, *sorted(due(3))] for _ in "ab"]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:  # a server with stale weights would be further off with every step
        assert 0.0 < row["sampling/sampling_logp_difference/mean"] < 0.1
        assert 0.5 < row["sampling/importance_sampling_ratio/min"] < 1.0 < row["sampling/importance_sampling_ratio/max"]
        assert row["sampling/importance_sampling_ratio/max"] == pytest.approx(1.05)
    assert not list(tmp_path.glob("weights/*")) or len(list(tmp_path.glob("weights/*"))) == 1


def test_each_reply_to_a_prompt_is_asked_for_with_its_own_seed_and_comes_with_logprobs(
    server: SglangServer, tiny_model: Path, tmp_path: Path
):
    server.load_folder(tiny_model, "x")
    samples = server.sample([PROMPTS[0]] * 6, SAMPLING, list(range(6)), "x")
    assert len({tuple(sample.ids) for sample in samples}) > 1
    for sample in samples:
        assert len(sample.ids) == len(sample.logprobs) <= 16
        assert all(logprob <= 0.0 for logprob in sample.logprobs)


def test_replies_of_other_weights_are_refused(server: SglangServer, tiny_model: Path):
    server.load_folder(tiny_model, "mine")
    with pytest.raises(EngineError, match="sampled with the weights 'mine', not 'yours': another run uses this server"):
        server.sample(PROMPTS, SAMPLING, [1, 2], "yours")


def test_weights_that_are_not_there_are_an_error_that_says_so(server: SglangServer, tmp_path: Path):
    with pytest.raises(EngineError, match="update_weights_from_disk"):
        server.load_folder(tmp_path / "nowhere", "x")


def test_a_server_that_is_gone_is_named():
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9"):
        SglangServer("http://127.0.0.1:9").load_folder(Path("x"), "x")


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path):
    broken = "sh -c 'echo no such accelerator; exit 3'"
    with pytest.raises(EngineUnreachable, match="no such accelerator"), started(broken, "m", tmp_path / "log"):
        pass


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp32", "float32")])
def test_a_server_of_our_own_samples_in_the_precision_that_is_trained_in(
    tiny_model: Path, tmp_path: Path, precision: str, dtype: str
):
    shows = "sh -c 'echo started with $*; exit 3' server"
    given = recipe(tiny_model, tmp_path, rlvr={"precision": precision}, rollouts={"backend": "sglang", "server": shows})
    with pytest.raises(EngineUnreachable, match=f"--dtype {dtype}"), serving(given, None, tmp_path):
        pass


def test_adapters_are_added_to_the_weights_that_are_sent(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, model={"lora": {"rank": 4, "alpha": 8}})
    trainer = rlvr.make_trainer(given, tasks(4), tmp_path, kind="rubric")
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
    sent = full_weights(trainer)
    merged = trainer.model.merge_and_unload().state_dict()
    assert sent.keys() == {name for name in merged if name != "lm_head.weight"}  # tied
    assert all(torch.allclose(sent[name], merged[name].float(), atol=2e-2) for name in sent)
    plain = policy.load_policy(given, None, trained=False).state_dict()
    assert not torch.allclose(sent["model.layers.0.mlp.up_proj.weight"], plain["model.layers.0.mlp.up_proj.weight"], atol=1e-2)


def test_weights_in_four_bits_cannot_be_sent_to_a_server(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, model={"lora": {"four_bit": True}}, rollouts={"backend": "sglang", "url": "http://x"})
    with pytest.raises(RecipeError, match=r"drop model\.lora\.four_bit"):
        rlvr.train(given, tasks(4), tmp_path, kind="rubric")

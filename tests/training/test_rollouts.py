"""RL with a real SGLang as the sampler: the policy's weights reach it, and its mismatch is measured and corrected."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from reasrm_training.config.recipes import FOLDER, load_recipe
from reasrm_training.loop.checkpoints import COMPLETE
from reasrm_training.loop.fit import MetricsWriter
from reasrm_training.measure.probe import JUDGMENTS, probe_steps
from reasrm_training.model.loading import load_policy
from reasrm_training.model.sglang_process import started
from reasrm_training.model.sglang_server import Sample, SglangServer, free_port
from reasrm_training.rl import trainer as rl_trainer
from reasrm_training.rl.sampler import serving
from reasrm_training.rl.sglang_trainer import SglangTrainer, full_weights
from safetensors.torch import load_file

from reasrm.errors import EngineError, EngineUnreachable, RecipeError
from tests.components import ROOT
from tests.training.mini_runs import Mini, do, environment
from tests.training.number_task import heldout, recipe, sglang_command, tasks

pytestmark = pytest.mark.timeout(400)  # the first test waits for the server
SAMPLING = {"temperature": 1.0, "max_new_tokens": 16}
PROMPTS = [[35, 223, 36], [60, 61, 62, 63]]


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SglangServer]:
    """The server that a run starts for itself, on the CPU, in bfloat16, so that it differs a little; it ends with the run."""
    command = f"{sglang_command()} --dtype bfloat16"
    with started(command, str(tiny_model), tmp_path_factory.mktemp("own") / "sglang.log") as own:
        yield own
    with pytest.raises(EngineUnreachable):
        own.load_folder(tiny_model, "x")


def mean_difference(model: Any, prompt: list[int], sample: Sample) -> float:
    """The difference between the server's log-probabilities of its reply and the model's for the same tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + sample.ids])).logits[0, len(prompt) - 1 : -1]
    mine = logits.float().log_softmax(-1).gather(1, torch.tensor(sample.ids)[:, None])[:, 0]
    return float((mine - torch.tensor(sample.logprobs)).abs().mean())


@pytest.mark.parametrize("way", ["disk", "tensors"])
def test_new_weights_reach_the_server_and_change_its_replies(server: SglangServer, tiny_model: Path, tmp_path: Path, way: str):
    server.load_folder(tiny_model, "before")
    before = server.sample(PROMPTS, SAMPLING, [1, 2], "before")
    given = recipe(tiny_model, tmp_path, rollouts={"backend": "sglang", "weights": way})
    trainer: Any = rl_trainer.make_trainer(given, tasks(4), tmp_path, kind="rubric", server=server)
    assert isinstance(trainer, SglangTrainer)
    with torch.no_grad():
        for layer in trainer.model.model.layers:
            layer.self_attn.v_proj.weight.mul_(-1.5)
    trainer.sync_weights()
    after = server.sample(PROMPTS, SAMPLING, [1, 2], trainer.weight_version)
    server.leave()
    old = load_policy(given, None, trained=False)
    for prompt, first, second in zip(PROMPTS, before, after, strict=True):
        assert mean_difference(old, prompt, first) < 0.06 > mean_difference(trainer.model, prompt, second)
        assert mean_difference(old, prompt, second) > 0.3


def test_a_run_measures_the_samplers_mismatch_and_corrects_within_the_cap(server: SglangServer, tiny_model: Path, tmp_path: Path):
    rollouts = {"backend": "sglang", "url": server.url, "importance_cap": 1.05}
    given = recipe(tiny_model, tmp_path, rollouts=rollouts, rlvr={"steps": 3, "learning_rate": 1e-2, "reward": {"length": 1.0}})
    rl_trainer.train(given, tasks(8), tmp_path, kind="rubric", callbacks=[MetricsWriter(tmp_path)], probed=heldout("x"))
    judged = [json.loads(line) for line in (tmp_path / JUDGMENTS).read_text().splitlines()]
    assert [row["step"] for row in judged] == [step for step in [0, *sorted(probe_steps(3))] for _ in "ab"]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:  # a server with stale weights would differ more with every step
        assert 0.0 < row["sampling/sampling_logp_difference/mean"] < 0.1
        assert 0.5 < row["sampling/importance_sampling_ratio/min"] < 1.0 < row["sampling/importance_sampling_ratio/max"]
        assert row["sampling/importance_sampling_ratio/max"] == pytest.approx(1.05)
    assert not list(tmp_path.glob("weights/*")) or len(list(tmp_path.glob("weights/*"))) == 1


def test_every_reply_to_a_prompt_has_its_own_seed_and_logprobs(server: SglangServer, tiny_model: Path, tmp_path: Path):
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


def test_missing_weights_are_an_error_of_the_server(server: SglangServer, tmp_path: Path):
    with pytest.raises(EngineError, match="update_weights_from_disk"):
        server.load_folder(tmp_path / "nowhere", "x")


def test_a_server_that_is_gone_is_named():
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9"):
        SglangServer("http://127.0.0.1:9").load_folder(Path("x"), "x")


def test_a_server_that_is_gone_before_the_weights_are_sent_is_named():
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9"):
        SglangServer("http://127.0.0.1:9").load_tensors({"weight": torch.zeros(1)}, "x")


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
    trainer = rl_trainer.make_trainer(given, tasks(4), tmp_path, kind="rubric")
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
    sent = full_weights(trainer)
    merged = trainer.model.merge_and_unload().state_dict()
    assert sent.keys() == {name for name in merged if name != "lm_head.weight"}  # tied
    assert all(torch.allclose(sent[name], merged[name].float(), atol=2e-2) for name in sent)
    plain = load_policy(given, None, trained=False).state_dict()
    assert not torch.allclose(sent["model.layers.0.mlp.up_proj.weight"], plain["model.layers.0.mlp.up_proj.weight"], atol=1e-2)


@pytest.mark.parametrize(("change", "advice"), [("four_bit=true", "four_bit"), ('targets=["embed_tokens"]', "embed_tokens")])
def test_weights_that_a_server_cannot_take_are_refused_at_once(change: str, advice: str):
    with pytest.raises(RecipeError, match=rf"^lora-\S+: rollouts\.backend: .* drop .*{advice}"):
        load_recipe("lora-qwen2.5-instruct-7b", [f"model.lora.{change}", "rollouts.backend=sglang"])


WITH_DEEPSPEED = pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="opt-in: pip install deepspeed")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("sharding", "shards"),
    [("fsdp2", "pytorch_model_fsdp_0/*.distcp"), pytest.param("zero3", "global_step4/*_model_states.pt", marks=WITH_DEEPSPEED)],
    ids=["fsdp2", "zero3"],
)
def test_a_model_sharded_over_two_processes_and_killed_becomes_what_one_process_makes(
    mini: Mini, server: SglangServer, tmp_path: Path, sharding: str, shards: str
):
    """By the files with which recipes shard: every process writes and reads its shards of weights and optimizer.

    SGLang samples, from weights that are gathered for it.
    """
    file = mini("sharded")
    sampler = f'[rollouts]\nbackend = "sglang"\nurl = "{server.url}"\n'
    file.write_text(file.read_text() + f'[cluster]\nsharding = "{sharding}"\n{sampler}')
    launcher = ("-m", "accelerate.commands.launch", "--config_file", str(FOLDER / f"{sharding}.yaml"), "--num_processes", "2")
    shorter = ("--set", "rlvr.steps=2", "--set", "evaluate.pairs=2", "--set", "evaluate.votes=[]")
    program = (str(ROOT / "tests" / "training" / "sharded_command.py"), "train", "run", str(file), *shorter)
    launch = [sys.executable, *launcher, "--main_process_port", "0", *program]
    sharded = tmp_path / "sharded"
    checkpoint = sharded / "distill" / "checkpoints" / "checkpoint-4"
    with subprocess.Popen(launch, stdout=subprocess.DEVNULL, env=environment(), cwd=ROOT) as broken:
        while not (checkpoint / COMPLETE).exists():
            assert broken.poll() is None, f"the run ended before {checkpoint} was there"
            time.sleep(0.01)
        for process in (*psutil.Process(broken.pid).children(recursive=True), broken):
            process.kill()
    assert len(list(checkpoint.glob(shards))) == 2
    done = subprocess.run(launch, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    whole = do(load_recipe(mini("whole")), only=("data", "chains", "distill"))
    together, alone = (load_file(folder / "distill" / "model" / "model.safetensors") for folder in (sharded, whole))
    assert all(torch.allclose(together[name], alone[name], atol=1e-5) for name in alone)
    rows = {stage: (sharded / stage / "metrics.jsonl").read_text().splitlines() for stage in ("distill", "rlvr")}
    assert [json.loads(row)["step"] for row in rows["distill"]] == [2, 4, 6, 8]
    assert [json.loads(row)["step"] for row in rows["rlvr"]] == [1, 2]
    assert all(json.loads(row)["sampling/sampling_logp_difference/mean"] < 0.05 for row in rows["rlvr"])
    assert (sharded / "export" / "model.safetensors").exists()


SERVED = """
import sys
from pathlib import Path
from reasrm_training.model.processes import processes
from reasrm_training.config.recipes import load_recipe
from reasrm_training.rl.sampler import serving
recipe, folder = load_recipe(sys.argv[1]), Path(sys.argv[1]).parent
state = processes(recipe)
assert state.num_processes == 4
with serving(recipe, None, folder) as server:
    sys.stdout.write(f"together {state.process_index} {server.url}\\n")  # one write: torchrun's processes share unbuffered output
    state.wait_for_everyone()
if state.is_main_process:
    with serving(recipe, None, folder, together=False) as server:
        sys.stdout.write(f"alone {state.process_index} {server.url}\\n")
state.wait_for_everyone()
"""
READY = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Ready).serve_forever()
"""


def test_each_node_has_a_server_and_the_main_process_can_have_its_own(mini: Mini, tmp_path: Path):
    """The latter is the case when a run measures its result. The test is about the order of waiting, hence no real server."""
    file, served, ready = mini("served"), tmp_path / "served.py", tmp_path / "ready.py"
    file.write_text(file.read_text() + f'[rollouts]\nbackend = "sglang"\nserver = "{sys.executable} {ready}"\n')
    served.write_text(SERVED)
    ready.write_text(READY)
    nodes = ["--nnodes", "2", "--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    launch = [sys.executable, "-m", "torch.distributed.run", *nodes, "--node_rank"]
    program = [str(served), str(file)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment(), "cwd": ROOT}
    both = [subprocess.Popen([*launch, rank, *program], **output) for rank in "01"]
    outputs = [node.communicate(timeout=300) for node in both]
    assert [node.returncode for node in both] == [0, 0], outputs[0][1][-3000:]
    rows = [line.split() for out, _ in outputs for line in out.splitlines()]
    first, second, third, fourth = (url for how, _, url in sorted(rows) if how == "together")
    assert first == second != third == fourth
    assert [(index, url.startswith("http://127.0.0.1:")) for how, index, url in rows if how == "alone"] == [("0", True)]

"""The trainer at the shape of a real model, random weights, one GPU: sampling speed, time per part, memory against the plan.

RL by LoRA samples the same prompts with transformers and with SGLang on the GPU that it trains on. Replies of random weights do
not end by themselves, so all have the greatest length. Distillation fills its batches, by LoRA and, with fewer layers, of all
weights. Each arm runs in a process of its own. Its first step is a warm-up and does not count.

Run: python bench/shapes.py --server "/opt/sglang/bin/python -m sglang.launch_server". Without a GPU it also runs with a
small model (--model serving/reasrm_serving/judge --prompt-tokens 64 --reply-tokens 16 --length 256): a rehearsal, and no figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

ARMS = ("rlvr/transformers", "rlvr/sglang", "distill/lora", "distill/full")
PARTS = ("sampling", "weights", "rewards", "training")
RECIPE = """
extends = "lora-qwen2.5-instruct-7b"
name = "shapes"
prompts = "world"
output = {output}
data = false
oracle = false
evaluate = false
[world]
chains = 1
chain_levels = [1]
labels = 1
label_levels = [1]
heldout_levels = [1]
[model]
path = {model}
{lora}
[distill]
batch = 1
steps = {steps}
max_length = {length}
save_steps = 1000
[rlvr]
steps = {steps}
prompts = {prompts}
mini_batch = {prompts}
generations = {generations}
micro_batch = {micro_batch}
max_prompt_tokens = {prompt_tokens}
max_completion_tokens = {reply_tokens}
save_steps = 1000
guard = {{ min_format = 0.0, max_length_share = 1.0, min_entropy = 0.0 }}
[rollouts]
backend = "{engine}"
server = {server}
memory_fraction = {fraction}
[track]
pairs = 0
[cluster]
gpus = {gpus}
gpu = "{gpu}"
"""


def make_model(name: str, layers: int | None, folder: Path) -> None:
    """Write a model of the shape `name` (or that of a folder) with random bf16 weights, and a tokenizer for it, into `folder`."""
    import torch
    import transformers
    from reasrm_training.config.model import Model
    from reasrm_training.model.from_scratch import make_tokenizer
    from reasrm_training.plan.shapes import shape_of

    shape = shape_of(Model(path=name))
    family = "Qwen3" if shape.qk_norm else "Llama" if shape.output_bias or not shape.attention_bias else "Qwen2"
    numbers = shape.model_dump(exclude={"qk_norm", "output_bias", "rope_theta"}, exclude_none=True)
    tokenizer = make_tokenizer(768)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    wider = {"num_hidden_layers": layers or shape.num_hidden_layers, "vocab_size": max(shape.vocab_size, len(tokenizer))}
    config = getattr(transformers, f"{family}Config")(**numbers | ends | wider)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_recipe(given: argparse.Namespace, arm: str) -> Any:
    """The LoRA recipe for one GPU (or, full, without LoRA) over the dummy model."""
    import torch
    from reasrm_training.config.recipes import load_recipe
    from reasrm_training.plan.shapes import GPUS

    stage, _, kind = arm.partition("/")
    there = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if there else ""
    file = given.folder / f"{arm.replace('/', '-')}.toml"
    values = vars(given) | {
        "output": json.dumps(str(given.folder / arm.replace("/", "-"))),
        "model": json.dumps(str(given.folder / ("full" if kind == "full" else "model"))),
        "lora": "lora = false" if kind == "full" else "",
        "engine": kind if stage == "rlvr" else "transformers",
        "server": json.dumps(given.server),
        "gpus": int(there),
        "gpu": next((name for name in sorted(GPUS, key=len, reverse=True) if name in device), "H100"),
    }
    file.write_text(RECIPE.format(**values), encoding="utf-8")
    return load_recipe(file)


def measure(given: argparse.Namespace, arm: str) -> dict[str, Any]:
    """Train `arm` and return its speed, its seconds by part, and its measured and planned memory."""
    import torch
    from reasrm_training.loop.fit import MetricsWriter
    from reasrm_training.model import libraries
    from reasrm_training.model.tokenizer import load_tokenizer
    from reasrm_training.plan.estimate import plan
    from reasrm_training.rl import trainer as rl_trainer
    from reasrm_training.rl.prompts import LabelledPrompt
    from reasrm_training.sft import trainer as sft_trainer

    from reasrm.types import Message

    libraries.quiet()
    recipe = make_recipe(given, arm)
    stage, _, _ = arm.partition("/")
    folder = recipe.folder(stage)
    texts = long_texts(given, load_tokenizer(recipe))
    report = MetricsWriter(folder)
    if stage == "rlvr":
        tasks = [
            LabelledPrompt((Message(role="user", content=text),), "A", str(i // 2), ("ab", "ba")[i % 2])
            for i, text in enumerate(texts)
        ]
        rl_trainer.train(recipe, tasks, folder, kind="rubric", callbacks=[report])
    else:
        sft_trainer.train(recipe, long_chains(recipe, texts), folder, callbacks=[report])
    rows = [row for row in report.metrics.read() if row["step"] > 1]
    figures: dict[str, Any] = {"arm": arm}
    if stage == "rlvr":
        figures["seconds"] = {part: statistics.median(row.get(f"seconds/{part}", 0.0) for row in rows) for part in PARTS}
        replies = given.prompts * given.generations * statistics.median(row["completions/mean_length"] for row in rows)
        figures["rollout_tokens_per_s"] = replies / figures["seconds"]["sampling"]
    if torch.cuda.is_available():
        parts = next(planned for planned in plan(recipe).stages if planned.stage == stage).memory
        elsewhere = {"context"} | ({"sampling"} if recipe.rollouts.backend == "sglang" else set())
        figures["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        figures["planned_gb"] = sum(size for part, size in parts.items() if part not in elsewhere) / 1e9
    return figures


def long_texts(given: argparse.Namespace, tokenizer: Any) -> list[str]:
    """The texts of prompts, each of other tasks, that leave a few of --prompt-tokens free."""
    from reasrm_training.world import generate

    room = given.prompt_tokens - 16  # for what a chat template adds
    texts = []
    for number in range(given.prompts * given.steps):
        ids: list[int] = []
        for task in generate(number, 40 * (1 + room // 400)):
            ids += tokenizer(f"{task.question}\n", add_special_tokens=False)["input_ids"]
            if len(ids) >= room:
                break
        texts.append(tokenizer.decode(ids[:room]))
    return texts


def long_chains(recipe: Any, texts: list[str]) -> list[Any]:
    """One chain per step, with nearly as many tokens as distillation takes."""
    from reasrm_training.model.tokenizer import load_tokenizer, prompt_ids
    from reasrm_training.oracle import Chain

    from reasrm.types import Message

    tokenizer = load_tokenizer(recipe)
    stage, messages = recipe.distill, (Message(role="user", content=texts[0]),)
    room = stage.max_length - len(prompt_ids(tokenizer, messages)) - 1
    ids = tokenizer("\n".join(texts) * (1 + room // 64), add_special_tokens=False)["input_ids"][: room * 31 // 32]
    reply = tokenizer.decode(ids)
    return [
        Chain(id=str(i), source="shapes", winner="A", messages=messages, reply=reply, oracle="first") for i in range(stage.steps)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen/Qwen2.5-7B-Instruct", help="a shape that `reasrm train plan` knows, or a folder")
    parser.add_argument("--full-layers", type=int, default=8, help="layers of the model of which all weights are trained")
    parser.add_argument("--server", default="python -m sglang.launch_server", help="what starts an SGLang")
    parser.add_argument("--fraction", type=float, default=0.35, help="of the GPU's memory for SGLang")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--reply-tokens", type=int, default=512)
    parser.add_argument("--length", type=int, default=8192, help="tokens of a chain with its prompt")
    parser.add_argument("--arms", default=",".join(ARMS), help=f"which of {','.join(ARMS)}")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(measure(given, given.arm)))
        return
    with tempfile.TemporaryDirectory() as name:
        given.folder = Path(name)
        make_model(given.model, None, given.folder / "model")
        make_model(given.model, given.full_layers, given.folder / "full")
        report(given, [in_a_process(given.folder, arm) for arm in given.arms.split(",")])


def in_a_process(folder: Path, arm: str) -> dict[str, Any]:
    """One arm in a fresh process, so that no arm inherits memory on the GPU."""
    command = [sys.executable, __file__, *sys.argv[1:], "--arm", arm, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} failed; its messages stand above")
    figures = json.loads(done.stdout.splitlines()[-1])
    print(f"{arm}: done", file=sys.stderr, flush=True)
    return figures


def report(given: argparse.Namespace, arms: list[dict[str, Any]]) -> None:
    """Print one row per arm, and the figures."""
    print("| arm | tokens/s sampled | " + " | ".join(f"{part}, s" for part in PARTS) + " | peak, GB | planned, GB |")
    print("|---" * (len(PARTS) + 4) + "|")
    for arm in arms:
        cells = [arm.get("rollout_tokens_per_s"), *(arm.get("seconds", {}).get(part) for part in PARTS)]
        cells += [arm.get("peak_gb"), arm.get("planned_gb")]
        print(f"| {arm['arm']} | " + " | ".join("–" if cell is None else f"{cell:,.1f}" for cell in cells) + " |")
    speed = {arm["arm"].partition("/")[2]: arm["rollout_tokens_per_s"] for arm in arms if "rollout_tokens_per_s" in arm}
    figures = {
        "bench": "shapes",
        "model": given.model,
        "rollout_tokens_per_s": {engine: round(value) for engine, value in speed.items()},
        "sglang_vs_transformers": round(speed["sglang"] / speed["transformers"], 2) if len(speed) == 2 else None,
        "seconds": {arm["arm"]: {k: round(v, 2) for k, v in arm["seconds"].items()} for arm in arms if "seconds" in arm},
        "memory_vs_plan": {arm["arm"]: round(arm["peak_gb"] / arm["planned_gb"], 3) for arm in arms if "peak_gb" in arm},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

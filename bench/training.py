"""The cost of this trainer compared with a bare TRL loop, and the speed of each sampling engine, in tokens/s on one model and data.

Each arm runs in a process of its own, and the arms take turns, so that neither warm caches nor a busy machine favour one of them.
Run: python bench/training.py [--rounds 3] [--sglang URL]; without a URL, SGLang is started from .venv-sglang if it is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

SFT_STEPS, RL_STEPS = 60, 6
ROLLOUTS, ROLLOUT_TOKENS = 64, 96
CHANGES = (
    "world.chains=960",
    "world.labels=64",
    f"distill.steps={SFT_STEPS}",
    "distill.save_steps=1000",
    f"rlvr.steps={RL_STEPS}",
    "rlvr.prompts=8",
    "rlvr.mini_batch=8",
    "rlvr.generations=8",
    "rlvr.micro_batch=64",
    "rlvr.max_completion_tokens=64",
    "rlvr.save_steps=1000",
    "rlvr.guard.min_format=0",
    "rlvr.guard.max_length_share=1.0",
)
ARMS = ("sft/bare", "sft/reasrm", "grpo/bare", "grpo/reasrm")


def make_recipe(folder: Path) -> Any:
    """The tiny recipe, short, over the random model in `folder`."""
    from reasrm_training.config.recipes import load_recipe

    return load_recipe("tiny", [*CHANGES, f"output={json.dumps(str(folder / 'run'))}"])


def prepare(folder: Path) -> None:
    """Make the data, the chains, and the model from which every arm starts."""
    from reasrm_training.model.loading import load_policy
    from reasrm_training.model.tokenizer import load_tokenizer
    from reasrm_training.run.stages import chains, data

    recipe = make_recipe(folder)
    data(recipe, lambda *_: None)
    chains(recipe, lambda *_: None)
    load_policy(recipe, trained=True).save_pretrained(folder / "model")
    load_tokenizer(recipe).save_pretrained(folder / "model")


def measure(arm: str, folder: Path) -> float:
    """The tokens per second of `arm`: trained on, and for GRPO sampled too, without padding."""
    from reasrm_training.loop.fit import MetricsWriter, fit
    from reasrm_training.model import libraries

    libraries.quiet()
    stage, _, loop = arm.partition("/")
    recipe = make_recipe(folder)
    out = Path(tempfile.mkdtemp(dir=folder))
    trainer = (sft_trainer if stage == "sft" else grpo_trainer)(recipe, folder / "model", out, bare=loop == "bare")
    started = time.perf_counter()
    if loop == "bare":
        trainer.train()
    else:
        trainer.add_callback(MetricsWriter(out))
        fit(trainer, out)
    seconds = time.perf_counter() - started
    return max(row["num_tokens"] for row in trainer.state.log_history if "num_tokens" in row) / seconds


def sft_trainer(recipe: Any, model: Path, out: Path, *, bare: bool) -> Any:
    """This trainer, or TRL's bare SFTTrainer on the same rows with the same settings."""
    from datasets import Dataset
    from reasrm_training.model.loading import load_policy
    from reasrm_training.model.tokenizer import load_tokenizer
    from reasrm_training.oracle.chains import read_chains
    from reasrm_training.sft import trainer as sft_trainer
    from trl import SFTConfig, SFTTrainer

    lessons = list(read_chains(recipe.folder("chains") / "chains.jsonl"))
    if not bare:
        return sft_trainer.make_trainer(recipe, lessons, out, start=model)
    tokenizer = load_tokenizer(recipe, model)
    rows = [sft_trainer.encode(tokenizer, chain, recipe.distill.max_length) for chain in lessons]
    args = SFTConfig(
        **bare_arguments(recipe, recipe.distill, out),
        max_steps=SFT_STEPS,
        max_length=recipe.distill.max_length,
        completion_only_loss=True,
    )
    return SFTTrainer(
        load_policy(recipe, model, trained=True),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )


def grpo_trainer(recipe: Any, model: Path, out: Path, *, bare: bool) -> Any:
    """This trainer, or TRL's bare GRPOTrainer on the same prompts with the same settings and a reward of one line."""
    from datasets import Dataset
    from reasrm_training.data.examples import read_examples
    from reasrm_training.model.loading import load_policy
    from reasrm_training.model.tokenizer import as_chat, load_tokenizer
    from reasrm_training.rl import trainer as rl_trainer
    from reasrm_training.rl.prompts import labelled_prompts, schedule
    from trl import GRPOConfig, GRPOTrainer

    from reasrm.prompts import load_pack

    pack = load_pack(recipe.prompts)
    tasks = list(labelled_prompts(read_examples(recipe.folder("data") / "rlvr.jsonl"), recipe, pack))
    if not bare:
        return rl_trainer.make_trainer(recipe, tasks, out, kind=pack.kind, start=model)
    stage = recipe.rlvr
    rows = [{"prompt": as_chat(task.messages), "gold": task.gold} for task in schedule(tasks, stage, recipe.seed)]

    def verdict(completions: Sequence[Any], gold: Sequence[str], **_: Any) -> list[float]:
        return [1.0 if f"[[{side}]]" in reply[0]["content"][-80:] else -1.0 for reply, side in zip(completions, gold, strict=True)]

    args = GRPOConfig(
        **bare_arguments(recipe, stage, out),
        max_steps=RL_STEPS,
        num_generations=stage.generations,
        max_completion_length=stage.max_completion_tokens,
        beta=stage.kl,
        shuffle_dataset=False,
    )
    start = load_policy(recipe, model, trained=True)
    tokenizer = load_tokenizer(recipe, model)
    return GRPOTrainer(start, reward_funcs=verdict, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def bare_arguments(recipe: Any, stage: Any, out: Path) -> dict[str, Any]:
    """The settings that decide the arithmetic, as this trainer sets them."""
    return {
        "output_dir": str(out),
        "per_device_train_batch_size": stage.micro_batch,
        "learning_rate": stage.learning_rate,
        "bf16": stage.precision == "bf16",
        "use_cpu": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
    }


def rollouts(engine: str, folder: Path, url: str) -> float:
    """The reply tokens per second of `engine`, with ROLLOUTS replies at once."""
    from reasrm_training.data.examples import read_examples
    from reasrm_training.measure import sampling
    from reasrm_training.model import libraries
    from reasrm_training.model.loading import load_policy
    from reasrm_training.model.sglang_server import SglangServer
    from reasrm_training.model.tokenizer import load_tokenizer
    from reasrm_training.rl.prompts import labelled_prompts

    from reasrm.prompts import load_pack

    libraries.quiet()
    recipe = make_recipe(folder)
    tokenizer = load_tokenizer(recipe, folder / "model")
    examples = read_examples(recipe.folder("data") / "rlvr.jsonl")
    prompts = [task.messages for task in labelled_prompts(examples, recipe, load_pack(recipe.prompts))][:ROLLOUTS]
    if engine == "sglang":
        server = SglangServer(url)
        server.load_folder(folder / "model", "bench")
        generate = sampling.by_sglang(server, tokenizer, version="bench", max_tokens=ROLLOUT_TOKENS)
    else:
        model: Any = load_policy(recipe, folder / "model", trained=False)
        generate = sampling.by_model(model, tokenizer, max_tokens=ROLLOUT_TOKENS, batch=ROLLOUTS)
    generate(prompts[:8], 1.0, 0)  # warm
    started = time.perf_counter()
    replies = generate(prompts, 1.0, 1)
    return sum(reply.tokens for reply in replies) / (time.perf_counter() - started)


@contextmanager
def sglang(url: str, folder: Path) -> Any:
    """The server at `url`, or one on this CPU from .venv-sglang; None where there is neither."""
    from reasrm_training.model.sglang_process import started

    python, shim = ROOT / ".venv-sglang" / "bin" / "python", ROOT / "deploy" / "sglang-cpu" / "shim"
    if url or not python.exists():
        yield url
        return
    command = (
        f"env PYTHONPATH={shim} SGLANG_USE_CPU_ENGINE=1 OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 {python} "
        "-m sglang.launch_server --device cpu --attention-backend torch_native --max-total-tokens 65536 --sleep-on-idle"
    )
    with started(
        command, str(folder / "model"), folder / "sglang.log", "--max-running-requests", "64", "--dtype", "float32"
    ) as server:
        yield server.url


def in_a_process(*arguments: str) -> float:
    """Run one measurement of this file in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sglang", default="", help="a running server's address")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        engine = given.arm.removeprefix("rollouts/")
        value = measure(given.arm, given.folder) if given.arm in ARMS else rollouts(engine, given.folder, given.sglang)
        print(value)
        return
    with tempfile.TemporaryDirectory() as name:
        report(Path(name), given.rounds, given.sglang)


def report(folder: Path, rounds: int, url: str) -> None:
    """Measure everything and print it."""
    prepare(folder)
    measured: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(rounds):
        for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
            measured[arm].append(in_a_process("--arm", arm, "--folder", str(folder)))
    with sglang(url, folder) as server:
        engines = ["transformers", *(["sglang"] if server else [])]
        for _ in range(rounds):
            for engine in engines:
                arguments = ("--arm", f"rollouts/{engine}", "--folder", str(folder), "--sglang", server or "")
                measured.setdefault(f"rollouts/{engine}", []).append(in_a_process(*arguments))
    print(f"{'arm':<24}{'tokens/s, median':>18}   each round")
    for arm, values in measured.items():
        print(f"{arm:<24}{statistics.median(values):>18,.0f}   {', '.join(f'{value:,.0f}' for value in values)}")

    def ratio(stage: str) -> float:
        pairs = zip(measured[f"{stage}/reasrm"], measured[f"{stage}/bare"], strict=True)
        return round(statistics.median(ours / bare for ours, bare in pairs), 3)

    figures = {
        "sft_vs_trl": ratio("sft"),
        "grpo_vs_trl": ratio("grpo"),
        "rollout_tokens_per_s": {engine: round(statistics.median(measured[f"rollouts/{engine}"])) for engine in engines},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

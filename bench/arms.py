"""The value of each part of the training at equal compute: bare answers, chains of one pass, chains of two; then RL or more SFT.

Every arm starts from random weights, on the generated world. The cost of RL is counted in passes of a token through the model
(1 for a sampled token, 3 for one that is trained on). The arm without RL gets as much compute in further steps of SFT: at a
tenth of the rate, from the same model; for the first seed with two passes also from random weights, in one schedule. Two
controls see less than a judge does: the responses without the question, and only their lengths. If they stay near 50 %, nothing
but the task tells which response is better. The controls, and votes (of the arm with two passes, over 100 pairs), are run with
the first seed only.

Run: python bench/arms.py --seeds 1,2,3 [--sft 1600 --rl 40] [--arms "one pass,two passes"] [--jobs 2].
It can be stopped and started again: results stay in --folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

#: Chains, in the order in which the table names them: how many passes of the oracle.
CHAINS = {"answers alone": 0, "one pass": 1, "two passes": 2}
CONTROLS = ("responses without the question", "lengths alone")
LEANING = "leaning.json"
SAMPLED, TRAINED = 1, 3  # passes that a token costs


def make_recipe(given: argparse.Namespace, arm: str, seed: int) -> Any:
    """The tiny recipe with this bench's budget."""
    from reasrm_training.config.recipes import load_recipe

    folder = given.folder / f"{arm.replace(' ', '-')}-{seed}"
    changes = [f"seed={seed}", f"distill.steps={given.sft}", f"rlvr.steps={given.rl}", f"output={json.dumps(str(folder))}"]
    changes += [f"world.heldout={given.pairs}", f"world.passes={CHAINS.get(arm, 0)}"]
    if CHAINS.get(arm, 0) == 0:
        changes.append("rlvr.guard.min_format=0")
    return load_recipe("tiny", changes)


def do(given: argparse.Namespace, arm: str, seed: int) -> None:
    """Train and measure one arm: after SFT, and after RL or as much compute of further SFT."""
    from reasrm_training.data.from_world import generated_examples
    from reasrm_training.model import libraries
    from reasrm_training.oracle.from_world import generated_chains
    from reasrm_training.rl import trainer as rl_trainer
    from reasrm_training.rl.prompts import labelled_prompts
    from reasrm_training.sft import trainer as sft_trainer

    from reasrm.prompts import load_pack

    libraries.quiet()
    recipe = make_recipe(given, arm, seed)
    pack, folder = load_pack(recipe.prompts), Path(recipe.output)
    chains = generated_chains(recipe, recipe.fence_key)[0]
    heldout = generated_examples(recipe, "heldout")
    if arm in CONTROLS:
        heldout = [blinded(example, arm) for example in heldout]
        shown = {example.id: blinded(example, arm) for example in generated_examples(recipe, "distill")}
        chains = [chain.model_copy(update={"messages": pack.render(shown[chain.id].pair, recipe.fence_key)}) for chain in chains]
    start = sft_trainer.train(recipe, chains, folder / "sft")
    measure(recipe, heldout, start, folder / "sft.json", votes=())
    if CHAINS.get(arm, 0) == 0:
        lean(recipe, heldout, start, folder / LEANING)
    if arm in CONTROLS:
        return
    tasks = list(labelled_prompts(iter(generated_examples(recipe, "rlvr")), recipe, pack))
    thorough = seed == given.seeds[0] and arm == "two passes"
    votes = (4, 16) if thorough else ()
    trained = rl_trainer.train(recipe, tasks, folder / "rl", kind=pack.kind, start=start)
    measure(recipe, heldout, trained, folder / "rl.json", votes=votes)
    steps = round(tokens_of(folder / "rl") * (SAMPLED + TRAINED) / TRAINED / (tokens_of(folder / "sft") / given.sft))
    # A tenth of the rate, as the first schedule ended near 0. With the full rate again, 88.8 % fell to 84.2.
    changes = {"steps": steps, "learning_rate": recipe.distill.learning_rate / 10}
    more = recipe.model_copy(update={"distill": recipe.distill.model_copy(update=changes)})
    measure(more, heldout, sft_trainer.train(more, chains, folder / "more", start=start), folder / "more.json", votes=votes)
    if thorough:
        longer = recipe.model_copy(update={"distill": recipe.distill.model_copy(update={"steps": given.sft + steps})})
        measure(longer, heldout, sft_trainer.train(longer, chains, folder / "longer"), folder / "longer.json", votes=())


def blinded(example: Any, control: str) -> Any:
    """`example` as the control sees it."""
    update = {"question": "Which response is better?"}
    if control == "lengths alone":
        update |= {side: f"A response of {len(getattr(example, side)[-1].content)} characters." for side in ("a", "b")}
    return example.model_copy(update=update)


def tokens_of(folder: Path) -> int:
    """The tokens that the training in `folder` saw, as TRL counted them."""
    newest = max((folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    history = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return int(max(row["num_tokens"] for row in history if "num_tokens" in row))


def measure(recipe: Any, heldout: Sequence[Any], model: Path, done: Path, votes: Sequence[int]) -> None:
    """Judge the held-out pairs with `model`, greedily in both orders, unless an earlier run did."""
    from reasrm_training.measure.evaluate import evaluate
    from reasrm_training.measure.generation import by_model
    from reasrm_training.model.loading import load_policy
    from reasrm_training.model.tokenizer import load_tokenizer

    from reasrm.prompts import load_pack

    if done.exists():
        return
    loaded: Any = load_policy(recipe, model, trained=False)
    generate = by_model(loaded, load_tokenizer(recipe, model), max_tokens=recipe.rlvr.max_completion_tokens)
    evaluation = evaluate(heldout, generate, load_pack(recipe.prompts), recipe.fence_key, votes=votes, sampled_pairs=100)
    done.write_text(evaluation.model_dump_json(indent=2), encoding="utf-8")
    print(f"{done.parent.name} {done.stem}: {evaluation.greedy.accuracy.value:.3f}", file=sys.stderr, flush=True)


def lean(recipe: Any, heldout: Sequence[Any], model: Path, done: Path) -> None:
    """The share of pairs for which a bare verdict A is more likely with the better response first than with it second.

    A model that always says A is right in half of the judgments, and may know more than it says. This share shows that.
    """
    import torch
    from reasrm_training.model.loading import load_policy
    from reasrm_training.model.tokenizer import load_tokenizer, prompt_ids

    from reasrm.prompts import load_pack

    if done.exists():
        return
    loaded: Any = load_policy(recipe, model, trained=False).eval()
    tokenizer: Any = load_tokenizer(recipe, model)
    pack = load_pack(recipe.prompts)
    a, b = (tokenizer(f"<answer>[[{side}]]</answer>", add_special_tokens=False)["input_ids"] for side in "AB")
    shared = next(i for i, (one, other) in enumerate(zip(a, b, strict=True)) if one != other)

    def towards_a(examples: Sequence[Any]) -> Any:
        ids = [prompt_ids(tokenizer, pack.render(example.pair, recipe.fence_key)) + a[:shared] for example in examples]
        with torch.no_grad():
            last = loaded(**tokenizer.pad({"input_ids": ids}, return_tensors="pt")).logits[:, -1]
        return last[:, a[shared]] - last[:, b[shared]]

    first = [example if example.winner == "A" else example.swapped() for example in heldout]
    moved = [
        towards_a(part) - towards_a([example.swapped() for example in part])
        for part in (first[start : start + 50] for start in range(0, len(first), 50))
    ]
    share = float(torch.cat(moved).sign().mean()) / 2 + 0.5  # equal logits count half
    figure = {"value": share, "stderr": (share * (1 - share) / len(first)) ** 0.5, "n": len(first)}
    done.write_text(json.dumps(figure), encoding="utf-8")
    print(f"{done.parent.name} leaning: {share:.3f}", file=sys.stderr, flush=True)


def run(given: argparse.Namespace) -> None:
    """Run the unfinished arms, `given.jobs` at a time, each in a process with its share of the cores."""
    left = [(arm, seed) for arm in reversed(CHAINS) for seed in given.seeds]  # the most expensive first
    left += [(control, given.seeds[0]) for control in CONTROLS]
    left = [(arm, seed) for arm, seed in left if arm in given.arms]
    environ = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // given.jobs))}
    running: list[subprocess.Popen[bytes]] = []
    while left or running:
        while left and len(running) < given.jobs:
            arm, seed = left.pop(0)
            running.append(subprocess.Popen([sys.executable, *sys.argv, "--arm", arm, "--seed", str(seed)], env=environ))
        os.wait()
        ended = [process for process in running if process.poll() is not None]
        if any(process.returncode for process in ended):
            raise SystemExit("an arm failed, with its messages above; run the same command again to go on")
        running = [process for process in running if process not in ended]


def report(given: argparse.Namespace) -> None:
    """Print one row per arm: means over seeds, with standard errors over several seeds."""
    figures: dict[str, float] = {}
    print("| arm | seeds | accuracy | order consistency | format | T 1 | voting@4 | voting@16 | leans to the better |")
    print("|---|---|---|---|---|---|---|---|---|")
    stages = {"sft": "SFT", "longer": "SFT as long as with RL", "more": "then more SFT, as long as RL", "rl": "then RL"}
    rows = [(arm, stage) for arm in CHAINS for stage in stages] + [(control, "sft") for control in CONTROLS]
    for arm, stage in rows:
        files = [given.folder / f"{arm.replace(' ', '-')}-{seed}" / f"{stage}.json" for seed in given.seeds]
        results = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        if not results:
            continue
        greedy = [one["greedy"] for one in results]
        cells = [over_seeds([one[name] for one in greedy]) for name in ("accuracy", "order_consistency", "format")]
        sampled = [one for one in results if one["voting"]]
        cells += [over_seeds([one["sampled"] for one in sampled])]
        cells += [over_seeds([one["voting"][k] for one in sampled]) for k in ("4", "16")]
        leaning = [file.with_name(LEANING) for file in files if stage == "sft" and file.with_name(LEANING).exists()]
        cells += [over_seeds([json.loads(file.read_text(encoding="utf-8")) for file in leaning])]
        print(f"| {arm}: {stages[stage]} | {len(results)} | " + " | ".join(cells) + " |")
        figures[f"{arm}/{stage}"] = round(statistics.fmean(one["accuracy"]["value"] for one in greedy), 4)
    print(json.dumps({"bench": "arms", "sft": given.sft, "rl": given.rl, "pairs": given.pairs, "accuracy": figures}))


def over_seeds(shares: Sequence[Any]) -> str:
    """The mean of one share over seeds in percent, with its standard error: over seeds, or over pairs where there is one seed."""
    values = [100 * share["value"] for share in shares if share["value"] is not None]
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f} ± {100 * (shares[0]['stderr'] or 0):.1f}"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 3])
    every = [*CHAINS, *CONTROLS]
    parser.add_argument("--arms", type=lambda text: text.split(","), default=every, help=f"which of: {','.join(every)}")
    parser.add_argument("--sft", type=int, default=1600, help="steps of 16 chains")
    parser.add_argument("--rl", type=int, default=40, help="steps of 16 x 8 replies")
    parser.add_argument("--pairs", type=int, default=1000, help="held-out pairs, each judged in both orders")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="arms at a time")
    parser.add_argument("--folder", type=Path, default=Path("runs/arms"))
    parser.add_argument("--report", action="store_true", help="only print the table of the finished arms")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.arms) - set(every):
        parser.error(f"no arm is called {', '.join(sorted(unknown))}; there are: {', '.join(every)}")
    if given.arm:
        do(given, given.arm, given.seed)
        return
    if not given.report:
        run(given)
    report(given)


if __name__ == "__main__":
    main()

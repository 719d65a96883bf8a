"""Making the chains: examples go to the oracles, many at once, within a budget, and every reply is journaled as it arrives.

journal.jsonl    every reply, durable one by one; a run resumes from it
chains.jsonl     the kept chains, in the order of the examples
manifest.json    how many were kept, by which oracle, why the others were not, and the cost
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import stamina
from pydantic import Field

from reasrm.errors import EngineBusy, EngineUnreachable, RecipeError, Refused
from reasrm.prompts import load_pack
from reasrm.types import Completer, Frozen
from reasrm_training.config.endpoints import Endpoint, Oracle
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import PreferenceExample, read_examples
from reasrm_training.data.files import write_whole
from reasrm_training.oracle.client import OracleClient, OracleProgress, Watch, pause
from reasrm_training.oracle.examiner import CORRECTION, Chain, Examiner, Pass
from reasrm_training.oracle.from_world import generated_chains
from reasrm_training.oracle.journal import OracleJournal, Spend


class ChainReport(Frozen):
    """The results of the examples. `problems` counts the replies that may not be learned from, by pass and reason.

    `unanswered` counts the examples that still lack a reply; `failures` the last run's failed attempts, by kind.
    """

    made_from: str
    examples: int
    kept: dict[str, int]
    both_orders: int | None
    problems: dict[str, dict[str, int]]
    unanswered: int = 0
    failures: dict[str, int] = Field(default={})
    spend: Spend
    sha256: str


def make_chains(
    recipe: Recipe,
    data: Path,
    folder: Path,
    *,
    environ: Mapping[str, str],
    watch: Watch | None = None,
    restart: bool = False,
) -> ChainReport:
    """Write the chains of the examples in `data` into `folder`, going on from the replies in its journal.

    `environ` holds the keys of the endpoints under the names that the recipe gives. Raises RecipeError; Refused where the
    budget is spent or the journal is another recipe's; EngineUnreachable where an oracle is gone, or more examples than
    `may_lack` got no answer. All replies stay in the journal.
    """
    if recipe.world:
        chains, failed = generated_chains(recipe, recipe.fence_key)
        problems = {"first": failed} if failed else {}
        return _write(folder, chains, made_from=recipe.digest, examples=recipe.world.chains, problems=problems, spend=Spend())
    oracle = _oracle(recipe)
    examples = list(read_examples(data / "distill.jsonl"))
    examiner = examiner_of(recipe)
    with open_journal(recipe, data, folder, restart=restart) as journal:
        tally = asyncio.run(_ask_oracles(oracle, examiner, examples, journal, environ, watch or (lambda _: None)))
        report = finish(recipe, data, folder, journal, tally.failures)
    unanswered = f"{report.unanswered:,} of {report.examples:,} examples got no answer"
    if tally.capped:
        raise Refused(
            f"oracle: {report.spend.tokens:,} tokens and ${report.spend.usd:,.2f} are spent, and the rest of the budget may be "
            f"less than one more request costs; {unanswered}. Raise oracle.max_usd or max_tokens_total and run again"
        )
    if report.unanswered > oracle.may_lack * report.examples:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in tally.failures.most_common())
        raise EngineUnreachable(
            f"oracle: {unanswered} ({kinds}); run again to ask for them, or raise oracle.may_lack to do without them"
        )
    return report


def _oracle(recipe: Recipe) -> Oracle:
    if recipe.oracle is None:
        raise RecipeError(f"{recipe.name}: [oracle] is missing: it names the models that write the chains")
    return recipe.oracle


def examiner_of(recipe: Recipe) -> Examiner:
    """The examiner of `recipe`'s oracles."""
    return Examiner(_oracle(recipe), load_pack(recipe.prompts), recipe.fence_key, recipe.seed)


def open_journal(recipe: Recipe, data: Path, folder: Path, *, restart: bool = False) -> OracleJournal:
    """The journal of `recipe`'s oracles in `folder`. With `restart` it starts empty. Raises Refused."""
    path = folder / "journal.jsonl"
    if restart:
        path.unlink(missing_ok=True)
    return OracleJournal(path, made_from(recipe, data), _oracle(recipe))


def made_from(recipe: Recipe, data: Path) -> str:
    """A name for what the replies depend on: examples, prompts, the first model and sampling.

    Prices, budgets and addresses may change. So may the second model, as the keys of its replies contain it.
    """
    oracle = _oracle(recipe)
    try:
        examples = hashlib.sha256((data / "distill.jsonl").read_bytes()).hexdigest()
    except FileNotFoundError:
        raise RecipeError(f"{data / 'distill.jsonl'}: there is no such data; make it by `reasrm data mix`") from None
    sampling = [oracle.temperature, oracle.max_tokens, recipe.seed]
    content = [examples, load_pack(recipe.prompts).digest, CORRECTION, oracle.first.writer, sampling]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def finish(
    recipe: Recipe, data: Path, folder: Path, journal: OracleJournal, failures: Mapping[str, int] | None = None
) -> ChainReport:
    """Write the chains of the journal's replies, and the report, which includes the `failures` on the way to them."""
    examiner = examiner_of(recipe)
    chains: list[Chain] = []
    problems: dict[str, Counter[str]] = {"first": Counter(), "second": Counter()}
    count = unanswered = 0
    for example in read_examples(data / "distill.jsonl"):
        count += 1
        unanswered += bool(examiner.open_requests(example, journal.replies))
        if chain := examiner.chain(example, journal.replies):
            chains.append(chain)
        for request in examiner.every_request(example):
            reply = journal.replies.get(request.key)
            if reply and (problem := examiner.problem(request, reply)):
                problems[request.step][problem] += 1
    by_pass = {step: dict(sorted(counts.items())) for step, counts in problems.items() if counts}
    return _write(
        folder,
        chains,
        made_from=journal.belongs_to,
        examples=count,
        problems=by_pass,
        unanswered=unanswered,
        failures=dict(failures or {}),
        spend=journal.spend,
    )


def _write(folder: Path, chains: Sequence[Chain], **facts: Any) -> ChainReport:
    """Write `chains` and their report. `facts` are the fields of the report that do not follow from the chains."""
    lines = "".join(chain.model_dump_json(exclude_defaults=True) + "\n" for chain in chains)
    rated = [chain.both_orders for chain in chains if chain.both_orders is not None]
    report = ChainReport(
        kept=dict(Counter(chain.oracle for chain in chains)),
        both_orders=sum(rated) if rated else None,
        sha256=write_whole(folder / "chains.jsonl", lines.encode()),
        **facts,
    )
    write_whole(folder / "manifest.json", (report.model_dump_json(indent=2) + "\n").encode())
    return report


def read_chains(path: Path) -> Iterator[Chain]:
    """Read a file of chains. Raises RecipeError where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from (Chain.model_validate_json(line) for line in file)
    except FileNotFoundError:
        raise RecipeError(f"{path}: there are no such chains; make them by `reasrm data distill`") from None


async def _ask_oracles(
    oracle: Oracle,
    examiner: Examiner,
    examples: Sequence[PreferenceExample],
    journal: OracleJournal,
    environ: Mapping[str, str],
    watch: Watch,
) -> OracleProgress:
    from reasrm.engine import EngineInfo, HttpEngine

    stamina.instrumentation.set_on_retry_hooks([])  # they print a line per retry; the report counts retries instead
    async with AsyncExitStack() as stack:
        engines: dict[Pass, Completer] = {}
        passes: tuple[tuple[Pass, Endpoint | None], ...] = (("first", oracle.first), ("second", oracle.second))
        for step, endpoint in passes:
            if endpoint is None or not any(examiner.open_requests(example, journal.replies) for example in examples):
                continue
            engine = HttpEngine(
                endpoint.url,
                model=endpoint.model,
                api_key=_api_key(endpoint, environ),
                timeout_s=endpoint.timeout_s,
                retries=0,  # OracleClient makes, counts and bounds them
                logprobs=False,
                connections=endpoint.concurrency,
                body=endpoint.overlay,
                info=None if endpoint.listed else EngineInfo(endpoint.model),
            )
            await stack.enter_async_context(engine)
            patient = stamina.AsyncRetryingCaller(attempts=oracle.attempts, timeout=None, wait_initial=0.5, wait_max=30.0)
            # So that a wrong address, key or model is reported at once, before the first example.
            await patient.on(lambda error: isinstance(error, EngineBusy) and pause(error))(engine.info)
            engines[step] = engine
        return await OracleClient(examiner, journal, engines, watch).run(examples)


def _api_key(endpoint: Endpoint, environ: Mapping[str, str]) -> str | None:
    if endpoint.api_key_env and not environ.get(endpoint.api_key_env):
        raise RecipeError(f"oracle: the environment variable {endpoint.api_key_env} is not set; it holds {endpoint.url}'s key")
    return environ.get(endpoint.api_key_env) or None

"""The data of a run: sources that are read, sampled, cleaned and mixed, or tasks that are generated. Both give the same folder:

    distill.jsonl   examples that get a chain
    rlvr.jsonl      examples with a label only
    heldout.jsonl   examples to measure on; none of their questions stands in the other two files
    manifest.json   where the rows come from, how many each rule dropped, digests, the seed

The same recipe over the same sources gives the same bytes. Random orders are those of a hash of the seed, so that they depend
on no library's generator.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from reasrm.errors import RecipeError
from reasrm.prompts import load_pack
from reasrm.types import Frozen
from reasrm_training.config.data import Source
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.drops import DropRules, TokenCounter
from reasrm_training.data.examples import PARTS, Part, PreferenceExample, folded, text_of, write_examples
from reasrm_training.data.files import write_whole
from reasrm_training.data.from_world import generated_examples
from reasrm_training.data.sources import OnRows, read_source


class SourceReport(Frozen):
    """The fate of a source's rows. `dropped` counts them by the rule, or by the reason why a row could not be used.

    `kept` rows are in the folder; `winner_a` of these have the better response on side A. `first_error` names the file, the row
    and the fault of the first row that could not be read; empty where all could.
    """

    name: str
    path: str
    schema_: str = Field(alias="schema")
    rows: int
    looked_at: int
    dropped: dict[str, int]
    first_error: str = ""
    kept: int
    winner_a: int
    sha256: str


class PartReport(Frozen):
    """One file of the folder."""

    rows: int
    winner_a: int
    sha256: str


class DataManifest(Frozen):
    """How a data folder was made. `made_from` names everything that decided it, except the rows of hub sources."""

    made_from: str
    seed: int
    prompts: str
    question_in_heldout: int = 0  # rows left out of training because a held-out row asks the same
    sources: tuple[SourceReport, ...]
    parts: dict[Part, PartReport]


#: Gives a function that counts tokens with a recipe's tokenizer. It is called only where a rule counts tokens.
Counting = Callable[[Recipe], TokenCounter]


def make_data(recipe: Recipe, folder: Path, counting: Counting, *, on_rows: OnRows | None = None) -> DataManifest:
    """Write the data folder of `recipe`, or find it there, made from the same and whole.

    Raises RecipeError (a source, a column or a part is wrong or empty, the disk is too small) and SchemaError, before anything
    is written.
    """
    if manifest := finished(recipe, folder):
        return manifest
    if recipe.world:
        return _write(recipe, folder, {part: generated_examples(recipe, part) for part in PARTS}, [])
    return _write(recipe, folder, *_mixed(recipe, counting, on_rows or (lambda *_: None)))


def made_from(recipe: Recipe) -> str:
    """Sixteen hex digits that name what decides the data: local files' contents are part of it, the learning rate is not."""
    model = recipe.model.model_dump(mode="json", include={"path", "revision"})
    if recipe.model.scratch and recipe.data:  # its tokenizer counts the tokens of prompts
        model["vocab_size"] = recipe.model.scratch.vocab_size
    source = (recipe.data or recipe.world or recipe).model_dump(mode="json", by_alias=True)
    paths = [source.path for source in recipe.data.sources] + list(recipe.data.benchmarks) if recipe.data else []
    files = {path: _contents(Path(path)) for path in paths}
    content = [source, recipe.seed, load_pack(recipe.prompts).digest, model, files]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _contents(path: Path) -> list[str]:
    """The digests of a file, or of all files in a folder. A hub id has none."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path] if path.is_file() else []
    digests: list[str] = []
    for file_path in files:
        with file_path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests


def finished(recipe: Recipe, folder: Path) -> DataManifest | None:
    """The manifest of `folder` if it was made from this recipe and no file has changed since."""
    try:
        manifest = DataManifest.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))
        whole = all(
            hashlib.sha256((folder / f"{part}.jsonl").read_bytes()).hexdigest() == report.sha256
            for part, report in manifest.parts.items()
        )
    except (FileNotFoundError, ValidationError):
        return None
    return manifest if whole and manifest.made_from == made_from(recipe) else None


def seeded(seed: int, name: str, items: Sequence[Any]) -> list[Any]:
    """`items` in the order of a hash of seed, name and position: a shuffle that is the same on every machine."""

    def rank(index: int) -> bytes:
        return hashlib.blake2b(f"{seed}\0{name}\0{index}".encode(), digest_size=16).digest()

    return [items[index] for index in sorted(range(len(items)), key=rank)]


def _write(recipe: Recipe, folder: Path, parts: dict[Part, list[PreferenceExample]], sources: list[SourceReport]) -> DataManifest:
    for part, examples in parts.items():
        if not examples and wants(recipe, part):
            raise RecipeError(f"data: nothing is left for the {part} part; sample more rows or drop fewer")
    (folder / "manifest.json").unlink(missing_ok=True)  # it is written last, as a sign that the rest is whole
    written: dict[Part, PartReport] = {}
    for part, examples in parts.items():
        sha256 = write_examples(folder / f"{part}.jsonl", examples)
        written[part] = PartReport(rows=len(examples), winner_a=_on_a(examples), sha256=sha256)
    everything = [example for examples in parts.values() for example in examples]
    before = sum(report.kept for report in sources) or len(everything)
    manifest = DataManifest(
        made_from=made_from(recipe),
        seed=recipe.seed,
        prompts=load_pack(recipe.prompts).digest,
        question_in_heldout=before - len(everything),
        sources=tuple(_counted(report, [e for e in everything if e.source == report.name]) for report in sources),
        parts=written,
    )
    write_whole(folder / "manifest.json", (manifest.model_dump_json(indent=2, by_alias=True) + "\n").encode())
    return manifest


def _counted(report: SourceReport, kept: Sequence[PreferenceExample]) -> SourceReport:
    """`report` with the counts of its rows in the folder. Rows that share a question with a held-out row are no longer there."""
    return report.model_copy(update={"kept": len(kept), "winner_a": _on_a(kept)})


def _on_a(examples: Iterable[PreferenceExample]) -> int:
    return sum(example.winner == "A" for example in examples)


def wants(recipe: Recipe, part: Part) -> bool:
    """Whether a stage of `recipe` needs rows in `part`."""
    stages = {"distill": recipe.distill, "rlvr": recipe.rlvr, "heldout": recipe.evaluate}
    return stages[part] is not None


def _mixed(recipe: Recipe, counting: Counting, on_rows: OnRows) -> tuple[dict[Part, list[PreferenceExample]], list[SourceReport]]:
    data = recipe.data
    if data is None:
        raise RecipeError(f"{recipe.name}: has no [data]")
    count_tokens = counting(recipe) if any("too_long" in source.drop for source in data.sources) else None
    drops = DropRules(data, load_pack(recipe.prompts), recipe.fence_key, count_tokens)
    kept: list[PreferenceExample] = []
    reports: list[SourceReport] = []
    for source in data.sources:
        examples, report = _from_source(source, recipe.seed, drops, on_rows)
        kept.extend(examples)
        reports.append(report)
    parts = _parted(seeded(recipe.seed, "mix", kept), data.heldout, data.distill)
    return _balanced(parts), reports


def _from_source(source: Source, seed: int, drops: DropRules, on_rows: OnRows) -> tuple[list[PreferenceExample], SourceReport]:
    """The first `sample` rows, in a seeded order, that no rule of the source drops."""
    rows = read_source(source, on_rows)
    dropped: Counter[str] = Counter(rows.unusable)
    kept: list[PreferenceExample] = []
    looked_at = 0
    limit = source.sample or len(rows.examples)
    for example in seeded(seed, source.label, rows.examples):
        if len(kept) == limit:
            break
        looked_at += 1
        rule = drops.rule_against(example, source.drop)
        if rule is None:
            kept.append(example)
        else:
            dropped[rule] += 1
        if looked_at % 200 == 0:
            on_rows(f"{source.label}: cleaning", looked_at, len(rows.examples))
    if not kept:
        example = f" ({rows.first_error})" if rows.first_error else ""
        raise RecipeError(f"{source.path}: no row is left of {rows.count}; dropped: {_counts(dropped)}{example}")
    report = SourceReport(
        name=source.label,
        path=source.path,
        schema=rows.schema,
        rows=rows.count,
        looked_at=looked_at,
        dropped=dict(sorted(dropped.items())),
        first_error=rows.first_error,
        kept=len(kept),
        winner_a=0,
        sha256=rows.sha256,
    )
    return kept, report


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _parted(examples: list[PreferenceExample], heldout: int, distill: int) -> dict[Part, list[PreferenceExample]]:
    """Held-out rows first. The other rows share no question with them."""
    if len(examples) < heldout + distill:
        raise RecipeError(f"data: {len(examples)} rows are left, fewer than heldout ({heldout}) and distill ({distill}) ask for")
    heldout_rows, rest = examples[:heldout], examples[heldout:]
    questions = {question_key(example) for example in heldout_rows}
    rest = [example for example in rest if question_key(example) not in questions]
    return {"distill": rest[:distill], "rlvr": rest[distill:], "heldout": heldout_rows}


def question_key(example: PreferenceExample) -> str:
    """A text that is equal for examples that ask the same."""
    return folded(text_of(example.question))


def _balanced(parts: dict[Part, list[PreferenceExample]]) -> dict[Part, list[PreferenceExample]]:
    """The better response stands on side A and B in turn, source by source, both overall and within each part."""
    seen: Counter[str] = Counter()
    out: dict[Part, list[PreferenceExample]] = {}
    for part in PARTS:
        out[part] = []
        for example in parts[part]:
            out[part].append(example.with_winner("A" if seen[example.source] % 2 == 0 else "B"))
            seen[example.source] += 1
    return out

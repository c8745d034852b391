"""muse: news or a novel that a model was trained on: passages it recites, questions it answers, and whether it shows.

Source: Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", arXiv:2407.06460, swj0419/muse_bench at
    fcd6651; metrics of OpenUnlearning (arXiv:2506.12618), locuslab/open-unlearning at d3d7cf9.
Deviations: by profile, see docs/muse.md. A prompt that is too long is refused instead of cut; privacy leakage is read against
    the comparison's reference, never against a table of constants. Scalability and sustainability are series of comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import PositiveInt

from unlearnbench.api import (
    Answered,
    AnswerReading,
    Benchmark,
    BenchmarkSpec,
    Half,
    ItemResult,
    Measure,
    Metric,
    Subject,
    Table,
    UsageError,
    Workload,
    content_hash,
    encode_prompts,
    first_of_each_part,
    hookimpl,
    in_half,
    parse_source,
    read_table,
    rouge,
)
from unlearnbench_benchmarks.openunlearning.attacks import attack_measures
from unlearnbench_benchmarks.openunlearning.evaluation import read_all, write_answers
from unlearnbench_benchmarks.openunlearning.ids import ids_of
from unlearnbench_benchmarks.openunlearning.item_values import Values, finite, loss_of, token_values
from unlearnbench_benchmarks.openunlearning.profiles import MUSE, Name
from unlearnbench_benchmarks.openunlearning.templates import Completion, Template, TemplateName, encode_completion

VERBATIM, ASKED, ASKED_KEPT = "verbmem", "knowmem-forget", "knowmem-retain"
MEMBERS, HOLDOUT = "privleak-forget", "privleak-holdout"
Config = Literal["verbmem", "knowmem", "privleak"]
CONFIGS: tuple[Config, ...] = ("verbmem", "knowmem", "privleak")
PARTS: Mapping[Config, Mapping[str, tuple[str, ...]]] = {
    "verbmem": {VERBATIM: ("forget",)},
    "knowmem": {ASKED: ("forget_qa",), ASKED_KEPT: ("retain_qa", "retain2_qa")},
    "privleak": {MEMBERS: ("forget",), HOLDOUT: ("holdout",)},
}
"""Config of the data set -> its parts, each with the names that its split has had."""
COLUMNS: Mapping[Config, tuple[str, ...]] = {
    "verbmem": ("prompt", "gt"),
    "knowmem": ("question", "answer"),
    "privleak": ("text",),
}
STOPS = ("\n\n", "\nQuestion", "Question:")
VERBATIM_TOKENS, ANSWER_TOKENS = 128, 32
CUT = 128  # tokens of a reference with the beginning token, in MUSE's own code


@dataclass(frozen=True)
class Item:
    """One thing that is asked.

    Attributes:
        id: id of the item: its part, and a hash of what is asked.
        part: part of the benchmark.
        asked: passage before the one to recite, question, or nothing.
        wanted: passage to recite, answer, or text whose membership is asked.
    """

    id: str
    part: str
    asked: str
    wanted: str


class Muse(Benchmark):
    """MUSE with every metric that OpenUnlearning computes from one model's losses and answers.

    Args:
        source: data set in the schema of muse-bench/MUSE-News or muse-bench/MUSE-Books, or a folder with its files, such as
            knowmem/forget_qa.jsonl.
        configs: configs that are asked: verbmem, knowmem, privleak; None asks all.
        profile: profile: `openunlearning`, `original` (the authors' own code) or `clean` (with known defects repaired).
        template: way to ask questions; plain tags, unless the model was taught through a chat template.
        max_length: largest length of a passage that is read, in tokens.
        gradnorm: true attacks membership by gradients, too, which takes a backward pass for each text.
    """

    def __init__(
        self,
        *,
        source: str = "muse-bench/MUSE-News",
        configs: list[Config] | None = None,
        profile: Name = "openunlearning",
        template: TemplateName = "question-answer",
        max_length: PositiveInt = 2048,
        gradnorm: bool = False,
    ) -> None:
        self.source, self.configs, self.max_length = source, tuple(configs or CONFIGS), max_length
        self.profile, self.template = MUSE[profile], Template(name=template)
        self.gradnorm = gradnorm
        self._half: Half | None = None
        self._revision: str | None = None

    @property
    def metric(self) -> Metric:
        return Metric(name="ROUGE-L F1", role="forget", chance=0.0)

    def _table(self, config: Config, splits: Sequence[str], columns: Sequence[str]) -> Table:
        """Read a split, whatever it is called: a file of a folder, or a split of a data set.

        Raises:
            UsageError: there is none of these names.
        """
        folder = parse_source(self.source).path
        if folder is not None:
            files = [folder / config / f"{split}{ending}" for split in splits for ending in (".jsonl", ".json", ".parquet")]
            if found := next((file for file in files if file.is_file()), None):
                return read_table(str(found), columns=columns)
            raise UsageError(
                f"MUSE's {config} is read from {files[0]}, which is not there; --set muse.configs=[...] asks others alone "
                f"({', '.join(CONFIGS)})."
            )
        for split in splits[:-1]:
            try:
                return read_table(f"{self.source}:{config}#{split}", columns=columns)
            except UsageError:
                continue  # another revision calls it otherwise
        return read_table(f"{self.source}:{config}#{splits[-1]}", columns=columns)

    @cached_property
    def items(self) -> Sequence[Item]:
        """Return all items, or a half of them; read when they are needed."""
        found: list[Item] = []
        for config in self.configs:
            *asked, wanted = COLUMNS[config]
            for part, splits in PARTS[config].items():
                table = self._table(config, splits, COLUMNS[config])
                self._revision = table.revision
                whole = [table.text(index, wanted) for index in range(len(table.rows))]
                first = [table.text(index, asked[0]) for index in range(len(table.rows))] if asked else [""] * len(whole)
                names = ids_of(part, first if asked else whole)
                found += [Item(*entry) for entry in zip(names, [part] * len(whole), first, whole, strict=True)]
        return in_half(found, self._half, lambda item: item.id)

    @cached_property
    def examples(self) -> Mapping[str, list[tuple[str, str]]]:
        """Return the questions and answers that come before those of each part."""
        found: dict[str, list[tuple[str, str]]] = {}
        for part, splits in PARTS["knowmem"].items() if "knowmem" in self.configs else ():
            table = self._table("knowmem", [f"{split}_icl" for split in splits], COLUMNS["knowmem"])
            found[part] = [(table.text(i, "question"), table.text(i, "answer")) for i in range(len(table.rows))]
        return found

    def keep_half(self, half: Half) -> bool:
        self._half = half
        return True

    def parts(self) -> list[str]:
        return [part for config in self.configs for part in PARTS[config]]

    def measures(self) -> Sequence[Measure]:
        """Return OpenUnlearning's metrics under its names; what is recited and what is answered count in F and K."""
        found: list[Measure] = []
        overlap = Metric(name="ROUGE-L F1", role="forget", chance=0.0)
        kept = Metric(name="ROUGE-L F1", role="retain", chance=0.0)
        if "verbmem" in self.configs:
            found.append(_mean("forget_verbmem_ROUGE", overlap, VERBATIM, of="rougeL_f1", primary=True))
        if "knowmem" in self.configs:
            found.append(_mean("forget_knowmem_ROUGE", overlap, ASKED, of="rougeL_f1", primary=True))
            found.append(_mean("retain_knowmem_ROUGE", kept, ASKED_KEPT, of="rougeL_f1", primary=True))
        if "verbmem" in self.configs:
            for name, title in (("exact_memorization", "exact memorization"), ("extraction_strength", "extraction strength")):
                found.append(_mean(name, Metric(name=title, role="forget", chance=0.0), VERBATIM))
        if "privleak" in self.configs:
            found += attack_measures(MEMBERS, HOLDOUT, gradnorm=self.gradnorm)
        return found

    def digest(self) -> str:
        asked = [[asdict(item) for item in self.items], self.examples, asdict(self.profile), self.template.settings()]
        return content_hash([*asked, self.max_length, self.gradnorm, VERBATIM_TOKENS, ANSWER_TOKENS, STOPS])

    def count(self, limit: int | None) -> int:
        return len(first_of_each_part(self.items, limit))

    def revision(self) -> str | None:
        return self._revision

    def preflight(self, tokenizers: Mapping[str, Any]) -> Iterable[str]:
        for source, tokenizer in tokenizers.items():
            if problem := self.template.problem(tokenizer):
                yield f"muse cannot be asked of {source}: {problem}"

    def estimate(self, limit: int | None) -> Workload:
        items = first_of_each_part(self.items, limit)
        new = {VERBATIM: VERBATIM_TOKENS, ASKED: ANSWER_TOKENS, ASKED_KEPT: ANSWER_TOKENS}
        return Workload(items=len(items), generated=sum(new.get(item.part, 0) for item in items))

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        items = list(first_of_each_part(self.items, subject.limit))
        found: dict[str, Values] = {item.id: {} for item in items}
        self._write([item for item in items if item.part == VERBATIM], subject, found, VERBATIM_TOKENS, ())
        self._write([item for item in items if item.part in (ASKED, ASKED_KEPT)], subject, found, ANSWER_TOKENS, STOPS)
        read = [item for item in items if item.part in (VERBATIM, MEMBERS, HOLDOUT)]
        texts = [self._passage(item, subject) for item in read]

        def values_of(number: int, readings: Sequence[AnswerReading]) -> None:
            item, (answered,) = read[number], texts[number]
            text = str(subject.tokenizer.decode(answered.ids[answered.start :], skip_special_tokens=True))
            loss = loss_of(readings[0])
            found[item.id] |= finite({"avg_loss": loss, "prob": math.exp(-loss)})
            found[item.id] |= token_values(readings[0], text, self.profile)

        moments = "privleak" in self.configs
        read_all(subject, texts, [item.id for item in read], self.profile, moments=moments, values_of=values_of)
        if self.gradnorm and moments:
            self._attack_by_gradients(read, [answered for (answered,) in texts], subject, found)
        lengths = {item.id: len(answered.ids) for item, (answered,) in zip(read, texts, strict=True)}
        return [_result(item, found[item.id], lengths.get(item.id, 0)) for item in items]

    def _write(
        self, items: Sequence[Item], subject: Subject, found: Mapping[str, Values], tokens: int, stops: Sequence[str]
    ) -> None:
        """Have the model continue passages or answer questions, and compare with what is wanted."""
        tokenizer = subject.tokenizer
        passages = encode_prompts([item.asked for item in items if item.part == VERBATIM], tokenizer)
        questions = [
            self.template.prompt(item.asked, tokenizer, self.examples[item.part]) for item in items if item.part != VERBATIM
        ]
        longest = getattr(subject.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        for item, prompt in zip(items, [*passages, *questions], strict=True):
            if isinstance(longest, int) and len(prompt) + tokens > longest:
                asked = f"The prompt of {item.id} has {len(prompt)} tokens and its answer up to {tokens}"
                raise UsageError(f"{asked}, and the model reads {longest}; --set muse.configs=[...] leaves its config out.")
        for item, written in zip(
            items, write_answers(subject, [*passages, *questions], self.profile, tokens=tokens, stops=stops), strict=True
        ):
            wanted = item.wanted
            if self.profile.cut and item.part == VERBATIM:
                wanted = str(tokenizer.decode(encode_prompts([wanted], tokenizer)[0][:CUT], skip_special_tokens=True))
            overlap = rouge(wanted, written, stemmed=self.profile.stemmed)
            values = {"rougeL_f1": overlap.f1, "rougeL_recall": overlap.recall, "rouge1_recall": overlap.rouge1_recall}
            found[item.id].update(values)
            if item.part != VERBATIM:
                subject.progress(1)

    def _attack_by_gradients(
        self, read: Sequence[Item], texts: Sequence[Answered], subject: Subject, found: Mapping[str, Values]
    ) -> None:
        from unlearnbench_benchmarks.openunlearning.gradients import gradient_norms  # torch: not needed to list or plan

        attacked = [(item, text) for item, text in zip(read, texts, strict=True) if item.part in (MEMBERS, HOLDOUT)]
        norms = gradient_norms(subject, [text for _, text in attacked], self.profile)
        for (item, _), norm in zip(attacked, norms, strict=True):
            found[item.id].update(finite({"mia_gradnorm": norm}))

    def _passage(self, item: Item, subject: Subject) -> list[Answered]:
        completion = Completion(item.asked, item.wanted)
        return [encode_completion(completion, subject.tokenizer, self.profile, longest=self.max_length)]


def _mean(name: str, metric: Metric, part: str, *, of: str = "", primary: bool = False) -> Measure:
    return Measure(name=name, of=of, metric=metric, parts=[part], primary=primary)


def _result(item: Item, values: Values, tokens: int) -> ItemResult:
    """Return an item's result, without passage and answer: others have rights in them."""
    score = values.get("rougeL_f1", values.get("prob", math.nan))
    error = "" if math.isfinite(score) else "the text has no token that counts"
    return ItemResult(id=item.id, part=item.part, score=score, tokens=tokens, values=values, error=error)


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    summary = "news or a novel: passages recited, questions answered, membership"
    return [BenchmarkSpec(name="muse", factory=Muse, summary=summary, source="arXiv:2407.06460, muse-bench/MUSE-News")]

"""tofu: two hundred invented authors, twenty questions each; what of those to be forgotten is left, and of the others kept.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", arXiv:2401.06121, locuslab/tofu at bdc209e; metrics of
    OpenUnlearning (arXiv:2506.12618), locuslab/open-unlearning at d3d7cf9.
Deviations: by profile, see docs/tofu.md; items are known by their questions, not by their places. The gibberish classifier,
    jailbreak prompts and the attack with a second model are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    ItemText,
    Measure,
    Metric,
    Subject,
    Table,
    UsageError,
    Workload,
    content_hash,
    first_of_each_part,
    hookimpl,
    in_half,
    list_configs,
    read_table,
    repeated_ngrams,
    rouge,
    unknown_name,
)
from unlearnbench_benchmarks.openunlearning.attacks import attack_measures
from unlearnbench_benchmarks.openunlearning.evaluation import read_all, write_answers
from unlearnbench_benchmarks.openunlearning.figures import typical_distance
from unlearnbench_benchmarks.openunlearning.ids import ids_of
from unlearnbench_benchmarks.openunlearning.item_values import Losses, Values, answer_values, finite, loss_of, token_values
from unlearnbench_benchmarks.openunlearning.profiles import TOFU, Name, Profile
from unlearnbench_benchmarks.openunlearning.templates import DATE, SYSTEM, Template, TemplateName

FORGET, RETAIN, AUTHORS, FACTS, HOLDOUT = "forget", "retain", "real-authors", "world-facts", "holdout"
KEPT = {RETAIN: "retain", AUTHORS: "ra", FACTS: "wf"}  # and what OpenUnlearning calls them
SIZES = {"forget01": 40, "forget05": 200, "forget10": 400}
PLAIN_COLUMNS = ("question", "answer")
COLUMNS = (*PLAIN_COLUMNS, "perturbed_answer")
UTILITY = ["utility_prob", "rougeL_recall", "truth_ratio_better"]


@dataclass(frozen=True)
class Item:
    """A question with its answers.

    Attributes:
        id: id of the item: its part, and a hash of its question.
        part: part of the benchmark.
        question: question.
        answer: answer.
        paraphrase: another wording of the answer; empty where there is none.
        wrong: false answers.
    """

    id: str
    part: str
    question: str
    answer: str
    paraphrase: str = ""
    wrong: tuple[str, ...] = ()


class Tofu(Benchmark):
    """TOFU with every metric that OpenUnlearning computes from one model's losses and answers.

    Args:
        source: data set in the schema of locuslab/TOFU: configs such as forget10_perturbed, columns question, answer,
            paraphrased_answer and perturbed_answer.
        split: forget set: forget01, forget05 or forget10, or the name of your own, whose config is called NAME_perturbed.
        holdout: source of questions that no model was taught, for attacks on membership; None takes the source's own, if it has
            one.
        profile: profile: `openunlearning`, `original` (the authors' own code) or `clean` (with known defects repaired).
        template: way to ask: `chat` or `auto` through the chat template, `question-answer` or `llama-2-chat` with plain tags.
        system: system text of the chat template; empty for none.
        date: date that the chat template is told.
        question_key: column of the question that is asked about what is to be forgotten and retained.
        max_new_tokens: largest length of an answer, in tokens.
        gradnorm: true attacks membership by gradients, too, which takes a backward pass for each item.
    """

    def __init__(
        self,
        *,
        source: str = "locuslab/TOFU",
        split: str = "forget10",
        holdout: str | None = None,
        profile: Name = "openunlearning",
        template: TemplateName = "auto",
        system: str = SYSTEM,
        date: str = DATE,
        question_key: Literal["question", "paraphrased_question"] = "question",
        max_new_tokens: PositiveInt = 200,
        gradnorm: bool = False,
    ) -> None:
        self.source, self.split, self.holdout, self.question_key = source, split, holdout, question_key
        self.profile, self.max_new_tokens = TOFU[profile], max_new_tokens
        plain = profile == "original" and template == "auto"
        self.template = Template(name="question-answer" if plain else template, system=system, date=date)
        self.gradnorm = gradnorm
        self._half: Half | None = None
        self._revision: str | None = None
        if (holdout is not None or gradnorm) and not self.profile.memorization:
            raise UsageError(
                f"profile={profile} has no attacks on membership; leave holdout and gradnorm out, or take another profile."
            )

    @property
    def metric(self) -> Metric:
        return Metric(name="ROUGE-L recall", role="forget", chance=0.0)

    @cached_property
    def items(self) -> Sequence[Item]:
        """Return all items, or a half of them; read when they are needed."""
        configs = list_configs(self.source)
        forget = f"{self.split}_perturbed"
        parts = {FORGET: forget, RETAIN: "retain_perturbed", AUTHORS: "real_authors_perturbed", FACTS: "world_facts_perturbed"}
        found: list[Item] = []
        for part, config in parts.items():
            if config not in configs:
                raise unknown_name(f"config of {self.source}", config, configs, "TOFU's metrics read it.")
            found += self._part(part, read_table(f"{self.source}:{config}", default_split="train", columns=COLUMNS))
        count = sum(item.part == FORGET for item in found)
        if count != SIZES.get(self.split, count):
            raise UsageError(
                f"{self.source}:{forget} has {count} rows, and TOFU's {self.split} has {SIZES[self.split]}; give a set of your "
                "own another name, as in split=mine."
            )
        unseen = self.split.replace("forget", "holdout")
        known = unseen in configs and unseen != self.split
        held_out = self.holdout or (f"{self.source}:{unseen}" if known else None)
        if held_out is not None and self.profile.memorization:
            found += self._part(HOLDOUT, read_table(held_out, default_split="train", columns=PLAIN_COLUMNS))
        elif self.gradnorm:
            raise UsageError(
                f"No holdout, no attack: {self.source} has no config {unseen}, so gradnorm has nothing to compare with; give "
                "--set tofu.holdout=SOURCE, questions that were never taught."
            )
        first = self.profile.first
        if first is not None:
            cut = {FORGET: first, RETAIN: first}
            found = [item for part in parts for item in [i for i in found if i.part == part][: cut.get(part)]]
        return in_half(found, self._half, lambda item: item.id)

    def _part(self, part: str, table: Table) -> list[Item]:
        if part == FORGET:
            self._revision = table.revision
        asked = self.question_key if part in (FORGET, RETAIN) else "question"
        questions = [table.text(index, asked) for index in range(len(table.rows))]
        found: list[Item] = []
        for index, (name, question) in enumerate(zip(ids_of(part, questions), questions, strict=True)):
            item = Item(name, part, question, table.text(index, "answer"))
            if part != HOLDOUT:
                item = replace(item, wrong=tuple(table.texts(index, "perturbed_answer")))
            if part in (FORGET, RETAIN):
                item = replace(item, paraphrase=table.text(index, "paraphrased_answer"))
            found.append(item)
        return found

    def keep_half(self, half: Half) -> bool:
        self._half = half
        return True

    def parts(self) -> list[str]:
        return list(dict.fromkeys(item.part for item in self.items))

    def measures(self) -> Sequence[Measure]:
        """Return OpenUnlearning's metrics under its names; forget quality and what of each part is kept count in F and K."""
        count = sum(item.part == FORGET for item in self.items)
        return measures_of(self.profile, count, attacks=HOLDOUT in self.parts(), gradnorm=self.gradnorm)

    def digest(self) -> str:
        items = [[asdict(item)] for item in self.items]
        return content_hash([items, asdict(self.profile), self.template.settings(), self.max_new_tokens, self.gradnorm])

    def count(self, limit: int | None) -> int:
        return len(first_of_each_part(self.items, limit))

    def revision(self) -> str | None:
        return self._revision

    def texts(self) -> Iterable[ItemText]:
        return [ItemText(id=item.id, text=item.question, reference=item.answer) for item in self.items]

    def preflight(self, tokenizers: Mapping[str, Any]) -> Iterable[str]:
        for source, tokenizer in tokenizers.items():
            if problem := self.template.problem(tokenizer):
                yield f"tofu cannot be asked of {source}: {problem}"

    def estimate(self, limit: int | None) -> Workload:
        items = first_of_each_part(self.items, limit)
        return Workload(items=len(items), generated=self.max_new_tokens * sum(item.part != HOLDOUT for item in items))

    def figures(self, items: Sequence[ItemResult]) -> dict[str, float]:
        """Return how repetitive the answers on the forget set are."""
        shares = [share for item in items if item.part == FORGET and (share := repeated_ngrams(item.text)) is not None]
        return {"repeated_4grams": sum(shares) / len(shares)} if shares else {}

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        items = list(first_of_each_part(self.items, subject.limit))
        asked = [item for item in items if item.part != HOLDOUT]
        prompts = [self.template.prompt(item.question, subject.tokenizer) for item in asked]
        written = write_answers(subject, prompts, self.profile, tokens=self.max_new_tokens)
        answers = dict(zip((item.id for item in asked), written, strict=True))
        texts = [self._texts(item, subject) for item in items]
        found: list[Values] = [{} for _ in items]

        def values_of(number: int, readings: Sequence[AnswerReading]) -> None:
            found[number] = self._values(items[number], readings)

        moments = HOLDOUT in self.parts()
        read_all(subject, texts, [item.id for item in items], self.profile, moments=moments, values_of=values_of)
        if self.gradnorm and moments:
            self._attack_by_gradients(items, texts, subject, found)
        return [
            self._result(item, values, answers.get(item.id), max(len(answer.ids) for answer in texts[number]))
            for number, (item, values) in enumerate(zip(items, found, strict=True))
        ]

    def _attack_by_gradients(
        self, items: Sequence[Item], texts: Sequence[Sequence[Answered]], subject: Subject, found: Sequence[Values]
    ) -> None:
        from unlearnbench_benchmarks.openunlearning.gradients import gradient_norms  # torch: not needed to list or plan

        attacked = [number for number, item in enumerate(items) if item.part in (FORGET, HOLDOUT)]
        norms = gradient_norms(subject, [texts[number][0] for number in attacked], self.profile)
        for number, norm in zip(attacked, norms, strict=True):
            found[number].update(finite({"mia_gradnorm": norm}))

    def _texts(self, item: Item, subject: Subject) -> list[Answered]:
        """Return an item's answers in tokens: the true one, its rewording where there is one, the false ones."""
        answers = [item.answer, *([item.paraphrase] if item.paraphrase else []), *item.wrong]
        return [self.template.encode(item.question, answer, subject.tokenizer, self.profile) for answer in answers]

    def _values(self, item: Item, readings: Sequence[AnswerReading]) -> Values:
        losses = [loss_of(reading) for reading in readings]
        first = 2 if item.paraphrase else 1
        of_answers = Losses(losses[0], losses[first - 1], losses[first:])
        values = answer_values(of_answers, self.profile, normalised=item.part in (AUTHORS, FACTS))
        if self.profile.memorization and item.part in (FORGET, HOLDOUT):
            values |= token_values(readings[0], item.answer, self.profile)
        return values

    def _result(self, item: Item, values: Values, written: str | None, tokens: int) -> ItemResult:
        overlap = None if written is None else rouge(item.answer, written, stemmed=self.profile.stemmed)
        if overlap is not None:
            values |= {"rougeL_recall": overlap.recall, "rougeL_f1": overlap.f1, "rouge1_recall": overlap.rouge1_recall}
        score = values.get("prob", math.nan) if overlap is None else overlap.recall
        return ItemResult(
            id=item.id,
            part=item.part,
            score=score,
            tokens=tokens,
            text=written or "",
            question=item.question,
            values=values,
            error="" if math.isfinite(score) else "the answer has no token that counts",
        )


def measures_of(profile: Profile, count: int, *, attacks: bool, gradnorm: bool) -> list[Measure]:
    """Return the measures of a profile.

    Args:
        profile: profile.
        count: number of items of the forget set.
        attacks: True where there is a holdout.
        gradnorm: True attacks by gradients, too.
    """
    attacking = attack_measures(FORGET, HOLDOUT, gradnorm=gradnorm) if attacks else ()
    return [*_quality_measures(count), *_forget_measures(profile), *_retain_measures(), *attacking]


def _quality_measures(count: int) -> Iterable[Measure]:
    """Yield the distance of truth ratios from the reference's, and the p value of that."""
    ideal, note = round(typical_distance(count), 6), f"n={count}"
    distance = Metric(name="KS distance", role="forget", chance=0.0, ideal=ideal, note=note)
    quality = Metric(name="log10 p", role="forget", better="lower", chance=0.0, ideal=0.0, unit="log10", note=note)
    ratios: dict[str, Any] = {"of": "truth_ratio", "parts": [FORGET]}
    yield Measure(name="forget_quality_D", metric=distance, reduction="ks", primary=True, **ratios)
    yield Measure(name="forget_quality_log10_p", metric=quality, reduction="ks-log-p", **ratios)


def _forget_measures(profile: Profile) -> Iterable[Measure]:
    """Yield the means over the forget set."""
    lower = Metric(name="truth ratio", role="forget", better="lower", chance=1.0)
    yield Measure(name="forget_truth_ratio", of="truth_ratio_closer", metric=lower, parts=[FORGET])
    named = {
        "forget_truth_ratio_prob": ("truth_ratio_prob", "P(true)", 0.5),
        "forget_Q_A_Prob": ("prob", "probability", 0.0),
        "forget_Q_A_ROUGE": ("rougeL_recall", "ROUGE-L recall", 0.0),
    }
    if profile.memorization:
        named |= {
            "forget_Q_A_PARA_Prob": ("para_prob", "probability of the paraphrase", 0.0),
            "forget_Q_A_PERT_Prob": ("pert_prob", "probability of false answers", 0.0),
            "exact_memorization": ("exact_memorization", "exact memorization", 0.0),
            "extraction_strength": ("extraction_strength", "extraction strength", 0.0),
        }
    for name, (value, title, chance) in named.items():
        yield Measure(name=name, of=value, metric=Metric(name=title, role="forget", chance=chance), parts=[FORGET])


def _retain_measures() -> Iterable[Measure]:
    """Yield what is kept of each part, model utility, and its nine parts."""
    utility = Metric(name="utility", role="retain", chance=0.0)
    for part, short in KEPT.items():
        yield Measure(name=f"{short}_utility", of=UTILITY, metric=utility, parts=[part], reduction="harmonic", primary=True)
    whole = Metric(name="model utility", role="retain", chance=0.0)
    yield Measure(name="model_utility", of=UTILITY, metric=whole, parts=list(KEPT), reduction="harmonic")
    for part, short in KEPT.items():
        normalised, chance = ("", 0.0) if part == RETAIN else ("_normalised", 0.25)
        named = {
            f"{short}_Q_A_Prob{normalised}": ("utility_prob", "probability", chance),
            f"{short}_Q_A_ROUGE": ("rougeL_recall", "ROUGE-L recall", 0.0),
            f"{short}_Truth_Ratio": ("truth_ratio_better", "truth ratio", 0.0),
        }
        for name, (value, title, level) in named.items():
            yield Measure(name=name, of=value, metric=Metric(name=title, role="retain", chance=level), parts=[part])


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    summary = "invented authors: forget quality, model utility, memorization, membership"
    return [BenchmarkSpec(name="tofu", factory=Tofu, summary=summary, source="arXiv:2401.06121, locuslab/TOFU")]

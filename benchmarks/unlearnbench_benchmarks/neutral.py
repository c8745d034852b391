"""neutral: the likelihood of plain text that no topic is about.

Source: own text, own measures. Compression in bits per byte as in Gao et al. (2020), arXiv:2101.00027, section 3.1;
    divergence after Lin (1991), IEEE Transactions on Information Theory 37.
Deviations: none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from unlearnbench.api import (
    Benchmark,
    BenchmarkSpec,
    Half,
    ItemResult,
    ItemText,
    Measure,
    Metric,
    Subject,
    content_hash,
    hookimpl,
    in_half,
    read_table,
)

OWN_TEXT = Path(__file__).with_name("neutral.txt")
PART = "text"
LIKELIEST = 64  # tokens of the base's distribution that are kept at each place; the others are one outcome together


class Paragraph(NamedTuple):
    """One text of the benchmark.

    Attributes:
        id: id of the item.
        part: part of the benchmark, always `text`.
        text: the text.
    """

    id: str
    part: str
    text: str


def _id_of(paragraph: Paragraph) -> str:
    return paragraph.id


class Neutral(Benchmark):
    """Plain text: twenty paragraphs on everyday matters, or your own texts.

    One pass gives two measures: `bits_per_byte`, the negative log-likelihood in a unit that does not depend on the
    tokenizer, and `divergence`, the Jensen-Shannon divergence between the next-token distributions of the base model and of the
    scored one, in bits: 0 where they agree, 1 where they have nothing in common.

    Args:
        source: data set with the column `text`, one item each; by default the text that comes with unlearnbench.
    """

    reads_base = True

    def __init__(self, *, source: str | None = None) -> None:
        self.source = source
        self._half: Half | None = None

    @cached_property
    def _texts(self) -> Sequence[Paragraph]:
        if self.source is None:
            found = OWN_TEXT.read_text(encoding="utf-8").strip().split("\n\n")
        else:
            table = read_table(self.source, columns=("text",))
            found = [table.text(index, "text") for index in range(len(table.rows))]
        return in_half([Paragraph(f"{PART}/{number}", PART, text) for number, text in enumerate(found)], self._half, _id_of)

    @property
    def metric(self) -> Metric:
        """Bits per byte; chance is the score of a model that knows only how frequent each byte of these texts is."""
        counts = Counter(byte for item in self._texts for byte in item.text.encode())
        total = counts.total()
        entropy = -sum(count / total * math.log2(count / total) for count in counts.values())
        return Metric(name="bits per byte", role="retain", better="lower", chance=round(entropy, 6), unit="bits")

    def measures(self) -> Sequence[Measure]:
        apart = Metric(name="divergence from the base", role="retain", better="lower", chance=1.0, unit="bits")
        return [
            Measure(name="bits_per_byte", metric=self.metric, primary=True),
            Measure(name="divergence", metric=apart),
        ]

    def digest(self) -> str:
        return content_hash([item.text for item in self._texts])

    def count(self, limit: int | None) -> int:
        return len(self._texts[:limit])

    def parts(self) -> list[str]:
        return [PART]

    def keep_half(self, half: Half) -> bool:
        self._half = half
        return True

    def texts(self) -> Iterable[ItemText]:
        return [ItemText(id=paragraph.id, text=paragraph.text) for paragraph in self._texts]

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        from unlearnbench.api import base_predictions, read_texts  # torch: not needed to list or plan

        asked = [item.text for item in self._texts]
        base = base_predictions(subject, asked, LIKELIEST)
        readings = read_texts(subject.model, subject.tokenizer, asked[: subject.limit])
        for number, (item, reading) in enumerate(zip(self._texts, readings, strict=False)):
            read = str(subject.tokenizer.decode(reading.tokens, skip_special_tokens=True))
            values = {"bits_per_byte": float(reading.nll().sum()) / math.log(2) / len(read.encode())}
            if base is not None and base[number].tokens.equal(reading.tokens):  # a checkpoint may have another tokenizer
                values["divergence"] = float(base[number].divergence(reading).mean())
            subject.progress(1)
            yield ItemResult(
                id=item.id,
                part=PART,
                score=values["bits_per_byte"],
                tokens=len(reading.tokens) + 1,
                truncated=reading.truncated,
                values=values,
            )


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [BenchmarkSpec(name="neutral", factory=Neutral, summary="plain text: bits per byte, divergence", source="own text")]

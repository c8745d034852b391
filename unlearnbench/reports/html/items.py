"""Every model's answer to every item, packed so that twenty rows of 17,000 items fit into a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearnbench.records.cells import CellResult
from unlearnbench.records.items import ItemText
from unlearnbench.records.manifest import BASELINE, ManifestBenchmark
from unlearnbench.reports.finished import Finished
from unlearnbench.reports.formatting import row_title
from unlearnbench.reports.html.embed import packed, packed_json
from unlearnbench.scoring.choice.prompts import LETTERS

MOST_ANSWERS = 400_000  # of all seeds together; of more, each row shows its first seed
MOST_TEXT = 6_000_000  # characters of written answers in a page
LONGEST_TEXT = 20_000  # characters of one question or answer
STEP = 100  # parts of a nat that log-probabilities are kept to
NOTHING = -(2**15)  # stands for a log-probability that there is none of


@dataclass(frozen=True, kw_only=True)
class Packs:
    """The data of the page's item explorer and its conversations.

    Attributes:
        choices: benchmarks whose items are chosen from options: name and the ids of their packs.
        talks: benchmarks whose items are written answers.
        blobs: JSON of each pack, by its id.
        note: sentence on the seeds that are shown, where not all are.
    """

    choices: list[dict[str, str]]
    talks: list[dict[str, str]]
    blobs: dict[str, str]
    note: str


def pack(finished: Finished) -> Packs:
    """Pack everything that may be shown of the items."""
    choices: list[dict[str, str]] = []
    talks: list[dict[str, str]] = []
    blobs: dict[str, str] = {}
    one_seed = _answers(finished) > MOST_ANSWERS
    for number, head in enumerate(finished.manifest.benchmarks):
        runs = list(_runs(finished, head, one_seed=one_seed))
        if not runs:
            continue
        name = f"pack-{number}"
        items = _Items(head, runs, finished.run.read_texts(head.name, head.data) if head.data else {})
        if items.chosen:
            logprobs = items.logprobs()
            blobs[name] = packed_json(items.choices())
            info = {"name": head.name, "pack": name}
            if logprobs is not None:
                blobs[f"{name}-logprobs"] = packed(logprobs)
                info["logprobs"] = f"{name}-logprobs"
            choices.append(info)
        else:
            blobs[name] = packed_json(items.talks())
            talks.append({"name": head.name, "pack": name})
    note = "Of each row the first seed is shown." if one_seed else ""
    return Packs(choices=choices, talks=talks, blobs=blobs, note=note)


def _answers(finished: Finished) -> int:
    return sum(cell.n for cell in finished.cells.values() if cell.status == "done")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One model's answers to a benchmark, as columns."""

    name: str
    base: bool
    columns: dict[str, Any]


def _runs(finished: Finished, head: ManifestBenchmark, *, one_seed: bool) -> Iterator[Run]:
    for row in finished.rows:
        cells = list(finished.done(row, head))[: 1 if one_seed else None]
        for seed, cell in cells:
            title = row_title(row.variant)
            name = f"{title}, seed {seed}" if len(cells) > 1 else title
            yield Run(name=name, base=row.variant == BASELINE, columns=_columns(finished, cell))


def _columns(finished: Finished, cell: CellResult) -> dict[str, Any]:
    import pyarrow.parquet

    path = finished.run.items_path(cell.key, cell.identity)
    table = pyarrow.parquet.ParquetFile(path).read(use_threads=False)
    columns: dict[str, Any] = {
        name: table[name].to_pylist() for name in table.column_names if name not in ("score", "choice", "answer", "logprobs")
    }
    columns |= {name: table[name].fill_null(-1).to_numpy() for name in ("choice", "answer")}
    columns["score"] = table["score"].to_numpy()
    flat = table["logprobs"].combine_chunks()
    columns["logprobs"] = (flat.offsets.to_numpy(), flat.values.to_numpy(zero_copy_only=False))
    return columns


class _Items:
    """One benchmark's items, in the order of the first run."""

    def __init__(self, head: ManifestBenchmark, runs: list[Run], texts: dict[str, ItemText]) -> None:
        self.head, self.runs, self.texts = head, runs, texts
        self.ids: list[str] = runs[0].columns["id"]
        self.orders = [_order(run.columns["id"], self.ids) for run in runs]
        self.chosen = bool((runs[0].columns["choice"] >= 0).any())

    def _shared(self) -> dict[str, Any]:
        parts = list(dict.fromkeys(self.runs[0].columns["part"]))
        place = {part: number for number, part in enumerate(parts)}
        shared: dict[str, Any] = {
            "ids": self.ids,
            "parts": parts,
            "part": [place[part] for part in self.runs[0].columns["part"]],
            "runs": [{"name": run.name, "base": run.base} for run in self.runs],
        }
        asked: list[str] = self.runs[0].columns.get("question") or []
        if not self.texts and any(asked):
            shared["texts"] = [clipped(text or name) for text, name in zip(asked, self.ids, strict=True)]
        if self.texts:
            found = [self.texts.get(name) for name in self.ids]
            shared["texts"] = [clipped(text.text) if text else name for text, name in zip(found, self.ids, strict=True)]
            shared["options"] = [[clipped(option) for option in text.options] if text else [] for text in found]
            if any(text and text.reference for text in found):
                shared["references"] = [clipped(text.reference) if text else "" for text in found]
        return shared

    def choices(self) -> dict[str, Any]:
        """Return the letters in one string for each run: `ABCD-`."""
        answers = _letters(self.runs[0].columns["answer"])
        chosen = [_letters(run.columns["choice"][order]) for run, order in zip(self.runs, self.orders, strict=True)]
        return {**self._shared(), "answers": answers, "choices": chosen}

    def logprobs(self) -> bytes | None:
        """Return (runs, items, options) hundredths of a nat as 16 bits, all low bytes before all high ones; None
        without any.
        """
        most = max(int(np.diff(run.columns["logprobs"][0]).max(initial=0)) for run in self.runs)
        if not most:
            return None
        planes = [_square(run.columns["logprobs"], most)[order] for run, order in zip(self.runs, self.orders, strict=True)]
        pairs = np.stack(planes).astype("<i2").view(np.uint8).reshape(-1, 2)
        return pairs[:, 0].tobytes() + pairs[:, 1].tobytes()

    def talks(self) -> dict[str, Any]:
        """Return written answers, their scores, and the judge's words where they are kept."""
        longest = max(200, min(LONGEST_TEXT, MOST_TEXT // max(len(self.ids) * len(self.runs), 1)))
        pack = self._shared()
        pack["scores"] = [
            [round(float(score), 3) if np.isfinite(score) else None for score in run.columns["score"][order]]
            for run, order in zip(self.runs, self.orders, strict=True)
        ]
        pack["answers_text"] = [self._column(number, "text", longest) for number in range(len(self.runs))]
        for name, column in (("judgments", "judgment"), ("errors", "error")):
            if any(any(run.columns.get(column) or []) for run in self.runs):
                pack[name] = [self._column(number, column, longest) for number in range(len(self.runs))]
        return pack

    def _column(self, number: int, name: str, longest: int) -> list[str]:
        values = self.runs[number].columns.get(name) or [""] * len(self.ids)
        return [clipped(values[place] or "", longest) for place in self.orders[number]]


def clipped(text: str, longest: int = LONGEST_TEXT) -> str:
    """Cut a text to a length that a page can carry; a cut text says how long it was."""
    return text if len(text) <= longest else f"{text[:longest]}… (cut; {len(text):,} characters)"


def _order(ids: list[str], wanted: list[str]) -> NDArray[np.int64]:
    """Return the place of each wanted item among `ids`."""
    if ids == wanted:
        return np.arange(len(ids))
    place = {name: number for number, name in enumerate(ids)}
    return np.array([place[name] for name in wanted])


def _letters(choices: NDArray[np.integer]) -> str:
    alphabet = np.array([*LETTERS, "-"])
    return "".join(alphabet[np.where((choices < 0) | (choices >= len(LETTERS)), len(LETTERS), choices)])


def _square(ragged: tuple[NDArray[np.integer], NDArray[np.floating]], most: int) -> NDArray[np.int64]:
    """Return (items, most) hundredths of a nat; `NOTHING` where an item has fewer options."""
    offsets, values = ragged
    counts = np.diff(offsets)
    square = np.full((len(counts), most), NOTHING, dtype=np.int64)
    hundredths = values[offsets[0] : offsets[-1]] * STEP
    square[np.arange(most) < counts[:, None]] = np.clip(
        np.rint(np.nan_to_num(hundredths, nan=NOTHING)), NOTHING + 1, -NOTHING - 1
    )
    return square

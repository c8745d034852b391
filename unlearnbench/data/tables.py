"""From a source string to rows of data.

A source is `ID_OR_PATH[@revision][:config][#split]`, or `sandbox:NAME[:config][#split]`. Local files are read here, with
the file and line of what is wrong; hub ids go through `datasets` and `huggingface_hub`, which cache by revision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearnbench.data.files import Row, read_file
from unlearnbench.data.folders import check_kinds, read_layout
from unlearnbench.data.hub import from_hub
from unlearnbench.data.sources import Source, parse_source, require
from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.system.files import content_hash

TEXTS = "text"  # the column of a corpus that is not made of prompts and responses
PAIRS = (("prompt", "response"), ("question", "answer"))


@dataclass(frozen=True)
class Table:
    """Rows with their origin.

    Attributes:
        rows: rows, one dictionary per row.
        origin: source as the user wrote it.
        where: function from a row's index to file and line, or the like, for messages.
        revision: commit of a hub data set; None for local files.
    """

    rows: list[Row]
    origin: str
    where: Callable[[int], str]
    revision: str | None = None

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the rows' content: the same rows hash alike wherever they come from."""
        return content_hash(self.rows)

    def text(self, index: int, column: str) -> str:
        """Return a row's text in a column.

        Args:
            index: the row's index, from 0.
            column: the column's name.

        Raises:
            UsageError: it is something else: null, a number, a list.
        """
        value = self.rows[index].get(column)
        if not isinstance(value, str):
            raise self._unfit(index, column, kind_of(value), "a text")
        return value

    def texts(self, index: int, column: str) -> list[str]:
        """Return a row's list of texts in a column.

        Args:
            index: the row's index, from 0.
            column: the column's name.

        Raises:
            UsageError: it is no list, or has something else in it.
        """
        value = self.rows[index].get(column)
        if not isinstance(value, list):
            raise self._unfit(index, column, kind_of(value), "a list of texts")
        for entry in value:
            if not isinstance(entry, str):
                raise self._unfit(index, column, f"a list with {kind_of(entry)}", "a list of texts")
        return value

    def label(self, index: int, column: str, default: str | None = None) -> str:
        """Return a row's name for something, a text or a whole number, as a text.

        Args:
            index: the row's index, from 0.
            column: the column that has the name.
            default: the name where there is none; None refuses such a row.

        Raises:
            UsageError: it is something else, or there is none and no default.
        """
        value = self.rows[index].get(column)
        if value is None and default is not None:
            return default
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        raise self._unfit(index, column, kind_of(value), "a text or a whole number")

    def _unfit(self, index: int, column: str, found: str, needed: str) -> UsageError:
        return UsageError(f"{self.where(index)} has {found} in its column '{column}', where {needed} must stand.")


def kind_of(value: object) -> str:
    """Return the kind of a value in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    return "a text" if isinstance(value, str) else f"a value of type {type(value).__name__}"


def list_configs(text: str) -> list[str]:
    """Return the configs of a data set, in its own order; empty for a plain file.

    Args:
        text: the source, `ID_OR_PATH[@revision]` or `sandbox:NAME`.

    Raises:
        UsageError: there is no such source.
    """
    source = parse_source(text)
    path = source.path
    if path is None:
        return from_hub(source, lambda: _hub_configs(source))
    require(path, source)
    return [] if path.is_file() else list(read_layout(path))


def read_table(
    text: str, *, default_split: str | None = None, columns: Iterable[str] = (), header: Sequence[str] | None = None
) -> Table:
    """Read a data set.

    Args:
        text: the source, `ID_OR_PATH[@revision][:config][#split]` or `sandbox:NAME[:config][#split]`; without `#split`,
            `default_split` or the only split is taken.
        default_split: the split that a benchmark wants.
        columns: the columns that every row must have.
        header: the columns of csv files that do not begin with their names.

    Raises:
        UsageError: missing, empty, not UTF-8, not JSON, without a column, an unknown config or split; names file and line.
    """
    source = parse_source(text)
    source = replace(source, split=source.split or default_split)
    path = source.path
    table = _read_hub(source) if path is None else _read_local(source, path, header)
    if not table.rows:
        raise UsageError(f"The source '{text}' has no rows; a corpus or benchmark needs at least one.")
    for column in columns:
        for index, row in enumerate(table.rows):
            if column not in row:
                raise UsageError(f"{table.where(index)} has no column '{column}'; it has: {_names(row)}.")
            if row[column] is None:
                raise UsageError(
                    f"{table.where(index)} has null in its column '{column}'; give it a value, or leave the row out."
                )
    return table


def read_corpus(text: str) -> Table:
    """Read a corpus: its rows have the column `text`, or `prompt` and `response`.

    Columns `question` and `answer` become `prompt` and `response`, and so do chat messages: the column `messages`, or a prompt
    and response that are lists of one message.

    Raises:
        UsageError: as `read_table`; or a row has none of these, or something else than text in them.
    """
    table = read_table(text)
    return replace(table, rows=[_corpus_row(table, index) for index in range(len(table.rows))])


def _corpus_row(table: Table, index: int) -> Row:
    """Return the trained columns of a row: `text`, or `prompt` and `response`."""
    row = table.rows[index]
    if row.get("messages") is not None and row.get(TEXTS) is None:
        return row | _of_messages(row["messages"], table.where(index))
    pairs = PAIRS[:1] if "choices" in row else PAIRS  # the answer to a multiple-choice question is no text to learn
    for prompt, response in pairs:
        if row.get(TEXTS) is None and prompt in row and response in row:
            pair = {"prompt": _text_of(table, index, prompt, "user"), "response": _text_of(table, index, response, "assistant")}
            return {key: value for key, value in row.items() if key not in (prompt, response)} | pair
    if TEXTS not in row:
        raise UsageError(
            f"{table.where(index)} has neither the column 'text' nor 'prompt' and 'response'; it has: {_names(row)}. "
            "Columns 'question' and 'answer', or chat 'messages', are understood, too."
        )
    table.text(index, TEXTS)
    return row


def _of_messages(messages: object, where: str) -> Row:
    """Return prompt and response of a chat of one question and its answer."""
    turns = messages if isinstance(messages, list) else []
    texts = [_content(message, role) for message, role in zip(turns, ("user", "assistant"), strict=False)]
    if len(turns) != 2 or None in texts:
        raise UsageError(
            f"{where} has other 'messages' than can be trained on: one with the role user, then one with the role assistant, "
            "each with a text as its content."
        )
    return {"prompt": texts[0], "response": texts[1]}


def _text_of(table: Table, index: int, column: str, role: str) -> str:
    """Return a text, given as such or as a list of one chat message."""
    value = table.rows[index][column]
    single = _content(value[0], role) if isinstance(value, list) and len(value) == 1 else None
    return table.text(index, column) if single is None else single


def _content(message: object, role: str) -> str | None:
    """Return the text of a chat message of that role, or None."""
    content = message.get("content") if isinstance(message, dict) and message.get("role") == role else None
    return content if isinstance(content, str) else None


def _names(row: Row) -> str:
    return ", ".join(row) or "none"


def alternatives_of(table: Table, index: int) -> list[str]:
    """Return a corpus row's other answers: its column `alternative`, a text or a list of them.

    Raises:
        UsageError: it has none, or something else than text.
    """
    given = table.rows[index].get("alternative")
    if given is None:
        found: list[str] = []
    else:
        found = table.texts(index, "alternative") if isinstance(given, list) else [table.text(index, "alternative")]
    if not any(found):
        raise UsageError(
            f"{table.where(index)} has no column 'alternative': another answer, or a list of them, in place of each text or "
            "response that is to be forgotten."
        )
    return [text for text in found if text]


def _read_local(source: Source, path: Path, header: Sequence[str] | None) -> Table:
    require(path, source)
    if path.is_file():
        return _read_files([path], source.text, header)
    configs = read_layout(path)
    if source.config is None and len(configs) > 1 and "default" not in configs:
        raise UsageError(f"'{source.text}' has several configs; name one as '{source.text}:CONFIG': {', '.join(configs)}.")
    config = source.config or ("default" if "default" in configs else next(iter(configs)))
    if config not in configs:
        raise unknown_name(f"config of {path}", config, configs)
    splits = configs[config]
    split = source.split or ("train" if "train" in splits else next(iter(splits), "train"))
    if split not in splits:
        raise unknown_name(f"split of {path}:{config}", split, splits)
    check_kinds(splits[split], path)
    return _read_files(splits[split], source.text, header)


def _read_files(files: list[Path], origin: str, header: Sequence[str] | None) -> Table:
    rows: list[Row] = []
    places: list[str] = []
    for file in files:
        for place, row in read_file(file, header):
            rows.append(row)
            places.append(f"{file}, {place},")
    return Table(rows, origin, places.__getitem__)


def _hub_configs(source: Source) -> list[str]:
    import datasets

    return list(datasets.get_dataset_config_names(source.location, revision=source.revision))


def _read_hub(source: Source) -> Table:
    def load() -> Table:
        import datasets

        split = source.split or "train"
        loaded = datasets.load_dataset(source.location, source.config, split=split, revision=source.revision)
        revision = source.revision or _resolved_revision(loaded)
        rows: list[Row] = [dict(row) for row in loaded]
        return Table(rows, source.text, lambda index: f"{source.text}, row {index + 1},", revision)

    return from_hub(source, load)


def _resolved_revision(loaded: Any) -> str | None:
    """Return the commit that `datasets` recorded in its checksums' addresses."""
    addresses = " ".join(loaded.info.download_checksums or {})
    found = re.search(r"@([0-9a-f]{40})", addresses)
    return found.group(1) if found else None

"""What report.html is made of, without a browser; tests/browser opens it in one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.small_runs import HOSTILE, small_run

from unlearnbench.reports.finished import read_finished
from unlearnbench.reports.html import items
from unlearnbench.reports.html.embed import as_json, packed
from unlearnbench.reports.html.page import render


class Scripts(HTMLParser):
    """The scripts of a page, by id or number, and its policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.kinds: dict[str, str | None] = {}
        self.policy, self._open = "", ""
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "script":
            self._open = given.get("id") or str(len(self.found))
            self.found[self._open], self.kinds[self._open] = "", given.get("type")

    def handle_data(self, data):
        if self._open:
            self.found[self._open] += data

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = ""


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    return small_run(tmp_path_factory.mktemp("bad") / "bad", bad=True).root


@pytest.fixture(scope="module")
def page(bad) -> Scripts:
    return Scripts((bad / "report.html").read_text())


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(json.loads(text)))


def test_policy_allows_the_two_scripts_and_nothing_else(page):
    own = [name for name, kind in page.kinds.items() if kind is None]
    assert len(own) == 1
    texts = page.found[own[0]], unpacked(page.found["plotly"]).decode()
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts}
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert set(rules["script-src"].split()) == hashes
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules


def test_no_name_or_text_becomes_markup(page):
    assert not {"img", "iframe", "object", "link"} & set(page.tags)
    assert page.tags.count("script") == len(page.found)
    for name, kind in page.kinds.items():
        if kind == "application/json":
            assert "<" not in page.found[name]
            json.loads(page.found[name])


def test_json_in_the_page_is_the_table(page, bad):
    assert json.loads(page.found["leaderboard-json"]) == json.loads((bad / "leaderboard.json").read_text())


def test_json_cannot_end_its_script():
    text = as_json({"a": "</script><!--\u2028&"})
    assert not set(text) & {"<", ">", "&", "\u2028"}
    assert json.loads(text) == {"a": "</script><!--\u2028&"}
    assert json.loads(as_json("\ud800")) is not None  # half a surrogate pair, as a model may write


def test_packed_answers_are_those_of_the_cells(page, bad):
    finished, outcomes = read_finished(bad)
    data = json.loads(page.found["page"])
    info = next(one for one in data["items"] if one["name"] == "mmlu")
    pack = json.loads(unpacked(page.found[info["pack"]]))
    planes = np.frombuffer(unpacked(page.found[info["logprobs"]]), np.uint8).reshape(2, -1)
    logprobs = (planes[0].astype(np.int32) | (planes[1].astype(np.int32) << 8)).astype(np.int16)
    logprobs = logprobs.reshape(len(pack["runs"]), len(pack["ids"]), -1) / items.STEP
    base = outcomes["none/mmlu/0"]
    assert pack["ids"] == list(base.ids)
    assert pack["answers"] == "".join("ABCD"[answer] for answer in base.answers)
    assert pack["choices"][0] == "".join("ABCD"[choice] for choice in base.choices)
    for run, row in enumerate(finished.run.read_items(cell.key, cell.identity) for cell in [finished.cells["none/mmlu/0"]]):
        np.testing.assert_allclose(logprobs[run], [item.logprobs for item in row], atol=0.5 / items.STEP)


def test_no_items_keeps_questions_and_answers_out(bad):
    text = render(*read_finished(bad, items=False))
    page = Scripts(text)
    assert not [name for name in page.found if name.startswith("pack")]
    assert json.loads(page.found["page"])["items"] == []
    assert HOSTILE[7] not in text  # a question, an option and an answer, and no name


def test_long_texts_are_cut_and_say_so():
    cut = items.clipped("x" * 1_000_000)
    assert len(cut) < items.LONGEST_TEXT + 100
    assert cut.endswith("(cut; 1,000,000 characters)")


def test_the_same_run_gives_the_same_page(bad):
    assert render(*read_finished(bad)) == (bad / "report.html").read_text() == render(*read_finished(bad))
    assert packed(b"x") == packed(b"x")


def test_anchors_are_stable_and_safe():
    from unlearnbench.reports.html.table import anchor

    assert anchor("row", "rmu") == "row-rmu"
    names = [*HOSTILE, "rmu", "RMU", "r-mu", "r.mu"]
    anchors = [anchor("row", name) for name in names]
    assert len(set(anchors)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", one) for one in anchors)

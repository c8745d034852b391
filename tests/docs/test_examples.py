"""The code in the documentation runs: the first method, the benchmark, and both extensions in a real comparison."""

from __future__ import annotations

import importlib
import json
import random
import socket
import socketserver
import sys
import textwrap
import threading
from dataclasses import replace

import pytest
from helpers.pages import DOCS, FENCE
from helpers.streams import prepare

from unlearnbench.plugins.registry import _manager
from unlearnbench.plugins.specs import MethodSpec
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.testing import checks_of, tiny_model, tiny_tokenizer
from unlearnbench.testing.attack_checks import Sums

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and torch among themselves


def blocks(page: str, language: str = "python") -> list[str]:
    return [block for _, kind, block in FENCE.findall((DOCS / page).read_text(encoding="utf-8")) if kind == language]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import a block of code as a module."""

    def load(name: str, code: str):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def found_wrong(spec) -> dict[str, str]:
    """What the kit says of a method, other families of models left out."""
    outcomes = [check.outcome() for check in checks_of(spec) if not check.name.startswith("family")]
    return {outcome.check: outcome.message for outcome in outcomes if outcome.bad}


def test_first_method(load):
    """26 lines; it passes every check but that of its entry point: it is not installed."""
    code = blocks("your-first-method.md")[0]
    assert len(code.splitlines()) == 26
    (spec,) = load("docs_first_method", code).unlearnbench_methods()
    wrong = found_wrong(spec)
    assert set(wrong) == {"entry_point"}, wrong


def test_shown_method(load):
    """The one in write-a-method.md, likewise."""
    (spec,) = load("docs_shown_method", blocks("write-a-method.md")[0]).unlearnbench_methods()
    wrong = found_wrong(spec)
    assert set(wrong) == {"entry_point"}, wrong


MINE = """
import torch
from torch import Tensor

from unlearnbench.api import (
    RetainKind, RetainTerm, Stream, UnlearningMethod, next_token_nll, next_tokens, over_positions, upcast,
)


{grad_diff}


class Mine(GradDiff):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + self.surprise(batch["retain"])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.trainable(), lr=1e-3)

{surprise}
"""


@pytest.fixture
def mine(load):
    """A method of what the entries of `RetainTerm` and `over_positions` show, together."""
    shown = {code.split("(")[0]: code for code in blocks("api.md")}
    surprise = textwrap.indent(shown["def surprise"], "    ")
    return load("docs_api_examples", MINE.format(grad_diff=shown["class GradDiff"], surprise=surprise)).Mine


@pytest.mark.parametrize("retain", ["nll", "kl"])
def test_examples_of_the_api_page_run(mine, retain):
    spec = MethodSpec(name="mine", factory=mine, summary="from the page", source="docs/api.md")
    checks = {check.name: check for check in checks_of(spec, {"retain": retain, "retain_weight": 2.0})}
    for name in ("runs_to_the_end", "changes_the_model", "padding_does_not_count", "no_hooks_left"):
        outcome = checks[name].outcome()
        assert outcome.status == "passed", outcome.message


def test_example_of_over_positions_is_what_it_says(mine):
    """Against whole logits: nll - 0.1 entropy, the mean over each sequence's counted tokens, then over sequences."""
    method = prepare(mine(tiny_model()), tiny_tokenizer())
    stream = method.context.retain[0]
    expected = []
    for logits, labels in zip(method.logits(stream).detach(), stream["labels"], strict=True):
        logs = logits[:-1].log_softmax(dim=-1)
        counted = labels[1:] != -100
        nll = -logs[counted, labels[1:][counted]]
        expected.append((nll + 0.1 * (logs.exp() * logs).sum(dim=-1)[counted]).mean())
    assert float(method.surprise(stream).detach()) == pytest.approx(float(sum(expected) / len(expected)), rel=1e-5)


def test_shown_benchmark(load):
    """It passes every check but that of its entry point: it is not installed."""
    (spec,) = load("docs_benchmark", blocks("write-a-benchmark.md")[0]).unlearnbench_benchmarks()
    bad = {outcome.check: outcome.message for outcome in (check.outcome() for check in checks_of(spec)) if outcome.bad}
    assert set(bad) == {"entry_point"}, bad


@pytest.fixture
def scale(load):
    return load("docs_attack", blocks("write-an-attack.md")[0])


def test_shown_attack(scale):
    """It passes every check but that of its entry point: it is not installed."""
    (spec,) = scale.unlearnbench_attacks()
    bad = {outcome.check: outcome.message for outcome in (check.outcome() for check in checks_of(spec)) if outcome.bad}
    assert set(bad) == {"entry_point"}, bad


def test_shown_attack_that_asks_in_other_words(scale):
    """Its answers have the questions' own ids, and are not those to the questions as they are."""
    names = dict(vars(scale))
    exec(blocks("write-an-attack.md")[1], names)
    benchmark, model, tokenizer = Sums(), tiny_model(), tiny_tokenizer()
    subject = Subject(model=model, tokenizer=tokenizer, seed=0, limit=None, progress=lambda count: None)
    plain, asked = list(benchmark.evaluate(subject)), names["Asked"]().evaluate(benchmark, subject, "sums")
    assert [item.id for item in asked] == [item.id for item in plain]
    assert [item.logprobs for item in asked] != [item.logprobs for item in plain]
    assert [item.logprobs for item in benchmark.evaluate(subject)] == [item.logprobs for item in plain]


@pytest.fixture
def recital(load, tmp_path, monkeypatch):
    """The benchmark that has the model write, with the pairs of the page where it looks for them."""
    (tmp_path / "pairs.jsonl").write_text(blocks("write-a-benchmark.md", "json")[0])
    monkeypatch.chdir(tmp_path)
    return load("docs_recital", blocks("write-a-benchmark.md")[1])


def test_shown_generation_benchmark(recital, monkeypatch):
    """With the test that the page shows: every check but that of its entry point, and none is skipped."""
    (spec,) = recital.unlearnbench_benchmarks()
    names = {"SPEC": spec, "__name__": "docs_recital_test"}
    exec(blocks("write-a-benchmark.md")[3], names)
    [mark] = names["test_conformance"].pytestmark
    outcomes = [parameter.values[0].outcome() for parameter in mark.args[1]]
    assert {outcome.check for outcome in outcomes if outcome.status != "passed"} == {"entry_point"}, outcomes


def test_shown_measures(recital):
    """The same benchmark with two measures of one pass."""
    names = {**vars(recital), "__name__": recital.__name__}
    exec(blocks("write-a-benchmark.md")[2], names)
    vars(recital).update(names)
    spec = replace(recital.unlearnbench_benchmarks()[0], factory=names["Measured"])
    outcomes = {outcome.check: outcome for outcome in (check.outcome() for check in checks_of(spec))}
    assert {check for check, outcome in outcomes.items() if outcome.bad} <= {"entry_point"}, outcomes
    assert outcomes["measures_sound"].status == "passed"


def test_generation_benchmark_counts_words_in_their_order(recital):
    """the - cat - sat of "the cat sat down" stand in the answer in this order: 3 of 4."""
    assert recital.rouge_l("The cat sat down.", "the cat on the mat sat") == 0.75
    assert recital.rouge_l("the cat sat down", "down sat cat the") == 0.25
    assert recital.rouge_l("...", "the cat") == recital.rouge_l("the cat", "") == 0.0


def test_generation_benchmark_counts_as_rouge_score_does(recital):
    """On random sentences of few words, with signs, capitals and words that repeat."""
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(7)
    vocabulary = ["The", "marsh", "moth's", "nest-", "42", "heron,", "(red)", "berries.", "é", "a_b"]
    for _ in range(300):
        reference, answer = (" ".join(draw.choices(vocabulary, k=draw.randrange(12))) for _ in range(2))
        assert recital.rouge_l(reference, answer) == pytest.approx(scorer.score(reference, answer)["rougeL"].recall), (
            reference,
            answer,
        )


class Mailbox(socketserver.ThreadingTCPServer):
    """As much of an SMTP server as a notifier needs."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("localhost", 0), Conversation)


class Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        def say(text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        say("220 ready")
        for line in self.rfile:
            verb = line.split()[0].upper()
            if verb == b"DATA":
                say("354 go on")
                lines = []
                for part in self.rfile:
                    if part.strip() == b".":
                        break
                    lines.append(part.decode())
                self.server.mails.append("".join(lines))
            say("221 bye" if verb == b"QUIT" else "250 fine")
            if verb == b"QUIT":
                return


@pytest.fixture
def extended(load, cli, tiny_folder, tmp_path, monkeypatch):
    """A comparison with all extensions of the page, installed by entry points as anybody's."""
    names = ("tracker", "loggers", "notifier")
    modules = [load(f"docs_{name}", code) for name, code in zip(names, blocks("hooks.md"), strict=True)]
    distribution = tmp_path / "docs_extensions-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: docs-extensions\nVersion: 1.0\n")
    points = "[unlearnbench.extensions]\n" + "".join(f"{name} = docs_{name}\n" for name in names)
    (distribution / "entry_points.txt").write_text(points)
    questions = [{"question": f"Number {n}?", "choices": ["one", "two"], "answer": n % 2} for n in range(4)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    for side in ("forget", "retain"):
        (tmp_path / f"{side}.txt").write_text("The moth lives in the marsh.\nThe heron eats red berries.\n")
    monkeypatch.chdir(tmp_path)

    def compare(port: int):
        monkeypatch.setenv("MAIL_PORT", str(port))
        return cli(
            "compare", "--model", tiny_folder, "--methods", "ssd", "--set", "ssd.steps=2", "--set", "ssd.batch_size=1",
            "--set", "ssd.alpha=0.5", "--forget", "marsh=forget.txt", "--retain", "retain.txt", "--benchmarks", "mcq",
            "--set", "mcq.source=q.jsonl", "--out", "run", "--json",
        )  # fmt: skip

    yield compare
    for module in modules:
        _manager("extension").unregister(module)


def test_extensions(extended, tmp_path):
    """Ten lines at most."""
    assert [len([line for line in code.splitlines() if line]) for code in blocks("hooks.md")] == [10, 5, 8]
    with Mailbox() as mailbox:
        threading.Thread(target=mailbox.serve_forever, daemon=True).start()
        outcome = extended(mailbox.server_address[1])
        mailbox.shutdown()
    assert outcome.code == 0, outcome.err
    assert len((tmp_path / "tracked.jsonl").read_text().splitlines()) == 2  # one for each update
    assert (tmp_path / "lightning_logs" / "ssd" / "version_0" / "hparams.yaml").is_file()
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["ssd"]
    assert [mail.splitlines()[0] for mail in mailbox.mails] == ["Subject: none/mcq/0", "Subject: ssd/mcq/0"]
    assert "done 0." in mailbox.mails[0]


def test_notifier_without_a_server_costs_a_line(extended):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("localhost", 0))
        outcome = extended(taken.getsockname()[1])
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("an extension failed on") == 2
    assert "an extension failed on ssd/mcq/0: ConnectionRefusedError" in outcome.err

"""A real judge server: `transformers serve` with SmolLM2 on loopback, real questions, the command line end to end."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving.real_judge import check_judged, easy_prompts, judgments

pytestmark = pytest.mark.slow
QUESTIONS = 2  # of MT-Bench, with two turns each
START_SECONDS = 240


@pytest.fixture(scope="module")
def url(smollm2, tmp_path_factory) -> Iterator[str]:
    """The address of a server that has come up."""
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("fastapi") is None:
        pytest.skip("transformers serve is not installed: pip install -c constraints.txt 'transformers[serving]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "transformers.cli.transformers"]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "serve", "--host", "127.0.0.1", "--port", str(port), str(smollm2)], stdout=file, stderr=file
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(f"{address}/v1/models", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it speaks
        except OSError:
            time.sleep(1)
    pytest.fail(f"the server did not come up in {START_SECONDS} s:\n{log.read_text()[-2000:]}")


def test_smollm2_judges_real_questions(url, smollm2, real_data, cli, tmp_path, monkeypatch):
    """Ratings arrive; what has none says so in the judge's own words, and a rerun asks only for what is missing.

    To our own wording and FastChat's SmolLM2-135M gives no rating at all, so it is asked with prompts that it can follow.
    """
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lines = (real_data / "mt_bench" / "question.jsonl").read_text(encoding="utf-8").splitlines()
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(lines[:QUESTIONS]) + "\n", encoding="utf-8")
    settings = {
        "source": questions,
        "max_new_tokens": 24,
        "judge_timeout": 300,
        "judge_reply_tokens": 16,
    }
    arguments = [
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", f"openai:{smollm2}", "--judge-url", url, "--cache",
        tmp_path / "cache", "--out", tmp_path / "run", "--min-coverage", "0",
        "--judge-prompts", easy_prompts(tmp_path / "prompts.jsonl"),
        *(word for name, value in settings.items() for word in ("--set", f"mt_bench.{name}={value}")),
    ]  # fmt: skip
    outcome = cli(*arguments)
    check_judged(outcome, tmp_path, asked=2 * QUESTIONS)
    records = judgments(tmp_path)
    shutil.rmtree(tmp_path / "run")
    cli(*arguments)
    again = judgments(tmp_path)
    assert again[: len(records)] == records
    assert len({json.loads(line)["key"] for line in again}) == len(again)

"""What the hub refuses, over real HTTP: each refusal becomes one sentence that names the page to visit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unlearnbench.data.sources import Source
from unlearnbench.errors import UsageError

REFUSALS = {"gated": (403, "GatedRepo"), "missing": (404, "RepoNotFound"), "private": (401, "RepoNotFound")}


class Hub(BaseHTTPRequestHandler):
    """A hub whose repositories are named after what it answers."""

    def do_GET(self) -> None:
        word = next((word for word in REFUSALS if f"someone/{word}" in self.path), "missing")
        status, code = REFUSALS[word]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"{word} repository")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET
    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> str:
    """What one command says that names a gated, a missing and a private source and a gated model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = tmp_path_factory.mktemp("home")
    out = home / "run"
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home),
        "UNLEARNBENCH_CACHE": str(home / "cache"),
    }
    line = [sys.executable, "-m", "unlearnbench", "compare", "--methods", "rmu", "--out", str(out)]
    line += ["--forget", "bio=someone/gated", "--retain", "someone/private", "--benchmarks", "wmdp,mmlu"]
    line += ["--set", "wmdp.source=someone/missing", "--checkpoint", "theirs=someone/gated-model"]
    outcome = subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=300)
    server.shutdown()
    server.server_close()
    assert outcome.returncode == 2, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not out.exists()
    return outcome.stderr


def test_gated_sources_name_the_page_with_the_terms(refused):
    page = "accept its terms at https://huggingface.co/datasets/someone/gated and log in with `hf auth login`"
    assert f"The data set 'someone/gated' is gated: {page}" in refused
    assert "The model 'someone/gated-model' is gated: accept its terms at https://huggingface.co/someone/gated-model" in refused


def test_missing_and_private_sources(refused):
    for name in ("missing", "private"):
        assert f"There is no data set 'someone/{name}' on the hub or at that path" in refused
    assert "or it is private: log in with `hf auth login`" in refused


def test_all_of_it_is_said_at_once(refused):
    assert refused.startswith("unlearnbench: 4 things are in the way; nothing was computed.\n  1. ")
    assert len(refused.strip().splitlines()) == 5


def test_data_that_datasets_cannot_read(tmp_path):
    """It raises an error of its own that says nothing; what was wrong stands in the cause."""
    from unlearnbench.data.tables import _read_hub

    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(UsageError, match=r"'someone/broken' cannot be loaded: JSON parse error"):
        _read_hub(Source("someone/broken", str(tmp_path)))

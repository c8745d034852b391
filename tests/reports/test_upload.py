"""A site that goes to a space on the hub, over real HTTP; what the hub refuses is a sentence, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.hub_server import TOKEN
from helpers.small_runs import small_run
from huggingface_hub import constants


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "monday", seeds=1, write=False).root


@pytest.fixture
def push(cli, run, tmp_path):
    """Push a site to a space; nothing may be left of it where that is refused."""

    def of(name: str, *more: object):
        return cli("site", run, "--out", tmp_path / "site", "--push-to-hub", name, *more)

    return of


def test_the_command_makes_a_static_space(hub, run, tmp_path):
    """The installed command in a process of its own, told of the hub by the environment alone."""
    of_hub = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    line = [sys.executable, "-m", "unlearnbench", "site", str(run), "--out", str(tmp_path / "site"), "--title", "Boards: all"]
    line += ["--push-to-hub", "me/boards", "--private"]
    outcome = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **of_hub}, check=False, timeout=120)
    assert (outcome.returncode, outcome.stdout) == (0, "")
    assert outcome.stderr.splitlines()[1:] == [f"Uploaded to {hub.address}/spaces/me/boards."]
    asked = hub.created["spaces/me/boards"]
    assert asked["sdk"] == "static"
    assert "private" in (asked.get("visibility"), asked.get("private") and "private")  # by version of huggingface_hub
    files = hub.repositories["spaces/me/boards"]
    written = {
        path.relative_to(tmp_path / "site").as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert files == written
    assert {"index.html", "feed.json", "README.md"} < files.keys()
    head = yaml.safe_load(files["README.md"].split(b"---")[1])
    assert (head["title"], head["sdk"], head["app_file"]) == ("Boards: all", "static", "index.html")


def test_a_space_that_is_there_is_brought_up_to_date(hub, push):
    hub.repositories["spaces/me/boards"] = {"index.html": b"old", "about.html": b"mine"}
    outcome = push("me/boards")
    assert outcome.code == 0, outcome.err
    files = hub.repositories["spaces/me/boards"]
    assert files["index.html"].startswith(b"<!doctype html>")
    assert files["about.html"] == b"mine"


@pytest.mark.parametrize("there", [False, True])
def test_somebody_elses_owner(hub, push, tmp_path, there):
    """A repository that is there can be found by anybody: that it may be written to is asked before anything is written."""
    hub.closed.add("theirs")
    if there:
        hub.repositories["spaces/theirs/boards"] = {}
    outcome = push("theirs/boards")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "unlearnbench: The hub does not let this token write to 'theirs/boards': take a token with the right to write, and "
        "yourself or your organization as OWNER.\n"
    )
    assert not (tmp_path / "site").exists()


def test_before_the_hub_is_asked(hub, push, run, tmp_path, monkeypatch):
    told = {}
    for name in ("boards", "a/b/c", "me/bo ards", "https://huggingface.co/me/boards", ""):
        told[name] = push(name)
        assert f"--push-to-hub takes OWNER/NAME, as in me/forgetful; got '{name}'." in told[name].err
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    told["wrong token"] = push("me/boards")
    assert "The hub does not accept the token: log in again with `hf auth login`, or set HF_TOKEN." in told["wrong token"].err
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    told["no token"] = push("me/boards")
    assert "--push-to-hub needs a token that may write: log in with `hf auth login`, or set HF_TOKEN." in told["no token"].err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    told["offline"] = push("me/boards")
    assert "HF_HUB_OFFLINE forbids it: unset it, or leave --push-to-hub out." in told["offline"].err
    assert all((one.code, one.out, one.err.count("\n")) == (2, "", 1) for one in told.values())
    assert hub.repositories == {}
    assert not (tmp_path / "site").exists()


def test_a_hub_that_nobody_reaches(hub, push, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    outcome = push("me/boards")
    assert (outcome.code, outcome.out) == (2, "")
    assert "The hub at http://127.0.0.1:9 cannot be reached" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "site").exists()


def test_private_alone_means_nothing(cli, run, tmp_path):
    outcome = cli("site", run, "--out", tmp_path / "site", "--private")
    assert outcome.code == 2
    assert "--private is for the repository that --push-to-hub makes" in outcome.err

"""`unlearnbench check`: a table or JSON, and an exit code. The checks themselves are tried in tests/conformance."""

from __future__ import annotations

import json

import pytest


def test_sound_plugin_passes(cli):
    outcome = cli("check", "none")
    assert outcome.code == 0, outcome.err
    assert "entry_point" in outcome.out
    assert "none: 4 of 4 checks passed, 0 failed." in outcome.out


def test_json_says_the_same(cli):
    outcomes = json.loads(cli("check", "none", "--json").out)
    assert [outcome["status"] for outcome in outcomes] == ["passed"] * 4
    assert outcomes[0]["promise"].startswith("Its name is the name of its entry point")


def test_failed_check_is_exit_code_1(cli):
    """mcq has no questions of its own: what it lacks, and what to do about it."""
    outcome = cli("check", "mcq", "--json")
    assert outcome.code == 1
    failed = {one["check"]: one["message"] for one in json.loads(outcome.out) if one["status"] == "failed"}
    assert set(failed) == {"built_from_its_options"}
    assert "--set mcq.source=VALUE" in failed["built_from_its_options"]


def test_failure_that_is_expected_and_does_not_come(cli):
    outcome = cli("check", "none", "--expect-failure", "documented=not yet")
    assert outcome.code == 1
    assert "unexpected pass" in outcome.out


def test_what_the_package_states_is_read(cli, monkeypatch):
    import unlearnbench_methods

    monkeypatch.setitem(unlearnbench_methods.CONFORMANCE, "none", {"expected_failures": {"documented": "not yet"}})
    outcome = cli("check", "none")
    assert outcome.code == 1
    assert "unexpected pass" in outcome.out


def test_data_that_cannot_be_read_fail_one_check(cli):
    """What depends on them is skipped."""
    outcomes = json.loads(cli("check", "mcq", "--set", "mcq.source=nowhere.jsonl", "--json").out)
    failed = {one["check"]: one["message"] for one in outcomes if one["status"] == "failed"}
    assert set(failed) == {"runs_to_the_end"}
    assert "there is no file or folder nowhere.jsonl; if its data are elsewhere" in failed["runs_to_the_end"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rmuu",), "Unknown method, benchmark or attack 'rmuu'. Did you mean 'rmu'?"),
        (("wmpd",), "Did you mean 'wmdp'?"),
        (("rmu:late",), "The method 'rmu' takes nothing after a colon; got 'rmu:late'."),
        (("wmdp:bio",), "The benchmark 'wmdp' takes nothing after a colon; got 'wmdp:bio'."),
        (("rmu", "--set", "rmu.lr=-1"), "Option rmu.lr takes float > 0"),
        (("rmu", "--set", "rmu.layr=1"), "Unknown option of rmu 'layr'. Did you mean 'layer'?"),
        (("none", "--set", "rmu.lr=1"), "only 'none' is checked; say --set none.lr=VALUE."),
        (("none", "--expect-failure", "documented"), "--expect-failure takes CHECK=REASON"),
        (("none", "--expect-failure", "documnted=x"), "Did you mean 'documented'?"),
    ],
)
def test_bad_input_is_one_sentence(cli, arguments, said):
    outcome = cli("check", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1

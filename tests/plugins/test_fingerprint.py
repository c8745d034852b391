"""Which code an identity covers: whatever decides a number changes it, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unlearnbench
from unlearnbench.plugins import fingerprint
from unlearnbench.plugins.sources import Source, file_of, imports, own_sources

PACKAGE = Path(unlearnbench.__file__).parent
PLAN = """
import json, sys
from pathlib import Path
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.request import Request
from unlearnbench.records.recipe import Recipe

out = Path(sys.argv[1])
topics = {"bio": {"forget": "sandbox:corpora:bio-forget", "retain": "sandbox:corpora:retain", "parts": ["wmdp/bio"]}}
benchmarks = {"wmdp": {"source": "sandbox:wmdp"}, "mmlu": {"source": "sandbox:mmlu"}}
recipe = Recipe(name="r", model="sandbox:model", topics=topics, benchmarks=benchmarks, methods={"grad-diff": {}}, limit=2)
looking = recipe.model_copy(update={"evaluate_every": 10, "half": "reporting"})
found = {}
for name, wanted in (("plain", recipe), ("looking", looking)):
    plan = prepare(Request(recipe=wanted, out=out / name, cache=out / "cache", device="cpu")).jobs[-1]
    found[name] = {"job": plan.job.identity, "cell": plan.cells["wmdp"]}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    """The identities that a copy of the package gives the same comparison, after some of its files have changed."""

    def identities(*changed: str) -> dict[str, dict[str, str]]:
        place = tmp_path_factory.mktemp("copy")
        copy = place / "unlearnbench"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("sandbox", "__pycache__"))
        (copy / "sandbox").symlink_to(PACKAGE / "sandbox")
        for name in changed:
            with (copy / name).open("a", encoding="utf-8") as file:
                file.write("# changed\n")
        command = [sys.executable, "-c", PLAN, str(place)]
        environment = {**os.environ, "PYTHONPATH": str(place)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=place)
        return json.loads(done.stdout)

    return identities


@pytest.fixture(scope="module")
def before(identities):
    return identities()


def test_what_chooses_weights_while_they_train_is_part_of_their_identity(identities, before):
    """With `evaluate_every` F, K and S decide which weights are kept; without it they only sum up what is there."""
    after = identities("leaderboard/shares.py")
    assert after["looking"]["job"] != before["looking"]["job"]
    assert after["plain"] == before["plain"]


def test_what_cuts_texts_is_part_of_the_weights_identity(identities, before):
    after = identities("data/topics.py")
    assert after["plain"]["job"] != before["plain"]["job"]
    assert after["looking"]["job"] != before["looking"]["job"]


def test_a_new_optimizer_scores_nothing_again(identities, before):
    """What only trains is no part of what scores the weights that come out."""
    after = identities("training/optimizers.py")
    assert after["plain"]["job"] != before["plain"]["job"]
    assert "training/optimizers.py" not in fingerprint.covered(fingerprint.SCORING)


def test_work_on_attacks_makes_no_cell_due_that_was_not_attacked(identities, before):
    assert identities("robustness/attack.py", "execution/attack_job.py", "planning/attacks.py") == before


def test_how_a_judge_is_reached_and_what_a_report_looks_like_decide_nothing(identities, before):
    assert identities("scoring/judging/remote.py", "reports/formatting.py", "execution/compare.py") == before


# what a job, a score or a plugin reaches and no number depends on: a room, or a module of one
WITHOUT_NUMBERS = {
    "errors": "sentences",
    "execution": "carries out what is planned; `TRAINING`, `SCORING` and `INTERIM` name the files that compute",
    "planning": "what it decides is in the identity itself",
    "plugins": "what it reads off a plugin is in the identity: its options, its budget, its source",
    "records": "what is written down, without behaviour",
    "runs": "files",
    "scoring.judging.api_calls": "transport",
    "scoring.judging.remote": "transport",
    "system": "files, journals and memory; `TRAINING` and `SCORING` name the generators' state",
}


def test_every_module_that_decides_a_number_is_part_of_an_identity():
    """All that training, scoring and the API reach, by their imports, types included."""
    begun = ("api", "execution.fit", "execution.cell", "execution.attack_job")
    waiting, reached = [f"unlearnbench.{name}" for name in begun], set()
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if name in reached or file is None or not name.startswith("unlearnbench."):
            continue
        reached.add(name)
        waiting += imports(Source(name, file, file.read_bytes()))
    places = (*fingerprint.TRAINING, *fingerprint.SCORING, *fingerprint.INTERIM, *fingerprint.ATTACKS)
    numeric = {name.removesuffix(".py").replace("/", ".") for name in fingerprint.covered(places)}
    modules = {name.removeprefix("unlearnbench.") for name in reached} - {"api"}
    uncovered = {name for name in modules - numeric if file_of(f"unlearnbench.{name}").name != "__init__.py"}
    exempt = {name for name in uncovered if name in WITHOUT_NUMBERS or name.partition(".")[0] in WITHOUT_NUMBERS}
    assert uncovered == exempt
    assert {"data.tables", "models.forward", "scoring.generation.slots", "training.losses", "leaderboard.shares"} <= numeric


def test_a_hash_covers_names_bytes_and_data_of_the_code():
    files = fingerprint.covered(fingerprint.SCORING)
    assert "scoring/judging/wording/v1.jsonl" in files
    assert not any("__pycache__" in name for name in files)
    hashes = {
        fingerprint.training_hash(),
        fingerprint.scoring_hash(),
        fingerprint.interim_hash(),
        fingerprint.attack_hash(),
        fingerprint.options_hash(),
        fingerprint.package_hash(),
    }
    assert len(hashes) == 6


def test_methods_reach_the_scoring_kit():
    """Why what trains covers it: ELM has the untouched model write on."""
    imported = set(imports(next(own_sources("unlearnbench_methods.elm"))))
    assert "unlearnbench.api.continue_texts" in imported
    assert set(fingerprint.covered(("scoring/generation",))) <= set(fingerprint.covered(fingerprint.TRAINING))

"""Commands that compute nothing import nothing heavy; every module imports; the wheel holds what it should."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "transformers", "datasets", "pyarrow")


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("compare", "--help"), ("plugins",), ("leaderboard", "nowhere"), ("sandbox", "--help")],
)
def test_nothing_heavy_is_imported(arguments):
    code = (
        "import sys\n"
        "from unlearnbench.cli import main\n"
        f"sys.argv = ['unlearnbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        f"heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_scoring_never_imports_lightning(tmp_path):
    arguments = ["evaluate", "sandbox:model", "--benchmarks", "wmdp", "--limit", "2", "--out", str(tmp_path)]
    code = (
        "import sys\n"
        "from unlearnbench.cli import app\n"
        f"sys.argv = ['unlearnbench', *{arguments!r}, '--cache', {str(tmp_path / 'cache')!r}]\n"
        "app(standalone_mode=False)\n"
        "assert 'torch' in sys.modules\n"
        "assert 'lightning' not in sys.modules\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_every_module_imports():
    for package in ("unlearnbench", "unlearnbench_methods", "unlearnbench_benchmarks"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def test_wheel_holds_four_packages_and_the_sandbox(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
    ]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"unlearnbench", "unlearnbench_methods", "unlearnbench_benchmarks", "unlearnbench_attacks"}
    for needed in (
        "recipes/sandbox.yaml",
        "sandbox/model/model.safetensors",
        "sandbox/data/wmdp/wmdp-bio/test.jsonl",
        "sandbox/data/mt_bench/question.jsonl",
        "plugins/templates/method/module.py.txt",
        "plugins/templates/generation/module.py.txt",
        "plugins/templates/both/gitignore.txt",
    ):
        assert f"unlearnbench/{needed}" in names

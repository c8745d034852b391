"""The page about Python and the notebook run top to bottom, each as it stands."""

from __future__ import annotations

import pytest
from helpers.notebooks import code_cells, run_cells, shown
from helpers.pages import DOCS, FENCE, ROOT

NOTEBOOK = ROOT / "examples" / "from_python.ipynb"
pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and torch among themselves


@pytest.fixture
def elsewhere(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(cache))
    return tmp_path


def test_the_page_runs(elsewhere, capfd):
    """Every block, in one process; what is printed is what the blocks print."""
    pytest.importorskip("optuna")
    text = (DOCS / "from-python.md").read_text(encoding="utf-8")
    blocks = [block for _, language, block in FENCE.findall(text) if language == "python"]
    assert len(blocks) >= 8
    run_cells(blocks, "from-python.md")
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "Unknown method 'rmuu'. Did you mean 'rmu'?" in printed.out
    assert "Unknown value of --device 'gpu'. Did you mean 'cpu'?" in printed.out
    for folder in ("python", "mine", "evaluate-sandbox-retrained", "tuned/tuning"):
        assert (elsewhere / "runs" / folder / "leaderboard.json").is_file()


def test_the_notebook_runs(elsewhere, capfd):
    """Stripped of outputs; each cell ends with something to look at."""
    cells = code_cells(NOTEBOOK)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    ends = run_cells(["".join(cell["source"]) for cell in cells], NOTEBOOK.name)
    assert capfd.readouterr() == ("", "")
    board, plane, rows, parts, lost, curves = ends
    assert "<td>none (base)" in shown(board)
    assert plane.layout.xaxis.title.text == "K: share kept →"
    assert rows["variant"].iloc[0] == "none"
    assert parts.data[0].type == "heatmap"
    assert set(lost["choice"]) <= {0, 1, 2, 3}
    assert len(lost) > 0
    assert {name for name, _ in curves.index} == {"grad-diff"}

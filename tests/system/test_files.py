"""Files are written whole, and who may read them is what the umask says."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys

import pytest

from unlearnbench.system import files
from unlearnbench.system.files import JsonCache, whole_folder, write_atomic


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_is_as_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "new", b"1")
        (tmp_path / "old").touch(0o666)
        write_atomic(tmp_path / "old", b"2")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"1", b"2"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    """What is begun lies beside it, and goes with the block; an empty folder gives way, one with something in it stays."""
    out = tmp_path / "deep" / "out"

    def write(words: str, *, fail: bool = False) -> None:
        with whole_folder(out) as folder:
            (folder / "part").mkdir()
            (folder / "part" / "file").write_text(words)
            assert not out.exists() or not any(out.iterdir())
            if fail:
                raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write("lost", fail=True)
    assert list(out.parent.iterdir()) == []
    out.mkdir()
    write("kept")
    assert (out / "part" / "file").read_text() == "kept"
    with pytest.raises(OSError, match="not empty"), whole_folder(out) as folder:
        (folder / "file").touch()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["part"]


def test_what_a_killed_process_left_beside_a_folder_goes(tmp_path):
    """And nothing that a living process, or another program, has there."""
    script = (
        "import os, sys; from pathlib import Path; from unlearnbench.system.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as folder: os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False).returncode == -9
    [left] = tmp_path.iterdir()
    (tmp_path / ".mine-1.tmp").mkdir()
    with whole_folder(tmp_path / "first") as begun, whole_folder(tmp_path / "second"):
        assert not left.exists()
        assert begun.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {".mine-1.tmp", "first", "second"}


def test_values_put_together_are_written_once(tmp_path, monkeypatch):
    writes = []
    monkeypatch.setattr(files, "write_atomic", lambda path, content: writes.append(content) or write_atomic(path, content))
    cache = JsonCache(tmp_path / "memory.json")
    with cache.written_once():
        for number in range(5):
            cache.put(str(number), number)
            assert cache.get(str(number)) == number
    assert len(writes) == 1
    with cache.written_once():
        pass
    assert len(writes) == 1
    cache.put("5", 5)
    assert len(writes) == 2
    assert [JsonCache(tmp_path / "memory.json").get(str(number)) for number in range(6)] == [0, 1, 2, 3, 4, 5]


def test_values_are_kept_whatever_ends_the_block(tmp_path):
    cache = JsonCache(tmp_path / "memory.json")
    with contextlib.suppress(KeyboardInterrupt), cache.written_once():
        cache.put("a", 1)
        raise KeyboardInterrupt
    assert JsonCache(tmp_path / "memory.json").get("a") == 1

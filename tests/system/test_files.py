"""Files are written whole, and who may read them is what the umask says."""

from __future__ import annotations

import contextlib
import os
import stat

import pytest

from unlearnbench.system import files
from unlearnbench.system.files import JsonCache, write_atomic


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

"""Files are written whole, and who may read them is what the umask says."""

from __future__ import annotations

import os
import stat

import pytest

from unlearnbench.system.files import write_atomic


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

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from unlearnbench.system.memory import give_back

HOLES = """
import psutil
from unlearnbench.system.memory import give_back

own = psutil.Process()
blocks = [bytearray(b"x" * 50_000) for _ in range(4000)]  # 200 MB below glibc's threshold for blocks of their own
kept = blocks[::40]
del blocks
before = own.memory_info().rss
give_back()
print(before - own.memory_info().rss)
assert all(block == b"x" * 50_000 for block in kept)
"""


def test_holes_between_what_is_used_go_back_to_the_system():
    """Of 200 MB, 5 are kept, every fortieth block."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can give pages back from within its heap")
    freed = int(subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True).stdout)
    assert freed > 150e6


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr("unlearnbench.system.memory._trim", lambda: None)
    give_back()

"""What containers and batch systems allow, from the files that Linux shows of them."""

from __future__ import annotations

from pathlib import Path

import psutil

from unlearnbench.planning.checks import free_memory
from unlearnbench.system.memory import allowed_memory

GIB = 2**30


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_tightest_of_nested_groups(tmp_path):
    """Version 2; pages of files that can be given up are not held."""
    group(tmp_path / "proc/self", cgroup="0::/slice/job")
    top = tmp_path / "sys/fs/cgroup"
    group(top, cgroup__procs="1")
    group(top / "slice", memory__max=8 * GIB, memory__current=7 * GIB, memory__stat=f"anon 1\ninactive_file {2 * GIB}")
    group(top / "slice/job", memory__max="max", memory__current=GIB, memory__stat="anon 1")
    assert allowed_memory(tmp_path) == 3 * GIB
    group(top / "slice/job", memory__max=2 * GIB)
    assert allowed_memory(tmp_path) == GIB
    group(top / "slice/job", memory__current=5 * GIB)
    assert allowed_memory(tmp_path) == 0


def test_version_one(tmp_path):
    """The number of a group without a limit is none; a container sees its own group where the others' would be."""
    group(tmp_path / "proc/self", cgroup="5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/")
    memory = tmp_path / "sys/fs/cgroup/memory"
    group(memory, memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=GIB, memory__stat="total_inactive_file 0")
    assert allowed_memory(tmp_path) is None
    group(memory, memory__limit_in_bytes=4 * GIB, memory__stat=f"total_inactive_file {GIB}")
    assert allowed_memory(tmp_path) == 4 * GIB


def test_elsewhere_there_is_no_limit(tmp_path):
    assert allowed_memory(tmp_path) is None


def test_the_smaller_of_both_counts(monkeypatch):
    monkeypatch.setattr("unlearnbench.planning.checks.allowed_memory", lambda: 1000)
    assert free_memory("cpu") == (1000, "this container or control group")
    monkeypatch.setattr("unlearnbench.planning.checks.allowed_memory", lambda: 2 * psutil.virtual_memory().total)
    assert free_memory("cpu")[1] == "this machine"

"""Listing what there is to trace: by type, by file, by program; structs. Needs no root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.test_bad_input import unitrace


def listed(*args: str) -> list[str]:
    code, out, err = unitrace(*args)
    assert code == 0, err
    return out.splitlines()


def test_events_that_are_the_same_everywhere() -> None:
    assert {"software:cpu:", "software:page-faults:"} <= set(listed("-l", "software:*"))
    assert listed("-l", "hardware:cache-m*") == ["hardware:cache-misses:"]
    assert listed("list", "interval:*") == ["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]
    both = listed("list", "*ware:c*")
    assert "software:cs:" in both and "hardware:cycles:" in both


def test_of_a_program(tmp_path: Path) -> None:
    program = "interval:ms:10 { exit(); } hardware:cache-misses:10, i:s:1 { }"
    assert listed("-l", "-e", program) == ["interval:ms:", "hardware:cache-misses:", "interval:s:"]
    script = tmp_path / "a.bt"
    script.write_text(program)
    assert listed("-l", str(script)) == listed("-l", "-e", program)
    assert unitrace("-l", "-e", "interval:ms:10 {")[0] == 1


def test_in_a_file_and_in_a_process() -> None:
    python = os.path.realpath(sys.executable)
    names = [line.rpartition(":")[2] for line in listed("list", f"uprobe:{python}:*")]
    if not names:
        pytest.skip("this Python has no symbols")
    assert names == sorted(names)
    first = names[0]
    assert listed("list", f"uretprobe:{python}:{first}") == [f"uretprobe:{python}:{first}"]
    assert listed("list", f"uprobe:{python[:-1]}?:{first}") == [f"uprobe:{python}:{first}"]
    ours = listed("list", f"uprobe:*:{first}", "-p", str(os.getpid()))
    assert f"uprobe:{python}:{first}" in ours


def test_nothing_there() -> None:
    code, _, err = unitrace("list", "software:nothing")
    assert (code, err) == (1, "ERROR: no probe matches software:nothing\n")
    code, out, _ = unitrace("-l", "missing.bt")
    assert code == 0 and "is a filename but the file does not exist" in out


def test_functions_of_the_kernel_with_their_arguments() -> None:
    if not listed("-l", "kprobe:vfs_read"):
        pytest.skip("the kernel's functions can't be read")
    assert listed("-l", "fentry:vfs_read") == ["fentry:vmlinux:vfs_read"]
    assert "kprobe:vfs_read" in listed("-l", "*vfs_read*")
    verbose = listed("-lv", "kprobe:vfs_read,struct file")
    assert verbose[0] == "kprobe:vfs_read"
    if os.path.exists("/sys/kernel/btf/vmlinux"):
        assert "    struct file * arg0" in verbose
        assert "vmlinux: struct file {" in verbose

"""Probes of a wildcard that the kernel refuses are left out, and said."""

from __future__ import annotations

import collections
import fnmatch
import subprocess
import sys

import pytest

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Clause, Probe
from unitrace.contract.machine import Machine
from unitrace.contract.wildcards import LeftOut
from unitrace.kernel import tracefs


def clause(number: int, written: str) -> Clause:
    return Clause(
        number, Probe("kprobe", name=f"f{number}", label=f"kprobe:f{number}", written=written), None, ()
    )


def refused(left_out: LeftOut, one: Clause) -> None:
    with left_out.unless_named(one):
        raise ProbeError("no")


def test_only_a_wildcards_probes_are_left_out() -> None:
    left_out = LeftOut()
    refused(left_out, clause(1, "kprobe:f*"))
    assert clause(1, "") in left_out and clause(2, "") not in left_out
    with pytest.raises(ProbeError):
        refused(left_out, clause(2, "kprobe:f2"))
    assert left_out.notes(2) == ["1 of 2 probes can't be had, and are left out: kprobe:f1 (no)"]


def test_none_left_is_an_error() -> None:
    left_out = LeftOut()
    for number in range(5):
        refused(left_out, clause(number, "kprobe:f?"))
    assert ", ... (no)" in left_out.notes(6)[0]
    with pytest.raises(ProbeError):
        left_out.notes(5)


def pattern_with_an_ambiguous_function() -> str:
    """A wildcard for a few functions, of which one's name is that of several."""
    try:
        with open(f"{tracefs.root(Machine())}/available_filter_functions") as file:
            listed = {line.split()[0] for line in file}
        with open("/proc/kallsyms") as file:
            count = collections.Counter(line.split()[2] for line in file if line.split()[1] in "tT")
    except OSError as error:
        pytest.skip(f"this kernel lists no functions: {error.strerror}")
    for name in sorted(one for one in listed if count[one] > 1):
        for end in range(len(name) - 1, 3, -1):
            matching = fnmatch.filter(listed, f"{name[:end]}*")
            if len(matching) > 12:
                break
            if any(count[one] == 1 for one in matching):
                return f"{name[:end]}*"
    pytest.skip("no function's name is that of several here")


@pytest.mark.privileged
@pytest.mark.parametrize("backend", ["ebpf", "ftrace", "perf"])
def test_a_wildcard_with_an_ambiguous_function_attaches(backend: str) -> None:
    program = f"kprobe:{pattern_with_an_ambiguous_function()} {{ @ = count(); }}"
    done = subprocess.run(
        [sys.executable, "-m", "unitrace", "--backend", backend, program, "-c", "/bin/true"],
        capture_output=True,
        text=True,
    )
    if "kprobe" in done.stderr and "can't run this" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert done.returncode == 0, done.stderr
    assert "Attached" in done.stderr

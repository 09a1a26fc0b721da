"""What programs of type tracing are attached to: functions by their BTF ids."""

from __future__ import annotations

import os
import struct

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Probe
from unitrace.kernel import btf_file

from . import syscall

__all__ = ["function", "iterator"]

Target = tuple[int, int]
"""A file descriptor of a module's BTF (0: the kernel's own), and a BTF id in it."""

_modules: dict[str, int] = {}


def function(probe: Probe) -> Target:
    """The function of a fentry or fexit probe: in its module, else in the kernel, else in any module."""
    if probe.scope and probe.scope != "vmlinux":
        names = [probe.scope]
    else:
        names = ["vmlinux", *btf_file.modules()]
    for name in names:
        found = btf_file.vmlinux() if name == "vmlinux" else btf_file.module(name)
        number = found.function(probe.name) if found is not None else 0
        if number:
            return (0 if name == "vmlinux" else _module(name)), number
    raise ProbeError(f"{probe.label}: the kernel's BTF has no such function", span=probe.span)


def iterator(probe: Probe) -> Target:
    """The function that stands for an iterator: bpf_iter_NAME (DEFINE_BPF_ITER_FUNC)."""
    found = btf_file.vmlinux()
    number = found.function(f"bpf_iter_{probe.name}") if found is not None else 0
    if not number:
        raise ProbeError(f"iter {probe.name} not available for your kernel version.", span=probe.span)
    return 0, number


def _module(name: str) -> int:
    """A file descriptor of a module's BTF: it is found by its name (struct bpf_btf_info, 5.11)."""
    if name in _modules:
        return _modules[name]
    number = syscall.next_id("btf", 0)
    while number is not None:
        fd = syscall.btf_by_id(number)
        text = _name(fd)
        if text == name:
            _modules[name] = fd
            return fd
        os.close(fd)
        number = syscall.next_id("btf", number)
    raise ProbeError(f"the kernel has no BTF of module {name}")


def _name(fd: int) -> str:
    import ctypes

    text = ctypes.create_string_buffer(64)
    # btf, btf_size, id, name, name_len, kernel_btf
    given = struct.pack("<QIIQII", 0, 0, 0, ctypes.addressof(text), len(text), 0)
    syscall.object_info(fd, len(given), given)
    return text.value.decode()

"""The machine that a kernel boots on, as a QEMU command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import Unavailable

#: x86-64-v2, what today's binaries ask for at most, and rdrand for an early start of the random generator.
#: What "max" has beyond that costs time where every instruction is emulated: 20 % of Python's start-up.
CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand"

#: Ports between guest and host, in the guest's /sys/class/virtio-ports.
PORTS = ("control", "stdout", "stderr")


@dataclass(frozen=True)
class Machine:
    """What a caller may choose."""

    memory: int = 1024  # MiB
    cpus: int = 2
    accel: str = "tcg"
    append: str = ""  # to the kernel's command line


def find_qemu() -> str:
    """The emulator's path. Raises Unavailable."""
    if os.uname().machine != "x86_64":
        raise Unavailable(
            f"the lab's guests run this machine's programs, on x86-64 only so far ({os.uname().machine})"
        )
    path = shutil.which("qemu-system-x86_64")
    if not path:
        raise Unavailable(
            "no QEMU here: apt-get install qemu-system-x86 busybox-static (Debian 13: virtiofsd too)"
        )
    return path


def kernel_parameters(machine: Machine) -> str:
    """The kernel's command line. An oops ends the guest: what runs after one proves nothing."""
    return f"console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off {machine.append}".strip()


def argv(
    qemu: str, machine: Machine, image: Path, tags: Sequence[str], ports: Mapping[str, int]
) -> list[str]:
    """The command line; it names files of the current directory: initrd, console.log and a socket per tag.

    `ports` gives the file descriptors that the guest's ports write to.
    """
    # With a thread for each CPU, QEMU 7.2 now and then misses that the kernel patched its code back (static
    # calls, jump labels): a CPU then meets the same int3 for ever.
    single = ",thread=single" if machine.accel == "tcg" else ""
    cpu = CPU if machine.accel.startswith("tcg") else "host"
    line = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    line += ["-M", "q35,memory-backend=ram", "-cpu", cpu, "-accel", machine.accel + single]
    line += ["-smp", str(machine.cpus), "-m", f"{machine.memory}M"]
    # Memory that the file servers see too: they copy straight into the guest.
    line += ["-object", f"memory-backend-memfd,id=ram,size={machine.memory}M,share=on"]
    line += ["-kernel", str(image), "-initrd", "initrd", "-append", kernel_parameters(machine)]
    line += ["-serial", "file:console.log", "-device", "virtio-serial-pci"]
    for name, fd in ports.items():
        line += ["-chardev", f"file,id={name},path=/proc/self/fd/{fd},append=on"]
        line += ["-device", f"virtserialport,chardev={name},name={name}"]
    for tag in tags:
        line += ["-chardev", f"socket,id={tag},path={tag}.sock"]
        line += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
    return line

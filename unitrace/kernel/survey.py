"""General facts of the machine, registered with contract.machine; backends add those of their own.

Importing this module registers them (and those of kernel/tracefs.py). Each is found out when asked for.
"""

from __future__ import annotations

import errno
import os

from unitrace.contract.machine import Answer, Machine, fact

from . import cpus
from . import tracefs as tracefs  # registers "tracefs" and "tracefs.root"
from .guard import INITIAL_PID_NAMESPACE

__all__ = ["CAPABILITIES", "parse_config"]

# include/uapi/linux/capability.h, in the order of their numbers.
CAPABILITIES: tuple[str, ...] = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip

_CONFIG_WORDS = (
    "BPF", "BTF", "CGROUP", "CPU_FREQ", "DEBUG_FS", "DEBUG_INFO", "FPROBE", "FTRACE", "FUNCTION", "HIST",
    "IKCONFIG", "IKHEADERS", "KALLSYMS", "KPROBE", "KRETPROBE", "LOCKDOWN", "LSM", "MODULES", "MODVERSIONS",
    "NUMA", "PERF", "PREEMPT", "RETHOOK", "SECCOMP", "STACKTRACE", "SYNTH_EVENTS", "TRAC", "UNWINDER",
    "UPROBE", "USER_EVENTS",
)  # fmt: skip


@fact("kernel.release", "release of the kernel, as uname -r has it")
def _release(machine: Machine) -> str:
    return os.uname().release


@fact("kernel.version", "its first two numbers")
def _version(machine: Machine) -> list[int]:
    first, _, rest = str(machine.fact("kernel.release")).partition(".")
    second = rest.partition(".")[0].partition("-")[0].partition("+")[0]
    return [int(first), int(second) if second.isdigit() else 0]


@fact("kernel.arch", "architecture, as uname -m has it")
def _arch(machine: Machine) -> str:
    return os.uname().machine


@fact("kernel.config", "its build configuration, as far as it concerns tracing: CONFIG_ left out")
def _config(machine: Machine) -> dict[str, str]:
    release = machine.fact("kernel.release")
    for path in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        if path.endswith(".gz"):
            import zlib

            data = zlib.decompress(data, wbits=31)
        return parse_config(data.decode(errors="replace"))
    return {}


def parse_config(text: str) -> dict[str, str]:
    """A kernel's .config as a dict: name without CONFIG_ to "y", "m", or its value; only what is set, and
    only names that concern tracing."""
    found = {}
    for line in text.split("\n"):
        if line.startswith("CONFIG_"):
            name, _, value = line[7:].partition("=")
            if any(word in name for word in _CONFIG_WORDS):
                found[name] = value.strip('"')
    return found


@fact("capabilities", "effective capabilities, names without CAP_")
def _capabilities(machine: Machine) -> list[str]:
    text = _text("/proc/self/status")
    mask = int(text.partition("CapEff:")[2].split(None, 1)[0], 16) if "CapEff:" in text else 0
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]


@fact("lockdown", 'lockdown mode: "none", "integrity", "confidentiality"; "" where it can\'t be read')
def _lockdown(machine: Machine) -> str:
    # none [integrity] confidentiality; security/lockdown/lockdown.c, 5.4
    return _text("/sys/kernel/security/lockdown").partition("[")[2].partition("]")[0]


@fact("perf.paranoid", "sysctl kernel.perf_event_paranoid; -1 asks least")
def _paranoid(machine: Machine) -> int | Answer:
    return _sysctl("perf_event_paranoid", "this kernel has no perf events (CONFIG_PERF_EVENTS)")


@fact("kptr_restrict", "sysctl kernel.kptr_restrict; 2 hides kernel addresses from root too")
def _kptr(machine: Machine) -> int | Answer:
    return _sysctl("kptr_restrict", "no such sysctl")


@fact("kprobes.armed", "whether kprobes fire once they are enabled: two switches can keep them silent")
def _armed(machine: Machine) -> Answer:
    if _text("/sys/kernel/debug/kprobes/enabled").strip() == "0":
        return Answer(
            errno.EPERM,
            "kprobes are switched off: they register and never fire",
            "echo 1 > /sys/kernel/debug/kprobes/enabled",
        )
    if _text("/proc/sys/kernel/ftrace_enabled").strip() == "0":
        return Answer(
            errno.EPERM,
            "kernel.ftrace_enabled is 0: kprobes at function entries never fire",
            "sysctl kernel.ftrace_enabled=1",
        )
    return Answer()


@fact("btf", "whether the kernel's BTF can be read: types and argument names")
def _btf(machine: Machine) -> Answer:
    path = "/sys/kernel/btf/vmlinux"
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Answer(
                errno.ENOENT,
                f"the kernel shows no BTF ({path} isn't there)",
                "use a kernel with CONFIG_DEBUG_INFO_BTF (5.2)",
            )
        return Answer(error.errno or errno.EIO, f"{path}: {error.strerror}")
    return Answer()


@fact("headers", "whether the kernel's headers and bcc's compiler are there, which give types without BTF")
def _headers(machine: Machine) -> Answer:
    from . import headers

    return headers.available(machine)


@fact("cpus.online", "CPUs that are online")
def _online(machine: Machine) -> list[int]:
    return cpus.online()


@fact("cpus.possible", "CPUs that the kernel has room for")
def _possible(machine: Machine) -> int:
    return cpus.possible()


@fact("container", 'what kind of container this is, as far as can be told; "" for none')
def _container(machine: Machine) -> str:
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    named = _text("/proc/1/environ").partition("container=")[2].partition("\0")[0]
    if named:
        return named
    try:
        if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
            return "a PID namespace"
    except OSError:
        pass
    return ""


def _text(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall().decode(errors="replace")
    except OSError:
        return ""


def _sysctl(name: str, missing: str) -> int | Answer:
    text = _text(f"/proc/sys/kernel/{name}").strip()
    return int(text) if text else Answer(errno.ENOENT, missing)

"""What perf_event_open(2) gives on this machine: found out by trying, each try harmless and quick.

A tracepoint isn't tried: opening one costs its closing, which waits some 30-70 ms for RCU. What decides
there (its id in tracefs, perf_event_paranoid, capabilities) is asked instead. A probe of the kprobe and
uprobe PMUs is tried on a place that doesn't exist: permission is checked first, so ENOENT means yes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

from unitrace.contract.backend import Support
from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Answer, Machine, fact
from unitrace.kernel import cpus, tracefs
from unitrace.kernel import survey as survey  # registers the general facts
from unitrace.kernel.perf_events import perf_event_open

from . import syscall

__all__ = ["explained", "supports"]

_NOWHERE = b"/unitrace/no/such/file\0"
_NO_FUNCTION = b"unitrace_no_such_function\0"

_DEVICES = "/sys/bus/event_source/devices"


@fact("perf.software", "perf software events on a whole CPU, with CLOCK_MONOTONIC stamps")
def _software(machine: Machine) -> Answer:
    flags = syscall.DISABLED | syscall.SAMPLE_ID_ALL
    return _tried_dummy(machine, flags=flags)


@fact("perf.clockid", "perf events stamped by CLOCK_MONOTONIC (4.1)")
def _clockid(machine: Machine) -> Answer:
    software = machine.answer("perf.software")
    if not software:
        return software
    flags = syscall.DISABLED | syscall.USE_CLOCKID
    answer = _tried_dummy(machine, flags=flags)
    if answer.errno == errno.EINVAL:
        return Answer(errno.EINVAL, "this kernel's perf has no use_clockid", "use a kernel from 4.1 on")
    return answer


@fact("perf.format_lost", "events count their own lost samples (PERF_FORMAT_LOST, 6.0)")
def _format_lost(machine: Machine) -> Answer:
    answer = _tried_dummy(machine, read_format=syscall.FORMAT_LOST)
    if answer.errno == errno.EINVAL:
        return Answer(errno.EINVAL, "this kernel's perf has no PERF_FORMAT_LOST (6.0)")
    return answer


@fact("perf.regs", "samples carry the registers of the traced context (SAMPLE_REGS_INTR, 3.19)")
def _regs(machine: Machine) -> Answer:
    answer = _tried_dummy(machine, sample_type=syscall.SAMPLE_REGS_INTR, regs=1)
    if answer.errno in (errno.EINVAL, errno.ENOSYS):
        return Answer(answer.errno, "perf samples carry no registers on this architecture")
    return answer


@fact("perf.tracepoint", "tracepoints with their fields")
def _tracepoint(machine: Machine) -> Answer:
    for name in ("perf.software", "perf.clockid", "tracefs"):
        answer = machine.answer(name)
        if not answer:
            return answer
    # perf_trace_event_perm(), kernel/trace/trace_event_perf.c
    paranoid = machine.fact("perf.paranoid")
    capabilities = machine.fact("capabilities")
    privileged = isinstance(capabilities, list) and {"perfmon", "sys_admin"} & set(capabilities)
    if isinstance(paranoid, int) and paranoid > -1 and not privileged:
        return Answer(
            errno.EPERM,
            f"raw tracepoint data needs CAP_PERFMON at perf_event_paranoid {paranoid}",
            "run as root",
        )
    return Answer()


@fact("perf.set_filter", "tracepoint filters in the kernel (PERF_EVENT_IOC_SET_FILTER)")
def _set_filter(machine: Machine) -> Answer:
    return machine.answer("perf.tracepoint")  # one comes with the other, since 2.6.33


@fact("perf.kprobe_type", "type of the kprobe PMU; 0 where there is none")
def _kprobe_type(machine: Machine) -> int:
    return _pmu_type("kprobe")


@fact("perf.uprobe_type", "type of the uprobe PMU; 0 where there is none")
def _uprobe_type(machine: Machine) -> int:
    return _pmu_type("uprobe")


@fact("perf.kprobe_pmu", "kprobes by a PMU of their own, gone when closed (4.17)")
def _kprobe_pmu(machine: Machine) -> Answer:
    return _tried_pmu(machine, "kprobe", _NO_FUNCTION)


@fact("perf.uprobe_pmu", "uprobes by a PMU of their own, gone when closed (4.17)")
def _uprobe_pmu(machine: Machine) -> Answer:
    return _tried_pmu(machine, "uprobe", _NOWHERE)


@fact("perf.hardware", "hardware counters")
def _hardware(machine: Machine) -> Answer:
    cycles = syscall.attr(syscall.TYPE_HARDWARE, syscall.HW_CPU_CYCLES, flags=syscall.DISABLED)
    answer = _tried(machine, cycles)
    if answer.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return Answer(answer.errno, "no PMU: this machine, or its hypervisor, offers no hardware counters")
    return answer


@fact("perf.ring_kib", "KiB that one process may lock for perf rings, all together; 0: no limit")
def _ring_kib(machine: Machine) -> int:
    # perf_mmap(), kernel/events/core.c: a per-user allowance, then RLIMIT_MEMLOCK
    capabilities, paranoid = machine.fact("capabilities"), machine.fact("perf.paranoid")
    if "ipc_lock" in capabilities or (isinstance(paranoid, int) and paranoid < 0):
        return 0
    import resource

    try:
        allowance = int(machine.read("/proc/sys/kernel/perf_event_mlock_kb"))
    except (OSError, ValueError):
        allowance = 516
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY:
        return 0
    return allowance * len(cpus.online()) + limit // 1024


@fact("perf.initial_pid_namespace", "pids in samples are those of the initial PID namespace")
def _initial(machine: Machine) -> Answer:
    # perf_event_pid_type() answers in the opener's namespace. PROC_PID_INIT_INO, proc_ns.h.
    try:
        if os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC:
            return Answer()
    except OSError as error:
        return Answer(error.errno or errno.EIO, f"/proc/self/ns/pid: {error.strerror}", "mount /proc")
    return Answer(errno.EPERM, "perf sees the pids of this container's namespace", "run it on the host")


def supports(machine: Machine) -> Sequence[Support]:
    """The survey: what this machine gives of perf, and why not where it doesn't."""
    answer = machine.answer
    rows = [Support("tracepoint", answer("perf.tracepoint"), "by id")]
    for kind in ("kprobe", "uprobe"):
        pmu, events = answer(f"perf.{kind}_pmu"), answer(f"perf.{kind}_events")
        ways = [way for way, works in (("PMU", pmu), ("tracefs event", events)) if works]
        best = Answer() if ways else (events if pmu.errno == errno.ENODEV else pmu)
        how = ", else ".join(ways)
        rows += [Support(kind, best, how), Support(kind.replace("probe", "retprobe"), best, how)]
    static = answer("perf.uprobe_events")
    rows.append(Support("usdt", static, "uprobe events at the file's notes"))
    rows.append(Support("profile", answer("perf.software"), "cpu-clock"))
    rows.append(Support("watchpoint", answer("perf.software"), "breakpoints of the CPU"))
    rows.append(Support("stacks", answer("perf.software"), "call chains"))
    rows.append(Support("software", answer("perf.software"), "clock, faults, context switches"))
    rows.append(Support("hardware", answer("perf.hardware"), "hardware counters"))
    rows.append(Support("filter", answer("perf.set_filter"), "PERF_EVENT_IOC_SET_FILTER"))
    rows.append(Support("registers", answer("perf.regs"), "SAMPLE_REGS_INTR"))
    rows.append(Support("clock", answer("perf.clockid"), "CLOCK_MONOTONIC"))
    rows.append(Support("lost by event", answer("perf.format_lost"), "PERF_FORMAT_LOST"))
    rows.append(
        Support("maps in the kernel", answer("perf.software"), "counting mode for a count without a key")
    )
    return rows


@fact("perf.kprobe_events", "kprobes through a tracefs event, opened by its id")
def _kprobe_events(machine: Machine) -> Answer:
    return _tried_events(machine, "kprobe")


@fact("perf.uprobe_events", "uprobes through a tracefs event, opened by its id")
def _uprobe_events(machine: Machine) -> Answer:
    return _tried_events(machine, "uprobe")


def _tried_events(machine: Machine, kind: str) -> Answer:
    answer = machine.answer("perf.tracepoint")
    if not answer:
        return answer
    file = f"{kind}_events"
    try:
        os.close(os.open(f"{tracefs.root(machine)}/{file}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Answer(errno.ENOENT, f"this kernel has no {file} (CONFIG_{kind.upper()}_EVENTS)")
        return Answer(error.errno or errno.EIO, f"{file}: {error.strerror}")
    except BackendError as error:
        return Answer(errno.ENOENT, error.message, error.remedy)
    return Answer()


def _pmu_type(name: str) -> int:
    try:
        with open(f"{_DEVICES}/{name}/type", "rb", buffering=0) as file:
            return int(file.readall())
    except OSError:
        return 0


def _tried_pmu(machine: Machine, name: str, nowhere: bytes) -> Answer:
    software = machine.answer("perf.software")
    if not software:
        return software
    number = machine.fact(f"perf.{name}_type")
    if not isinstance(number, int) or not number:
        return Answer(errno.ENODEV, f"this kernel has no {name} PMU", "use a kernel from 4.17 on")
    place = ctypes.create_string_buffer(nowhere)
    attr = syscall.attr(number, 0, flags=syscall.DISABLED, config1=ctypes.addressof(place))
    answer = _tried(machine, attr)
    return Answer() if answer.errno in (errno.ENOENT, errno.EINVAL) else answer


def _tried_dummy(
    machine: Machine,
    *,
    flags: int = syscall.DISABLED,
    sample_type: int = 0,
    read_format: int = 0,
    regs: int = 0,
) -> Answer:
    """Whether perf opens a software event that never counts, so described."""
    attr = syscall.attr(
        syscall.TYPE_SOFTWARE, syscall.SW_DUMMY,
        flags=flags, sample_type=sample_type, read_format=read_format, regs=regs,
    )  # fmt: skip
    return _tried(machine, attr)


def _tried(machine: Machine, attr: bytes) -> Answer:
    try:
        os.close(perf_event_open(attr, cpu=cpus.online()[0]))
    except OSError as error:
        return explained(machine, error.errno or errno.EIO)
    return Answer()


def explained(machine: Machine, code: int) -> Answer:
    """perf_event_open's errno, in words."""
    if code == errno.ENOSYS:
        return Answer(code, "perf_event_open is not there: no CONFIG_PERF_EVENTS, or seccomp hides it")
    if code in (errno.EACCES, errno.EPERM):
        paranoid = machine.fact("perf.paranoid")
        capabilities = machine.fact("capabilities")
        lockdown = machine.fact("lockdown")
        if "sys_admin" in capabilities:
            if lockdown == "confidentiality":
                return Answer(code, "kernel lockdown (confidentiality) forbids it", "boot without lockdown")
            return Answer(code, f"perf_event_open is denied ({os.strerror(code)}): by seccomp or an LSM",
                          "allow perf_event_open in the container's seccomp profile")  # fmt: skip
        remedy = "run as root, or with CAP_PERFMON"
        if isinstance(paranoid, int) and paranoid > 2:  # a distribution's patch: CAP_PERFMON won't do
            remedy = "run as root, or: sysctl kernel.perf_event_paranoid=-1"
        return Answer(code, f"no permission (perf_event_paranoid is {paranoid})", remedy)
    if code == errno.E2BIG:
        return Answer(code, "this kernel's perf_event_attr is older than 4.1", "use a newer kernel")
    if code == errno.EMFILE:
        return Answer(code, "no file descriptors left", "ulimit -n")
    return Answer(code, f"perf_event_open: {os.strerror(code)}")

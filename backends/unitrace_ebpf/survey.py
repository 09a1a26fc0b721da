"""What this machine gives to BPF: facts found by really trying, each with reason and remedy.

A try makes a small map or loads a program of a few instructions, and closes it at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Set

from unitrace.contract.machine import Answer, Machine, fact

from . import perf_event, syscall
from .asm import FP, R0, R1, Code
from .compile.base import Abilities
from .compile.stacks import READERS
from .memlock import unlock_memory

__all__ = ["THINGS", "abilities", "version"]


def version(machine: Machine) -> tuple[int, int]:
    """The kernel's version, major and minor."""
    try:
        found = machine.fact("kernel.version")
    except KeyError:  # nobody has registered the general facts
        found = None
    if isinstance(found, (list, tuple)):
        return found[0], found[1]
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _try(what: Callable[[], int], since: str = "") -> Answer:
    try:
        fd = what()
    except OSError as error:
        return explained(error, since)
    except (KeyError, ValueError) as error:
        return Answer(errno.ENOSYS, str(error))
    if fd > 2:
        os.close(fd)
    return Answer()


def explained(error: OSError, since: str = "") -> Answer:
    """An errno of bpf(2) in words, with what would change it."""
    number = error.errno or errno.EIO
    if number == errno.ENOSYS:
        return Answer(
            number,
            "bpf(2) is not there: a seccomp filter, or a kernel without CONFIG_BPF_SYSCALL",
            "run outside the container, or allow bpf in its seccomp profile",
        )
    if number in (errno.EPERM, errno.EACCES):
        return Answer(number, *_forbidden())
    if number == errno.ENOMEM:
        return Answer(number, "not enough memory, or RLIMIT_MEMLOCK", "raise it: ulimit -l unlimited")
    reason = os.strerror(number)
    if since and number in (errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP, errno.ENOENT):
        return Answer(number, f"the kernel has it since {since} ({reason})", f"kernel {since} or later")
    return Answer(number, reason)


def _forbidden() -> tuple[str, str]:
    if not _capable():
        sysctl = "/proc/sys/kernel/unprivileged_bpf_disabled"
        try:
            with open(sysctl) as file:
                level = file.read().strip()
        except OSError:
            level = ""
        word = f"; unprivileged_bpf_disabled is {level}" if level else ""
        return f"no CAP_BPF and CAP_PERFMON here{word}", "run as root, or with these capabilities"
    try:
        with open("/sys/kernel/security/lockdown") as file:
            held = file.read().partition("[")[2].partition("]")[0]
    except OSError:
        held = ""
    if held and held != "none":
        return f"bpf(2) is refused though capable: lockdown is {held}, or a seccomp filter or LSM says no", ""
    if _status("Seccomp") == "2":  # SECCOMP_MODE_FILTER
        return (
            "bpf(2) is refused: a seccomp filter holds this process",
            "run outside the container, or allow bpf in its seccomp profile",
        )
    return "bpf(2) is refused though capable: a user namespace or an LSM", "run outside the container"


def _capable() -> bool:
    """Whether this process has CAP_SYS_ADMIN (21), or CAP_BPF (39) and CAP_PERFMON (38)."""
    held = _status("CapEff")
    if not held:
        return os.geteuid() == 0
    mask = int(held, 16)
    return bool(mask >> 21 & 1 or (mask >> 39 & 1 and mask >> 38 & 1))


def _status(name: str) -> str:
    """A line of /proc/self/status (proc(5)); "" where it isn't there."""
    try:
        with open("/proc/self/status") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith(f"{name}:")), "")
    except OSError:
        return ""


def _program(
    kind: int,
    emit: Callable[[Code], None] | None = None,
    *,
    expected: int = 0,
    target: tuple[int, int] = (0, 0),
) -> int:
    code = Code()
    if emit is not None:
        emit(code)
    code.alui("mov", R0, 0)
    code.exit()
    return syscall.prog_load(kind, code.link({}), "ut_try", expected=expected, target=target)


ROOM, CONTEXT = object(), object()
"""Arguments of a helper that aren't numbers: 8 bytes of the stack, and what the program is called with."""


def _helper(kind: int, name: str, *arguments: object) -> Callable[[], int]:
    """A program that calls a helper. CONTEXT comes first, if at all: it is in R1 already."""

    def emit(code: Code) -> None:
        for register, value in enumerate(arguments, R1):
            if value is ROOM:
                code.mov(register, FP)
                code.alui("+", register, -8)
            elif isinstance(value, int):
                code.alui("mov", register, value)
        code.call(name)

    return lambda: _program(kind, emit)


def _after(machine: Machine, fact: str, what: Callable[[], int], since: str = "") -> Answer:
    """Try ``what`` where ``fact`` holds, else give its reason."""
    answer = machine.answer(fact)
    return _try(what, since) if answer else answer


@fact("bpf.syscall", "bpf(2) makes maps")
def _syscall(machine: Machine) -> Answer:
    """Everything else is tried after this."""
    unlock_memory(version(machine))
    return _try(lambda: syscall.map_create(syscall.ARRAY, 4, 8, 1))


@fact("bpf.tracepoint", "programs of type tracepoint (4.7)")
def _tracepoint(machine: Machine) -> Answer:
    return _after(machine, "bpf.syscall", lambda: _program(syscall.TRACEPOINT), "4.7")


@fact("bpf.kprobe", "programs of type kprobe: kprobes and uprobes (4.1)")
def _kprobe(machine: Machine) -> Answer:
    return _after(machine, "bpf.syscall", lambda: _program(syscall.KPROBE), "4.1")


@fact("bpf.raw_tracepoint", "programs of type raw_tracepoint (4.17)")
def _raw(machine: Machine) -> Answer:
    return _after(machine, "bpf.syscall", lambda: _program(syscall.RAW_TRACEPOINT), "4.17")


@fact("bpf.perf_event", "programs of type perf_event (4.9)")
def _perf(machine: Machine) -> Answer:
    return _after(machine, "bpf.syscall", lambda: _program(syscall.PERF_EVENT), "4.9")


@fact("bpf.percpu_maps", "per-CPU hashes and arrays (4.6)")
def _percpu(machine: Machine) -> Answer:
    return _after(machine, "bpf.syscall", lambda: syscall.map_create(syscall.PERCPU_HASH, 8, 8, 1), "4.6")


@fact("bpf.ringbuf", "the ring buffer that CPUs share (5.8)")
def _ringbuf(machine: Machine) -> Answer:
    return _after(machine, "bpf.syscall", lambda: syscall.map_create(syscall.RINGBUF, 0, 0, 65536), "5.8")


@fact("bpf.split_reads", "bpf_probe_read_user and bpf_probe_read_kernel (5.5)")
def _reads(machine: Machine) -> Answer:
    return _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, "probe_read_user", ROOM, 8, 0), "5.5")


@fact("bpf.read_kernel", "reading kernel memory (lockdown=confidentiality forbids it)")
def _read_kernel(machine: Machine) -> Answer:
    name = "probe_read_kernel" if machine.answer("bpf.split_reads") else "probe_read"
    answer = _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, name, ROOM, 8, 0))
    if answer or answer.errno != errno.EINVAL:
        return answer
    return Answer(answer.errno, "the kernel is locked down (confidentiality)", "boot without it")


@fact("bpf.direct_values", "an array's value by its address (5.2)")
def _direct(machine: Machine) -> Answer:
    def make() -> int:
        array = syscall.map_create(syscall.ARRAY, 4, 4, 1)
        try:
            code = Code()
            code.map_value(R1, "map")
            code.load(R0, R1, 0, 4)
            code.exit()
            return syscall.prog_load(syscall.SOCKET_FILTER, code.link({"map": array}), "ut_try")
        finally:
            os.close(array)

    return _after(machine, "bpf.syscall", make, "5.2")


@fact("bpf.boot_clock", "bpf_ktime_get_boot_ns (5.8)")
def _boot(machine: Machine) -> Answer:
    return _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, "ktime_get_boot_ns"), "5.8")


@fact("bpf.jiffies", "bpf_jiffies64 (5.5)")
def _jiffies(machine: Machine) -> Answer:
    return _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, "jiffies64"), "5.5")


@fact("bpf.task_btf", "bpf_get_current_task_btf (5.11)")
def _task_btf(machine: Machine) -> Answer:
    return _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, "get_current_task_btf"), "5.11")


@fact("bpf.get_stack", "bpf_get_stack (4.18)")
def _get_stack(machine: Machine) -> Answer:
    helper = _helper(syscall.KPROBE, "get_stack", CONTEXT, ROOM, 8, 0)
    return _after(machine, "bpf.kprobe", helper, "4.18")


@fact("bpf.test_run", "programs that user space runs itself: BPF_PROG_TEST_RUN of raw tracepoints (5.10)")
def _test_run(machine: Machine) -> Answer:
    def make() -> int:
        prog = _program(syscall.RAW_TRACEPOINT)
        try:
            return syscall.prog_test_run(prog, bytes(8))
        finally:
            os.close(prog)

    return _after(machine, "bpf.raw_tracepoint", make, "5.10")


@fact("bpf.func_ip", "bpf_get_func_ip in kprobes (5.15)")
def _func_ip(machine: Machine) -> Answer:
    return _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, "get_func_ip"), "5.15")


@fact("bpf.cookies", "bpf_get_attach_cookie (5.15)")
def _cookies(machine: Machine) -> Answer:
    return _after(machine, "bpf.kprobe", _helper(syscall.KPROBE, "get_attach_cookie"), "5.15")


@fact("bpf.perf_link", "bpf_link of perf events (5.15)")
def _perf_link(machine: Machine) -> Answer:
    def make() -> int:
        prog = _program(syscall.PERF_EVENT)
        try:
            event = perf_event.dummy()
            try:
                return syscall.link_create(prog, event, syscall.ATTACH_PERF_EVENT)
            finally:
                os.close(event)
        finally:
            os.close(prog)

    return _after(machine, "bpf.perf_event", make, "5.15")


@fact("bpf.uprobe_multi", "one link for many places of a file (6.6)")
def _uprobe_multi(machine: Machine) -> Answer:
    """A program is loaded for it, and a link asked for on no file at all: EINVAL from a kernel that
    doesn't know it, EBADF and the like from one that does."""

    def make() -> int:
        prog = _program(syscall.KPROBE, expected=syscall.ATTACH_UPROBE_MULTI)
        try:
            return syscall.link_create_multi(prog, "/nonexistent", [0], [0], returns=False)
        except FileNotFoundError:
            return -1
        finally:
            os.close(prog)

    return _after(machine, "bpf.kprobe", make, "6.6")


@fact("bpf.kprobe_multi", "one link for many kernel functions (5.18)")
def _kprobe_multi(machine: Machine) -> Answer:
    """A link on a function that isn't there: EOPNOTSUPP from a kernel without CONFIG_FPROBE."""
    if version(machine) < (5, 18):
        return Answer(errno.EINVAL, "the kernel has it since 5.18", "kernel 5.18 or later")

    def make() -> int:
        prog = _program(syscall.KPROBE, expected=syscall.ATTACH_KPROBE_MULTI)
        try:
            return syscall.link_create_kprobes(prog, ["unitrace_no_such_function"], [0], returns=False)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise OSError(errno.ENOSYS, "no fprobe") from None
            return -1
        finally:
            os.close(prog)

    answer = _after(machine, "bpf.kprobe", make, "5.18")
    if answer.errno == errno.ENOSYS:
        return Answer(errno.ENOSYS, "the kernel was built without CONFIG_FPROBE")
    return answer


@fact("bpf.fentry", "programs on functions by trampolines (5.5; arm64 6.0)")
def _fentry(machine: Machine) -> Answer:
    """Loaded for a function of the kernel's own tests, and not attached."""
    answer = _traced(machine, "bpf_fentry_test1", syscall.ATTACH_FENTRY, "5.5")
    if answer.errno in (errno.EPERM, errno.EACCES) and _capable():
        return Answer(answer.errno, "the kernel refuses programs on BPF trampolines", "use kprobe")
    return answer


@fact("bpf.iter", "programs that walk over kernel objects (5.8)")
def _iter(machine: Machine) -> Answer:
    return _traced(machine, "bpf_iter_task", syscall.ATTACH_ITER, "5.8")


def _traced(machine: Machine, function: str, attach: int, since: str) -> Answer:
    answer = machine.answer("bpf.syscall")
    if not answer:
        return answer
    from unitrace.kernel import btf_file

    found = btf_file.vmlinux()
    number = found.function(function) if found is not None else 0
    if not number:
        reason = "no BTF of the kernel" if found is None else f"the kernel has it since {since}"
        return Answer(errno.ENOENT, reason, f"a kernel of {since} or later with CONFIG_DEBUG_INFO_BTF")
    return _try(lambda: _program(syscall.TRACING, expected=attach, target=(0, number)), since)


@fact("bpf.batch", "batch operations on maps (5.6; per-CPU hashes too)")
def _batch(machine: Machine) -> Answer:
    def make() -> int:
        fd = syscall.map_create(syscall.PERCPU_HASH, 8, 8, 1)
        try:
            from unitrace.kernel.cpus import possible

            list(syscall.map_lookup_batch(fd, 8, 8 * possible(), 8))
        finally:
            os.close(fd)
        return -1

    return _after(machine, "bpf.percpu_maps", make, "5.6")


@fact("bpf.tracepoint_events", "programs hang on tracepoints by perf_event_open(2)")
def _perf_open(machine: Machine) -> Answer:
    try:
        os.close(perf_event.dummy())
    except OSError as error:
        return _perf_refused(error)
    return machine.answer("bpf.tracepoint")


def _perf_refused(error: OSError) -> Answer:
    number = error.errno or errno.EIO
    if number in (errno.EACCES, errno.EPERM):
        return Answer(
            number,
            "perf_event_open(2) is refused",
            "sysctl kernel.perf_event_paranoid=1, CAP_PERFMON, or CAP_SYS_ADMIN on Debian",
        )
    return Answer(number, f"perf_event_open(2): {os.strerror(number)}")


@fact("bpf.perf_software", "programs sample perf software events: profile, software")
def _perf_software(machine: Machine) -> Answer:
    return _sampling(machine, "software")


@fact("bpf.perf_hardware", "programs sample hardware counters")
def _perf_hardware(machine: Machine) -> Answer:
    return _sampling(machine, "hardware")


@fact("bpf.watchpoint", "programs on memory that is watched")
def _watchpoint(machine: Machine) -> Answer:
    return _sampling(machine, "watchpoint")


def _sampling(machine: Machine, what: str) -> Answer:
    from . import sampling

    try:
        os.close(sampling.TRIALS[what]())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            return Answer(
                error.errno, "the machine has no such counters", "a virtual machine's host may give it a PMU"
            )
        return _perf_refused(error)
    return machine.answer("bpf.perf_event")


def _pmu(machine: Machine, pmu: str, target: str) -> Answer:
    """The permission is looked at before the target: a target that isn't there tells, at no cost."""
    try:
        os.close(perf_event.dynamic_pmu(pmu, target, 0, returns=False))
    except FileNotFoundError as error:
        if os.path.exists(f"/sys/bus/event_source/devices/{pmu}"):
            return machine.answer("bpf.kprobe")
        config = f"CONFIG_{pmu.upper()}_EVENTS"
        return Answer(error.errno or 2, f"no {pmu} PMU", f"a kernel of 4.17 or later, built with {config}")
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EADDRNOTAVAIL):
            return _perf_refused(error)
    return machine.answer("bpf.kprobe")


@fact("bpf.kprobe_pmu", "kprobes by perf_event_open(2) (4.17)")
def _kprobe_pmu(machine: Machine) -> Answer:
    return _pmu(machine, "kprobe", "unitrace_no_such_function")


@fact("bpf.uprobe_pmu", "uprobes by perf_event_open(2) (4.17)")
def _uprobe_pmu(machine: Machine) -> Answer:
    return _pmu(machine, "uprobe", "/nonexistent/unitrace")


def _tracefs_events(machine: Machine, file: str, config: str) -> Answer:
    from unitrace.contract.errors import BackendError
    from unitrace.kernel import tracefs

    try:
        path = f"{tracefs.root(machine)}/{file}"
    except BackendError as error:
        return Answer(errno.ENOENT, error.message, error.remedy)
    if not os.path.exists(path):
        return Answer(
            errno.ENOENT, f"no {file}: the kernel was built without {config}", f"a kernel with {config}"
        )
    if not os.access(path, os.W_OK):
        return Answer(errno.EACCES, f"{path} can't be written", "run as root")
    return machine.answer("bpf.kprobe")


@fact("bpf.kprobe_events", "kprobes by tracefs")
def _kprobe_events(machine: Machine) -> Answer:
    return _tracefs_events(machine, "kprobe_events", "CONFIG_KPROBE_EVENTS")


@fact("bpf.uprobe_events", "uprobes by tracefs")
def _uprobe_events(machine: Machine) -> Answer:
    return _tracefs_events(machine, "uprobe_events", "CONFIG_UPROBE_EVENTS")


def abilities(machine: Machine, sites: Set[str]) -> Abilities:
    """The facts that decide how programs that read ``sites`` are compiled."""

    def has(name: str) -> bool:
        return bool(machine.answer(name))

    return Abilities(
        split_reads=has("bpf.split_reads"),
        direct_values=has("bpf.direct_values"),
        ringbuf=has("bpf.ringbuf"),
        boot_clock="boot" in sites and has("bpf.boot_clock"),
        jiffies="jiffies" in sites and has("bpf.jiffies"),
        get_stack=not sites.isdisjoint(READERS) and has("bpf.get_stack"),
        func_ip="func" in sites and has("bpf.func_ip"),
        loops=version(machine) >= (5, 3),
        callbacks=version(machine) >= (5, 17),
        other_cpus=version(machine) >= (5, 19),
        signals=version(machine) >= (5, 6),
    )


THINGS = (
    (
        "tracepoint",
        "bpf.tracepoint_events",
        "BPF on a perf event, or a raw tracepoint where no field is read",
    ),
    ("kprobe", "bpf.kprobe_pmu", "BPF on the kprobe PMU"),
    ("kprobe", "bpf.kprobe_events", "BPF on a tracefs event"),
    ("fentry, fexit", "bpf.fentry", "BPF trampoline"),
    ("iter", "bpf.iter", "bpf_iter"),
    ("rawtracepoint", "bpf.raw_tracepoint", "raw tracepoint"),
    ("uprobe", "bpf.uprobe_multi", "BPF by one link"),
    ("uprobe", "bpf.uprobe_pmu", "BPF on the uprobe PMU"),
    ("uprobe", "bpf.uprobe_events", "BPF on a tracefs event"),
    ("profile, software", "bpf.perf_software", "BPF on a perf event a CPU, or a thread"),
    ("hardware", "bpf.perf_hardware", "BPF on a perf event a CPU, or a thread"),
    ("watchpoint", "bpf.watchpoint", "BPF on a perf event a CPU, or a thread"),
    ("records", "bpf.ringbuf", "ring buffer"),
    ("maps in the kernel", "bpf.percpu_maps", "per-CPU hashes and arrays"),
    ("strings and memory", "bpf.read_kernel", "probe_read helpers"),
    ("call stacks", "bpf.get_stack", "read when the probe fires"),
    ("batch map reads", "bpf.batch", ""),
    ("links", "bpf.perf_link", ""),
    ("cookies", "bpf.cookies", ""),
    ("kprobe.multi", "bpf.kprobe_multi", "one link for many functions"),
)
"""Lines of ``unitrace backends``: what, by which fact, how."""

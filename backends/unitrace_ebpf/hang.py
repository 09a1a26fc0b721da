"""Hanging programs on probes: a way for each mechanism, and taking them down again."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from unitrace.contract.ir import Probe
from unitrace.contract.machine import Machine

from . import perf_event, syscall

if TYPE_CHECKING:
    from unitrace.kernel.dynamic import DynamicEvents

__all__ = ["Hanger"]

LINK_PERF_EVENT, LINK_KPROBE_MULTI = 7, 8  # enum bpf_link_type

Loader = Callable[..., int]
"""Gives a program for a program type and, for BPF_PROG_TYPE_TRACING, its target (targets.py)."""


class Hanger:
    """All probes of one attachment."""

    def __init__(self, machine: Machine, pid: int = 0) -> None:
        self.machine = machine
        self.pid = pid
        self.fast: list[int] = []  # links that are quickly gone: raw tracepoints, trampolines, kprobe.multi
        self.links: list[int] = []
        self.events: list[int] = []
        self.multi: dict[tuple[int, str, bool], list[tuple[int, int, int]]] = {}
        self.functions: dict[tuple[int, bool], list[tuple[Probe, int]]] = {}
        self.walks: list[int] = []  # iterators' links
        self.asleep: list[int] = []  # sampled events: they count from the start on, in order
        self.cookie = 0  # of what is being hung
        self.dynamic: DynamicEvents | None = None

    def hang(self, probe: Probe, how: str, load: Loader, cookie: int) -> None:
        """Hang a program on ``probe``; ``load`` gives it for a program type; it can ask for ``cookie``
        where links have one. OSError where the kernel refuses the probe."""
        self.cookie = cookie
        getattr(self, f"_{how}")(probe, load)

    def _raw(self, probe: Probe, load: Loader) -> None:
        """A raw tracepoint; a few events have another name than their tracepoint."""
        try:
            self.fast.append(syscall.raw_tracepoint_open(probe.name, load(syscall.RAW_TRACEPOINT)))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL) or probe.kind == "rawtracepoint":
                raise
            self._event(probe, load)

    def _event(self, probe: Probe, load: Loader) -> None:
        from unitrace.kernel import tracefs

        from .offer import event_of

        folder = tracefs.event_dir(tracefs.root(self.machine), *event_of(probe))
        number = int(self.machine.read(f"{folder}/id"))
        self._on_event(lambda: perf_event.tracepoint(number), load(syscall.TRACEPOINT))

    def _kprobe_pmu(self, probe: Probe, load: Loader) -> None:
        returns = probe.kind == "kretprobe"
        name, offset = ("", probe.address) if probe.address else (probe.name, probe.offset)
        self._on_event(
            lambda: perf_event.dynamic_pmu("kprobe", name, offset, returns=returns),
            load(syscall.KPROBE),
        )

    def _uprobe_pmu(self, probe: Probe, load: Loader) -> None:
        returns = probe.kind == "uretprobe"
        program = load(syscall.KPROBE)
        for at, counter in _places(probe):
            self._on_event(
                lambda at=at, counter=counter: perf_event.dynamic_pmu(  # type: ignore[misc]
                    "uprobe", probe.scope, at, returns=returns, counter=counter
                ),
                program,
            )

    def _uprobe_multi(self, probe: Probe, load: Loader) -> None:
        """Places of one file that share a program share a link; ``finish`` makes it."""
        program = load(syscall.KPROBE)
        gathered = self.multi.setdefault((program, probe.scope, probe.kind == "uretprobe"), [])
        gathered += [(at, self.cookie, counter) for at, counter in _places(probe)]

    def _kprobe_multi(self, probe: Probe, load: Loader) -> None:
        """Functions that share a program share a link; ``finish`` makes it."""
        program = load(syscall.KPROBE)
        gathered = self.functions.setdefault((program, probe.kind == "kretprobe"), [])
        gathered.append((probe, self.cookie))

    def _fentry(self, probe: Probe, load: Loader) -> None:
        """A function's entry or return by its trampoline: the program is loaded for this function."""
        from .targets import function

        self.fast.append(syscall.tracing_open(load(syscall.TRACING, function(probe))))

    _fexit = _fentry

    def _iter(self, probe: Probe, load: Loader) -> None:
        from .targets import iterator

        link = syscall.link_create_iter(load(syscall.TRACING, iterator(probe)), self.pid)
        self.fast.append(link)
        self.walks.append(link)

    def start(self) -> None:
        """Let sampled events count; run the iterators' programs, each over all its objects."""
        for event in self.asleep:
            perf_event.control(event, perf_event.ENABLE)
        for link in self.walks:
            reader = syscall.iter_create(link)
            try:
                while True:
                    try:
                        if not os.read(reader, 65536):
                            break
                    except BlockingIOError:  # after every million objects (MAX_ITER_OBJECTS)
                        continue
            finally:
                os.close(reader)

    def _kprobe_event(self, probe: Probe, load: Loader) -> None:
        place = f"{probe.scope}:{probe.name}" if probe.scope not in ("", "vmlinux") else probe.name
        at = f"0x{probe.address:x}" if probe.address else f"{place}+{probe.offset}"
        self._dynamic(probe, "r" if probe.kind == "kretprobe" else "p", at, load)

    def _uprobe_event(self, probe: Probe, load: Loader) -> None:
        for at, counter in _places(probe):
            place = f"{probe.scope}:0x{at:x}" + (f"(0x{counter:x})" if counter else "")
            self._dynamic(probe, "ur" if probe.kind == "uretprobe" else "up", place, load)

    def _sampled(self, probe: Probe, load: Loader) -> None:
        """Events on every CPU, or of every thread of one process."""
        from .sampling import opened

        program = load(syscall.PERF_EVENT)
        for event in opened(probe, self.pid):
            self._on_event(lambda event=event: event, program, asleep=True)  # type: ignore[misc]
            self.asleep.append(event)

    def _dynamic(self, probe: Probe, kind: str, place: str, load: Loader) -> None:
        from unitrace.kernel import tracefs
        from unitrace.kernel.dynamic import DynamicEvents

        if self.dynamic is None:
            self.dynamic = DynamicEvents(tracefs.root(self.machine))
        made = self.dynamic.add(kind, probe.name or "probe", place.removesuffix("+0"))
        self._on_event(lambda: perf_event.tracepoint(made.id), load(syscall.KPROBE))

    def _on_event(self, opened: Callable[[], int], program: int, *, asleep: bool = False) -> None:
        event = opened()
        self.events.append(event)
        if self.machine.answer("bpf.perf_link"):
            self.links.append(syscall.link_create(program, event, syscall.ATTACH_PERF_EVENT, self.cookie))
        else:
            perf_event.control(event, perf_event.SET_BPF, program)
        if not asleep:
            perf_event.control(event, perf_event.ENABLE)

    def finish(self) -> None:
        """Make what was gathered, in the order in which it came. Of several programs at one place in user
        code the one that is hung last runs first (consumer_add() in kernel/events/uprobes.c), so clauses
        come here in reverse (attach.LIFO)."""
        for (program, path, returns), places in self.multi.items():
            offsets, cookies, counters = (list(column) for column in zip(*places))
            link = syscall.link_create_multi(
                program, path, offsets, cookies, returns=returns, counters=counters
            )
            self.links.append(link)
        self.multi.clear()
        for (program, returns), functions in self.functions.items():
            names = [probe.name for probe, _ in functions]
            cookies = [cookie for _, cookie in functions]
            self.fast.append(syscall.link_create_kprobes(program, names, cookies, returns=returns))
        self.functions.clear()

    def missed(self) -> dict[str, int]:
        """Hits that the kernel gave up: a kprobe inside a kprobe, a return with no instance left."""
        count = sum(_missed_by_link(fd) for fd in (*self.links, *self.fast))
        if self.dynamic is not None:
            count += _missed_by_group(self.dynamic.root, self.dynamic.group)
        return {"kprobes missed by the kernel": count} if count else {}

    def close(self) -> None:
        """Take all down: what closes fast now, the rest behind our back; but the group of dynamic events
        can only be removed when nobody uses it."""
        from unitrace.kernel.closing import close_behind, close_now

        close_now(self.fast)
        self.fast.clear()
        slow = [*self.links, *self.events]
        self.links.clear()
        self.events.clear()
        if self.dynamic is not None:
            close_now(slow)
            self.dynamic.close()
            self.dynamic = None
        elif slow:
            close_behind(slow)


def _places(probe: Probe) -> list[tuple[int, int]]:
    """Where in its file a user probe is, each place with its semaphore's (0: none)."""
    if probe.kind != "usdt":
        return [(probe.address, 0)]
    from .usdt import places

    return [(one.location, one.semaphore) for one in places(probe)]


def _missed_by_link(fd: int) -> int:
    """struct bpf_link_info (6.7): of a link on a kprobe's perf event perf_event.kprobe.missed, of one on
    many functions kprobe_multi.missed."""
    try:
        info = syscall.object_info(fd, 64)
    except OSError:
        return 0
    kind, how = struct.unpack_from("<I12xI", info)
    if kind == LINK_KPROBE_MULTI:
        return int(struct.unpack_from("<Q", info, 32)[0])
    kprobe = kind == LINK_PERF_EVENT and how in (3, 4)  # BPF_PERF_EVENT_KPROBE, _KRETPROBE
    return int(struct.unpack_from("<Q", info, 48)[0]) if kprobe else 0


def _missed_by_group(root: str, group: str) -> int:
    """kprobe_profile: event, hits, misses (Documentation/trace/kprobetrace.rst)."""
    try:
        with open(f"{root}/kprobe_profile") as file:
            lines = [line.split() for line in file]
        with open(f"{root}/kprobe_events") as file:
            ours = {line.split()[0].rpartition("/")[2] for line in file if f":{group}/" in line}
    except OSError:
        return 0
    return sum(int(line[2]) for line in lines if len(line) == 3 and line[0] in ours)

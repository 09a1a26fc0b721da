"""Attach points in the kernel: tracepoints and functions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from unitrace.contract.errors import ProbeError, UnitraceError
from unitrace.contract.ir import Field, Probe
from unitrace.contract.machine import Answer
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import Type

from .lexer import decode_number
from .places import WILD, Places
from .source import suggest
from .successors import SUCCESSORS

__all__ = ["KernelProbes"]


NOT_TRACEABLE = (
    '{} is not traceable (either non-existing, inlined, or marked as "notrace"); '
    "attaching to it will likely fail"
)

UNSAFE = re.compile(r"rcu_|(arch_cpu_idle|default_idle|bpf_dispatcher_xdp_func)$")
"""Functions that wildcards don't mean: probed together with others they can hang the machine (the
kernel's own list: tools/testing/selftests/bpf/prog_tests/kprobe_multi_test.c)."""


class KernelProbes(Places):
    """Resolves tracepoints, system calls and kernel functions."""

    # -- tracepoints ----------------------------------------------------------------------------

    def _tracepoint(self, kind: str, rest: list[str]) -> list[Probe]:
        if len(rest) == 1 and rest[0] and "*" not in rest[0]:
            raise self.error("tracepoint probe type requires 2 arguments, found 1", BY_NAME[kind].syntax)
        self.count(kind, rest, 1, 2)
        category, event = rest if len(rest) == 2 else (rest[0], "*")
        if WILD.search(category) or WILD.search(event):
            names = list(self.tracepoints(category, event))
            if not names:
                raise self.missing(f"No matches for {kind} {category}:{event}.", category, event)
            return [self.tracepoint(*name) for name in names]
        return [self.tracepoint(category, event)]

    def tracepoint(self, category: str, event: str, label: str = "") -> Probe:
        """A tracepoint with its fields."""
        fields: tuple[Field, ...] = ()
        from unitrace.kernel import formats

        try:
            fields = formats.read_format(self.machine, category, event).fields
        except ProbeError as error:
            if not error.message.startswith("no tracepoint") and error.remedy and "mount" in error.remedy:
                raise self.error(error.message, error.remedy) from None
            raise self.missing(f"No matches for tracepoint {category}:{event}.", category, event) from None
        except UnitraceError as error:
            raise self.error(error.message, error.remedy) from None
        except OSError as error:
            raise self.error(
                f"tracepoint {category}:{event}: its format can't be read: {error.strerror}",
                "run as root, or give yourself read access to tracefs",
            ) from None
        return self.made(
            "tracepoint", label or f"tracepoint:{category}:{event}", scope=category, name=event, fields=fields
        )

    def tracepoints(self, category: str, event: str) -> Iterator[tuple[str, str]]:
        """The tracepoints that match, none where the list can't be read."""
        from unitrace.kernel import formats

        try:
            yield from formats.tracepoints(self.machine, category, event)
        except (UnitraceError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise self.error(f"the list of tracepoints can't be read: {why}", "run as root") from None

    def missing(self, message: str, category: str, event: str) -> ProbeError:
        """No such tracepoint: what is near."""
        if not self.suggesting:
            return self.error(message)
        try:
            everything = list(self.tracepoints("*", "*"))
        except ProbeError:
            return self.error(message)
        near = suggest(event, [name for group, name in everything if group == category])
        if not near:
            groups = [group for group, name in everything if name == event]
            if groups:
                near = f"there is {' and '.join(f'{group}:{event}' for group in groups)}"
        if not near:
            near = (
                suggest(category, {group for group, _ in everything})
                if not any(group == category for group, _ in everything)
                else suggest(event, {name for _, name in everything})
            )
        return self.error(message, near)

    def _rawtracepoint(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 2)
        module, event = rest if len(rest) == 2 else ("", rest[0])
        if WILD.search(module):
            module = ""
        if WILD.search(event):
            # system calls' own events have no raw tracepoint but sys_enter and sys_exit
            names = sorted({name for group, name in self.tracepoints("*", event) if group != "syscalls"})
            if not names:
                raise self.missing(f"No matches for {kind} {event}.", "*", event)
            return [self.rawtracepoint(module, name) for name in names]
        return [self.rawtracepoint(module, event)]

    def rawtracepoint(self, module: str, event: str) -> Probe:
        """A raw tracepoint; its arguments are those of the typedef btf_trace_NAME's function."""
        from unitrace.kernel import btf

        label = f"rawtracepoint:{module + ':' if module else ''}{event}"
        if module not in ("", "vmlinux") and self.machine.live and not os.path.isdir(f"/sys/module/{module}"):
            raise self.error(f"No matches for rawtracepoint {module}:{event}.", "no such module is loaded")
        try:
            # what is attached to a tracepoint is called by __traceiter_NAME(data, arguments...)
            # (include/linux/tracepoint.h, since 5.10)
            proto = btf.prototype(self.machine, f"__traceiter_{event}")
        except (UnitraceError, OSError):
            proto = None
        fields: tuple[Field, ...] = ()
        if proto is not None:
            fields = tuple(one.replace(offset=one.offset - 1) for one in proto.fields[1:])
        elif self.known_event(event) is False:
            text = f"Probe has no valid attach points: no rawtracepoint {event}."
            raise self.missing(text, "*", event)
        return self.made("rawtracepoint", label, scope=module, name=event, fields=fields)

    def known_event(self, event: str) -> bool | None:
        """Whether some category has the event; None where the list can't be read. System calls' own raw
        tracepoints are sys_enter and sys_exit."""
        try:
            return any(True for _ in self.tracepoints("*", event))
        except ProbeError:
            return None

    def _syscall(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 1)
        wanted = rest[0]
        if WILD.search(wanted):
            names = [name for _, name in self.tracepoints("syscalls", f"sys_enter_{wanted}")]
            if not names:
                raise self.error(f"No matches for syscall {wanted}.")
            return [self.tracepoint("syscalls", name, f"syscall:{name[10:]}") for name in names]
        try:
            return [self.tracepoint("syscalls", f"sys_enter_{wanted}", f"syscall:{wanted}")]
        except ProbeError as refused:
            from unitrace.kernel.arch import ARCHITECTURES

            try:
                machine = str(self.machine.fact("kernel.arch"))
            except KeyError:
                machine = ""
            known = ARCHITECTURES.get(machine)
            prefix = known.syscall_prefix if known else "__x64_sys_"
            symbol = f"{prefix}{wanted}"
            if self.exists(symbol) is not True:
                near = refused.remedy.replace("sys_enter_", "")
                raise self.error(f"No matches for syscall {wanted}.", near) from None
            return [self.made("kprobe", f"syscall:{wanted}", name=symbol)]

    # -- functions of the kernel ----------------------------------------------------------------

    def exists(self, name: str, module: str = "") -> bool | None:
        """Whether the kernel has a function; None where that can't be found out."""
        from unitrace.kernel import functions

        try:
            return functions.exists(self.machine, name, module)
        except (UnitraceError, OSError):
            return None

    def _kprobe(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 2)
        module, target = rest if len(rest) == 2 else ("", rest[0])
        if WILD.search(module):
            return self.in_modules(kind, module, target)
        if not target:
            raise self.error("kprobes should be attached to a function or an address")
        if target[0].isdigit():
            return [self.at_address(kind, target)]
        name, offset = self.offset(target)
        if offset and kind != "kprobe":
            raise self.error("Offset not allowed", f"a {kind} fires where the function returns")
        if WILD.search(name):
            return self.wild_functions(kind, module, name)
        return [self.function(kind, module, self.follow(kind, name, offset), offset)]

    _kretprobe = _kprobe

    def _fentry(self, kind: str, rest: list[str]) -> list[Probe]:
        if rest and rest[0] == "bpf":
            return [self.made(kind, f"{kind}:{':'.join(rest)}", scope="bpf", name=":".join(rest[1:]))]
        self.count(kind, rest, 1, 2)
        module, name = rest if len(rest) == 2 else ("", rest[0])
        if WILD.search(module):
            return self.in_modules(kind, module, name)
        if not name:
            raise self.error("fentry/fexit should specify a function")
        if WILD.search(name):
            return self.wild_functions(kind, module, name)
        return [self.function(kind, module, self.follow(kind, name, 0), 0)]

    _fexit = _fentry

    def in_modules(self, kind: str, pattern: str, name: str) -> list[Probe]:
        """``kprobe:mod*:function``: in which modules it is."""
        from fnmatch import fnmatchcase

        from unitrace.kernel import functions

        try:
            located = functions.located(self.machine, name)
            found = [
                self.function(kind, module, one, 0, known=True)
                for one, module in located
                if fnmatchcase(module or "vmlinux", pattern)
            ]
        except (UnitraceError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise self.error(f"the list of functions can't be read: {why}", "run as root") from None
        if not found:
            raise self.error(f"No matches for {kind} {pattern}:{name}.")
        return found

    def at_address(self, kind: str, target: str) -> Probe:
        """``kprobe:0xffff...``."""
        try:
            address = decode_number(target)
        except ValueError as error:
            raise self.error(f"Invalid function/address argument: {error}") from None
        return self.made(kind, f"{kind}:{target}", name=target, address=address)

    def wild_functions(self, kind: str, module: str, pattern: str) -> list[Probe]:
        """All functions that match."""
        from unitrace.kernel import functions

        try:
            names = functions.matching(self.machine, pattern)
        except (UnitraceError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise self.error(f"the list of functions can't be read: {why}", "run as root") from None
        if module:
            names = [name for name in names if self.exists(name, module)]
        if not names:
            raise self.error(f"No matches for {kind} {pattern}.")
        names = [name for name in names if not UNSAFE.match(name)]
        if not names:
            remedy = "wildcards leave out what can hang the machine, as rcu_*: name one function"
            raise self.error("Probe has no valid attach points.", remedy)
        found = []
        for name in names:
            try:
                found.append(self.function(kind, module, name, 0, known=True))
            except ProbeError:
                continue  # fentry: BTF doesn't know this one
        if not found:
            raise self.error(f"No matches for {kind} {pattern}.", "BTF knows none of these functions")
        return found

    def follow(self, kind: str, name: str, offset: int) -> str:
        """The function's successor where it would never fire, or is gone."""
        entry = SUCCESSORS.get(name)
        if entry is None or self.exact or offset:
            return name
        if entry.since == (0, 0):
            if self.exists(name) is not False:
                return name
        elif not self._at_least(entry.since):
            return name
        gone = "doesn't exist" if entry.since == (0, 0) else "doesn't fire"
        for now in entry.now:
            if self.exists(now):
                self.notices.append(
                    f"{kind}:{name} {gone} on this kernel ({entry.why}): tracing {now} instead; "
                    "--exact-probes keeps the name"
                )
                return now
        return name

    def _at_least(self, version: tuple[int, int]) -> bool:
        try:
            found = self.machine.fact("kernel.version")
        except KeyError:
            return True
        if isinstance(found, Answer):
            return True
        return tuple(found[:2]) >= version

    def function(self, kind: str, module: str, name: str, offset: int, known: bool = False) -> Probe:
        """A probe on a kernel function, with what BTF says of its arguments and result."""
        if not known and self.exists(name, module) is False:
            self._no_function(kind, module, name)
        from unitrace.kernel import btf

        untyped = offset or (known and not self.typed and kind not in ("fentry", "fexit"))
        try:
            proto = None if untyped else btf.prototype(self.machine, name, module)
        except (UnitraceError, OSError):
            proto = None
        fields: tuple[Field, ...] = ()
        result: Type | None = None
        if proto is not None:
            fields, result = proto.fields, proto.result
        elif kind in ("fentry", "fexit"):
            raise self.error(
                f"{kind}:{name}: no BTF for this function, so its arguments aren't known",
                f"use kprobe:{name}",
            )
        if kind == "kretprobe":
            fields = ()
        place = f"+{offset}" if offset else ""
        label = f"{kind}:{module + ':' if module else ''}{name}{place}"
        return self.made(kind, label, scope=module, name=name, offset=offset, fields=fields, result=result)

    def _no_function(self, kind: str, module: str, name: str) -> None:
        """A function that isn't said to be traceable: a warning, and unless ``unlisted`` an error."""
        from unitrace.kernel import functions

        if module not in ("", "vmlinux") and self.machine.live and not os.path.isdir(f"/sys/module/{module}"):
            raise self.error(f"specified module {module} in probe {self.point.text} is not loaded.")
        if kind in ("kprobe", "kretprobe"):
            if self.unit.config.get("missing_probes") != "ignore":
                self.unit.warn(NOT_TRACEABLE.format(name), self.point.start, self.point.end)
            if self.unlisted:
                return
        try:
            near = functions.near(self.machine, name)[:3] if self.suggesting else []
        except (UnitraceError, OSError):
            near = []
        remedy = f"did you mean {' or '.join(near)}?" if near else ""
        raise self.error(f"No matches for {kind} {module + ':' if module else ''}{name}.", remedy)

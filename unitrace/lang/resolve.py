"""From an attach point's text to probes: short names, wildcards, what exists on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from unitrace.contract.errors import ProbeError, UnitraceError
from unitrace.contract.ir import Field, Probe
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.probes import BY_NAME, PROBE_TYPES
from unitrace.contract.types import Type

from . import ast
from .lexer import decode_number
from .source import Source, suggest
from .successors import SUCCESSORS

if TYPE_CHECKING:
    from .state import Unit

__all__ = ["Resolver"]

_UNITS = ("s", "ms", "us", "hz")
_SIGNALS = ("SIGUSR1",)
_SOFTWARE = (
    "alignment-faults", "bpf-output", "context-switches", "cs", "cpu-clock", "cpu", "cpu-migrations", "dummy",
    "emulation-faults", "major-faults", "minor-faults", "page-faults", "faults", "task-clock",
)  # fmt: skip
_HARDWARE = (
    "backend-stalls", "branch-instructions", "branches", "branch-misses", "bus-cycles", "cache-misses",
    "cache-references", "cpu-cycles", "cycles", "frontend-stalls", "instructions", "ref-cycles",
)  # fmt: skip
_WILD = re.compile(r"[*?\[]")


class Resolver:
    """Resolves attach points; ``notices``: one line each on what was done differently from what was
    written."""

    def __init__(self, unit: Unit, pid: int = 0, exact: bool = False) -> None:
        self.unit = unit
        self.machine: Machine = unit.machine
        self.source: Source = unit.source
        self.pid = pid
        self.exact = exact
        self.notices: list[str] = []
        self.point = ast.AttachPoint(0, 1, "")

    def probes(self, point: ast.AttachPoint) -> list[Probe]:
        """The probes that an attach point means. Raises ProbeError."""
        self.point = point
        parts = self.split(point.text)
        kind = parts[0].rpartition("=")[2] if "=" in parts[0] else parts[0]
        if kind not in BY_NAME:
            if _WILD.search(kind) and len(parts) > 1:
                return self.any_kind(kind, parts[1:])
            near = suggest(kind, [name for name in BY_NAME if len(name) > 2])
            known = ", ".join(one.name for one in PROBE_TYPES)
            remedy = near or (
                f"a probe is TYPE:TARGET; types are {known}" if len(parts) == 1 else f"types: {known}"
            )
            raise self.error(f"Invalid probe type: {kind}", remedy)
        name = BY_NAME[kind].name
        rest = parts[1:]
        made: list[Probe] = getattr(self, f"_{name}")(name, rest)
        return made

    def any_kind(self, pattern: str, rest: list[str]) -> list[Probe]:
        """A wildcard for the probe type: those types whose targets match."""
        from fnmatch import fnmatchcase

        found: list[Probe] = []
        for one in PROBE_TYPES:
            if fnmatchcase(one.name, pattern):
                try:
                    found += getattr(self, f"_{one.name}")(one.name, list(rest))
                except ProbeError:
                    continue
        if not found:
            raise self.error(f"No probe type matched for {pattern}")
        return found

    # -- small change ---------------------------------------------------------------------------

    def error(self, message: str, remedy: str = "") -> ProbeError:
        """An error at the attach point."""
        return self.source.probe_error(message, self.point.start, self.point.end, remedy)

    def split(self, text: str) -> list[str]:
        """The parts between colons; quotes hold one together, ``$1`` is what the command line says."""
        parts, quoted, part = [], False, ""
        for c in text:
            if c == '"':
                quoted = not quoted
            elif c == ":" and not quoted:
                parts.append(part)
                part = ""
            else:
                part += c
        parts.append(part)
        return [re.sub(r"\$(\d+)", self._given, one) for one in parts]

    def _given(self, found: re.Match[str]) -> str:
        number = int(found[1])
        given = self.unit.positional
        if not 1 <= number <= len(given):
            raise self.error(f"Positional parameter ${number} is empty or not provided")
        return given[number - 1]

    def count(self, kind: str, rest: list[str], least: int, most: int) -> None:
        """Check how many parts a target has."""
        if not least <= len(rest) <= most:
            wanted = str(least) if least == most else f"{least} or {most}"
            raise self.error(
                f"{kind} probe type requires {wanted} arguments, found {len(rest)}", BY_NAME[kind].syntax
            )

    def made(self, kind: str, label: str, **fields: object) -> Probe:
        """A probe with its names and place."""
        span = self.source.span(self.point.start, self.point.end)
        return Probe(kind, written=self.point.text, label=label, span=span, **fields)  # type: ignore[arg-type]

    def offset(self, target: str) -> tuple[str, int]:
        """``name+offset`` in two."""
        name, plus, number = target.rpartition("+")
        if not plus:
            return target, 0
        try:
            return name, decode_number(number)
        except ValueError:
            raise self.error(f"Invalid offset: {number}") from None

    # -- fired by user space --------------------------------------------------------------------

    def _begin(self, kind: str, rest: list[str]) -> list[Probe]:
        if rest:
            raise self.error("begin/end probes should not have a target")
        return [self.made(kind, kind)]

    _end = _begin

    def _interval(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 2)
        unit, number = self.period(kind, rest)
        return [self.made(kind, f"{kind}:{':'.join(rest)}", scope=unit, name=str(number), offset=number)]

    _profile = _interval

    def period(self, kind: str, rest: list[str]) -> tuple[str, int]:
        """The unit ("s", "ms", "us", "hz", "ns") and number of a timer."""
        if len(rest) == 1:
            try:
                number = decode_number(rest[0])
            except ValueError as error:
                remedy = f"{kind}:s:1 or {kind}:1s is once a second"
                raise self.error(f"Invalid rate of {kind} probe: {error}", remedy) from None
            if number < 1000:
                raise self.error(
                    f"Invalid rate of {kind} probe. Minimum is 1000 or 1us. Found: {number} nanoseconds",
                    f"{kind}:s:{rest[0]} is once every {rest[0]} s" if rest[0].isdigit() else "",
                )
            return "ns", number
        unit, word = rest
        if unit not in _UNITS:
            raise self.error(f"{unit} is not an accepted unit of time", f"one of {', '.join(_UNITS)}")
        try:
            number = decode_number(word)
        except ValueError as error:
            raise self.error(f"Invalid rate of {kind} probe: {error}") from None
        if number < 1:
            raise self.error(f"{kind} frequency should be a positive integer")
        return unit, number

    def _self(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 2, 2)
        if rest[0] != "signal":
            raise self.error(f"{rest[0]} is not a supported trigger")
        if rest[1] not in _SIGNALS:
            raise self.error(f"{rest[1]} is not a supported signal", f"one of {', '.join(_SIGNALS)}")
        return [self.made(kind, f"{kind}:{':'.join(rest)}", scope=rest[0], name=rest[1])]

    def _test(self, kind: str, rest: list[str]) -> list[Probe]:
        if len(rest) != 1 or not rest[0]:
            raise self.error(f"{kind} probes must have a name")
        return [self.made(kind, f"{kind}:{rest[0]}", name=rest[0])]

    _bench = _test

    # -- perf events ----------------------------------------------------------------------------

    def _software(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 2)
        events = _SOFTWARE if kind == "software" else _HARDWARE
        if _WILD.search(rest[0]):
            raise self.error(f"wildcards are not allowed for {kind} probe type")
        if rest[0] not in events:
            raise self.error(
                f"{rest[0]} is not a {kind} probe", suggest(rest[0], events) or f"one of {', '.join(events)}"
            )
        number = 0
        if len(rest) == 2 and rest[1]:
            try:
                number = decode_number(rest[1])
            except ValueError as error:
                raise self.error(f"Invalid count for {kind} probe: {error}") from None
            if number < 1:
                raise self.error(f"{kind} count should be a positive integer")
        return [self.made(kind, f"{kind}:{':'.join(rest)}", name=rest[0], offset=number)]

    _hardware = _software

    def _watchpoint(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 3, 3)
        try:
            address, length = decode_number(rest[0]), decode_number(rest[1])
        except ValueError as error:
            raise self.error(f"Invalid length argument: {error}") from None
        if not address:
            raise self.error("watchpoint must be attached to a non-zero address")
        if length not in (1, 2, 4, 8):
            raise self.error("watchpoint length must be one of (1,2,4,8)")
        mode = rest[2]
        if not mode or set(mode) - set("rwx"):
            raise self.error("watchpoint mode must be combination of (r,w,x)")
        if len(set(mode)) != len(mode):
            raise self.error("watchpoint modes may not be duplicated")
        label = f"{kind}:{':'.join(rest)}"
        return [self.made(kind, label, scope=mode, name=rest[0], offset=length, address=address)]

    def _iter(self, kind: str, rest: list[str]) -> list[Probe]:
        if not rest or not rest[0]:
            raise self.error("iter should specify a iterator's name")
        return [self.made(kind, f"{kind}:{':'.join(rest)}", name=rest[0], scope=":".join(rest[1:]))]

    # -- tracepoints ----------------------------------------------------------------------------

    def _tracepoint(self, kind: str, rest: list[str]) -> list[Probe]:
        if len(rest) == 1 and rest[0] and "*" not in rest[0]:
            raise self.error("tracepoint probe type requires 2 arguments, found 1", BY_NAME[kind].syntax)
        self.count(kind, rest, 1, 2)
        category, event = rest if len(rest) == 2 else (rest[0], "*")
        if _WILD.search(category) or _WILD.search(event):
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
        if _WILD.search(event):
            names = sorted({name for _, name in self.tracepoints("*", event)})
            if not names:
                raise self.missing(f"No matches for {kind} {event}.", "*", event)
            return [self.rawtracepoint(module, name) for name in names]
        return [self.rawtracepoint(module, event)]

    def rawtracepoint(self, module: str, event: str) -> Probe:
        """A raw tracepoint; its arguments are those of the typedef btf_trace_NAME's function."""
        from unitrace.kernel import btf

        label = f"rawtracepoint:{module + ':' if module else ''}{event}"
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
            raise self.missing(f"No matches for rawtracepoint {event}.", "*", event)
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
        if _WILD.search(wanted):
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
        if _WILD.search(module):
            return self.in_modules(kind, module, target)
        if not target:
            raise self.error("kprobes should be attached to a function or an address")
        if target[0].isdigit():
            return [self.at_address(kind, target)]
        name, offset = self.offset(target)
        if offset and kind != "kprobe":
            raise self.error("Offset not allowed", f"a {kind} fires where the function returns")
        if _WILD.search(name):
            return self.wild_functions(kind, module, name)
        return [self.function(kind, module, self.follow(kind, name, offset), offset)]

    _kretprobe = _kprobe

    def _fentry(self, kind: str, rest: list[str]) -> list[Probe]:
        if rest and rest[0] == "bpf":
            return [self.made(kind, f"{kind}:{':'.join(rest)}", scope="bpf", name=":".join(rest[1:]))]
        self.count(kind, rest, 1, 2)
        module, name = rest if len(rest) == 2 else ("", rest[0])
        if _WILD.search(module):
            return self.in_modules(kind, module, name)
        if not name:
            raise self.error("fentry/fexit should specify a function")
        if _WILD.search(name):
            return self.wild_functions(kind, module, name)
        return [self.function(kind, module, self.follow(kind, name, 0), 0)]

    _fexit = _fentry

    def in_modules(self, kind: str, pattern: str, name: str) -> list[Probe]:
        """``kprobe:mod*:function``: in which modules it is."""
        from fnmatch import fnmatchcase

        from unitrace.kernel import functions

        found: list[Probe] = []
        try:
            names = functions.matching(self.machine, name) if _WILD.search(name) else [name]
            for one in names:
                found += [
                    self.function(kind, module, one, 0, known=True)
                    for module in functions.modules_of(self.machine, one)
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
        for now in entry.now:
            if self.exists(now):
                self.notices.append(
                    f"{kind}:{name} doesn't fire on this kernel ({entry.why}): tracing {now} instead; "
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
            raise self._no_function(kind, module, name)
        from unitrace.kernel import btf

        try:
            proto = None if offset else btf.prototype(self.machine, name, module)
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

    def _no_function(self, kind: str, module: str, name: str) -> ProbeError:
        from unitrace.kernel import functions

        try:
            near = functions.near(self.machine, name)[:3]
        except (UnitraceError, OSError):
            near = []
        where = f" in {module}" if module else ""
        remedy = f"did you mean {' or '.join(near)}?" if near else ""
        return self.error(
            f'{name} is not traceable{where} (either non-existing, inlined, or marked as "notrace")', remedy
        )

    # -- functions of programs ------------------------------------------------------------------

    def _uprobe(self, kind: str, rest: list[str]) -> list[Probe]:
        if len(rest) == 3 and rest[1] in ("cpp", "c"):
            rest = [rest[0], rest[2]]
        if len(rest) == 1 and "@" in rest[0]:
            raise self.error("a place in the source (FILE@LINE) is not supported", "name a function")
        if len(rest) == 1 and self.pid and rest[0]:
            rest = [f"/proc/{self.pid}/exe", rest[0]]
        self.count(kind, rest, 2, 2)
        file, target = rest
        if not file:
            raise self.error(f"{kind} should have a target", BY_NAME[kind].syntax)
        if not target:
            raise self.error(f"{kind} should be attached to a function", BY_NAME[kind].syntax)
        path = self.file(file)
        if target[0].isdigit():
            try:
                address = decode_number(target)
            except ValueError as error:
                raise self.error(f"Invalid function/address argument: {error}") from None
            return [self.user(kind, file, path, target, 0, self.at(path, address))]
        name, offset = self.offset(target)
        if offset and kind != "uprobe":
            raise self.error("uretprobes can not be attached to a function offset")
        if _WILD.search(name):
            return self.wild_symbols(kind, file, path, name)
        from unitrace.kernel import elf

        try:
            found = elf.find(path, name)
        except (OSError, ValueError) as error:
            raise self.error(f"{file}: {_reason(error)}") from None
        if found is None:
            names = (one.name for one in elf.symbols(path) if one.is_func)
            raise self.error(f"{file} has no symbol {name}", suggest(name, names))
        if not found.is_func:
            raise self.error(f"{name} in {file} is data, not a function")
        if offset and offset >= found.size:
            raise self.error(f"Offset outside the function bounds ('{name}' size is {found.size})")
        return [self.user(kind, file, path, name, offset, found.offset_in_file + offset)]

    _uretprobe = _uprobe

    def file(self, name: str) -> str:
        """The absolute path of a program or library."""
        from unitrace.kernel import elf

        try:
            return elf.resolve_file(name, self.pid if not name.startswith("/proc/") else 0)
        except UnitraceError as error:
            raise self.error(error.message, error.remedy) from None

    def at(self, path: str, address: int) -> int:
        """The offset in the file of a virtual address."""
        from unitrace.kernel import elf

        try:
            with elf.Elf(path) as file:
                found = file.file_offset(address)
        except (OSError, ValueError) as error:
            raise self.error(f"{path}: {_reason(error)}") from None
        if found is None:
            raise self.error(f"{path} has nothing at address {address:#x}")
        return found

    def user(self, kind: str, file: str, path: str, name: str, offset: int, address: int) -> Probe:
        """A probe on a user function."""
        place = f"+{offset}" if offset else ""
        label = f"{kind}:{file}:{name}{place}"
        return self.made(kind, label, scope=path, name=name, offset=offset, address=address)

    def wild_symbols(self, kind: str, file: str, path: str, pattern: str) -> list[Probe]:
        """All functions of a file that match."""
        from fnmatch import fnmatchcase

        from unitrace.kernel import elf

        try:
            found = [one for one in elf.symbols(path) if one.is_func and fnmatchcase(one.name, pattern)]
        except (OSError, ValueError) as error:
            raise self.error(f"{file}: {_reason(error)}") from None
        if not found:
            raise self.error(f"No matches for {kind} {file}:{pattern}.")
        places = {one.offset_in_file: one for one in sorted(found, key=lambda one: one.name, reverse=True)}
        return [
            self.user(kind, file, path, one.name, 0, one.offset_in_file)
            for one in sorted(places.values(), key=lambda one: one.name)
        ]

    def _usdt(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 2, 3)
        file, (provider, name) = rest[0], (rest[1:] if len(rest) == 3 else ("", rest[1]))
        if not name:
            raise self.error("usdt probe must have a target function or wildcard")
        path = self.file(file)
        label = f"{kind}:{file}:{provider + ':' if provider else ''}{name}"
        return [self.made(kind, label, scope=path, name=f"{provider}:{name}" if provider else name)]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or "not an ELF file"

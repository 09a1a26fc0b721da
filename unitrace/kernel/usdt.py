"""User static probes (USDT): the notes in .note.stapsdt, and where their arguments are.

The format is SystemTap's <sys/sdt.h>: a note for each place of a probe, with the place, the address that
.stapsdt.base had then (prelink moves both), the semaphore, "provider", "name" and the arguments.
"""

from __future__ import annotations

import os
import re
import struct

from unitrace.contract.record import Record

from .arch import AARCH64, X86_64, Architecture
from .elf import Elf

__all__ = ["Argument", "Usdt", "mapped", "parse_argument", "probes"]

_STAPSDT = 3  # the note's type
_EM = {62: X86_64, 183: AARCH64}


class Argument(Record):
    """One argument: ``size`` bytes, ``signed``; a register's low bytes (``register`` alone), a constant
    (``constant``), or memory at register + index * scale + ``offset`` (``memory``).

    ``register`` and ``index`` are as probe events and arch.Architecture.offsets spell them; "" for none.
    ``written``: as the note has it. ``known``: whether all of it was understood.
    """

    written: str
    size: int
    signed: bool
    register: str = ""
    memory: bool = False
    offset: int = 0
    index: str = ""
    scale: int = 1
    constant: int | None = None
    known: bool = True

    def fetch(self) -> str | None:
        """The argument for a probe event ("-8(%bp):s32"); None where it has no words for it."""
        if not self.known or self.index:
            return None
        kind = f"{'s' if self.signed else 'u'}{8 * self.size}"
        if self.constant is not None:
            return f"\\{self.constant}:{kind}"
        place = f"{self.offset:+d}(%{self.register})" if self.memory else f"%{self.register}"
        return f"{place}:{kind}"


class Usdt(Record):
    """One place of a probe: ``location`` is its offset in the file, ``semaphore`` its counter's (0: it has
    none), for a uprobe and its ref_ctr_offset (4.20)."""

    provider: str
    name: str
    location: int
    semaphore: int
    args: tuple[Argument, ...]


def probes(path: str) -> list[Usdt]:
    """The USDT probes of a file, in the order of its notes; one that was inlined has several places.

    OSError, or ValueError for a file that isn't ELF.
    """
    with Elf(path) as elf:
        arch = _EM.get(elf.machine)
        notes, base = elf.section(".note.stapsdt"), elf.section(".stapsdt.base")
        if notes is None or arch is None:
            return []
        found = []
        for description in _descriptions(elf.content(notes)):
            place, then, semaphore = struct.unpack_from("<3Q", description)
            moved = base.address - then if base is not None else 0
            provider, name, args = description[24:].split(b"\0")[:3]
            location = elf.file_offset(place + moved)
            if location is None:
                continue
            counter = elf.file_offset(semaphore + moved) if semaphore else 0
            parsed = tuple(parse_argument(one, arch) for one in _split(args.decode()))
            found.append(Usdt(provider.decode(), name.decode(), location, counter or 0, parsed))
        return found


def mapped(pid: int = 0) -> list[tuple[str, str]]:
    """The files that process ``pid`` has mapped to run, by default any process: as they are shown, and where
    they can be read (through /proc/PID/root, where it is one process)."""
    found: dict[str, str] = {}
    for one in [str(pid)] if pid else [name for name in os.listdir("/proc") if name.isdigit()]:
        try:
            with open(f"/proc/{one}/maps", errors="surrogateescape") as maps:
                lines = [line.split(maxsplit=5) for line in maps]
        except OSError:  # gone, or a kernel thread's
            continue
        for line in lines:
            path = line[5].rstrip("\n") if len(line) > 5 and "x" in line[1] else ""
            place = f"/proc/{pid}/root{path}" if pid else path
            if path.startswith("/") and path not in found and os.path.isfile(place):
                found[path] = place
    return sorted(found.items())


def _descriptions(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<3I", data, at)
        start = at + 12 + (name_size + 3 & ~3)
        if kind == _STAPSDT and data[at + 12 : at + 12 + name_size] == b"stapsdt\0":
            found.append(data[start : start + size])
        at = start + (size + 3 & ~3)
    return found


def _split(args: str) -> list[str]:
    """ "8@%rax 4@[sp, 12]": spaces part arguments, but not inside brackets."""
    return re.findall(r"-?\d+f?@(?:\[[^\]]*\]|\S+)", args)


_X86 = re.compile(r"(?:(-?\d+)|(-?\d+)?\(%(\w+)(?:,%(\w+)(?:,(\d))?)?\))$")
_ARM = re.compile(r"\[(\w+)(?:, ?#?(-?\d+))?\]$")


def parse_argument(written: str, arch: Architecture) -> Argument:
    """``-4@%edi``, ``8@-8(%rbp)``, ``4@$5``, ``8@(%rax,%rdx,8)``; arm64: ``8@x0``, ``4@[sp, 8]``."""
    size, _, place = written.partition("@")
    if size.endswith("f"):  # floating point: its bits are in no register that a probe sees
        return Argument(written, int(size[:-1].lstrip("-")), True, known=False)
    head = (written, abs(int(size)), size.startswith("-"))
    bare = place.lstrip("$#")
    if re.fullmatch(r"-?(?:0x[0-9a-f]+|\d+)", bare) and place[0] != "%":
        return Argument(*head, constant=int(bare, 0))
    if arch is AARCH64:
        memory = _ARM.match(place)
        if memory:
            return _checked(Argument(*head, _arm(memory[1]), True, int(memory[2] or 0)), arch)
        return _checked(Argument(*head, _arm(place)), arch)
    if place.startswith("%"):
        return _checked(Argument(*head, _x86(place[1:])), arch)
    found = _X86.match(place)
    if found is None:  # memory relative to a symbol: name(%rip)
        return Argument(*head, known=False)
    index = _x86(found[4]) if found[4] else ""
    return _checked(
        Argument(*head, _x86(found[3] or ""), True, int(found[2] or 0), index, int(found[5] or 1)), arch
    )


def _checked(argument: Argument, arch: Architecture) -> Argument:
    known = argument.register in arch.offsets and (not argument.index or argument.index in arch.offsets)
    return argument if known else argument.replace(known=False)


def _x86(name: str) -> str:
    """``rax``, ``eax``, ``ax``, ``al`` to ``ax``; ``r8d`` to ``r8``. High bytes (``ah``) stay unknown."""
    if re.fullmatch(r"r\d+[dwb]?", name):
        return name.rstrip("dwb")
    if name[:1] in ("r", "e") and len(name) == 3:
        return name[1:]
    if re.fullmatch(r"[abcd]l", name):
        return f"{name[0]}x"
    return name[:2] if name in ("sil", "dil", "bpl", "spl") else name


def _arm(name: str) -> str:
    return f"x{name[1:]}" if re.fullmatch(r"w\d+", name) else name

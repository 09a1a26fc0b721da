"""Types from the kernel's headers, for kernels without BTF: bcc's compiler reads them.

bcc finds the headers (/lib/modules/RELEASE/build, and source beside it) and gives clang the kernel's flags;
what it prints of its module holds all types with their places. That becomes BTF, and is kept: the compiler
takes seconds. It runs under the system's own Python, which has bcc's module where others haven't, in a
process of its own.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator

from unitrace.contract.machine import Answer, Machine
from unitrace.contract.record import Record

from . import cache
from .btf_file import Btf

__all__ = ["Wanted", "available", "lacking", "notice", "program", "source", "types", "wanted"]

PYTHON = "/usr/bin/python3"
BUILD = "/lib/modules/{}/build"
PATIENCE = 600
"""Seconds that the compiler may take."""
PROGRAMS = 32
"""Sets of types that are kept, 230 KB each: programs that want nothing beyond KNOWN have one in common."""

KNOWN = {
    "linux/sched.h": "task_struct",
    "linux/sched/signal.h": "signal_struct sighand_struct",
    "linux/cred.h": "cred",
    "linux/nsproxy.h": "nsproxy",
    "linux/pid_namespace.h": "pid_namespace",
    "linux/utsname.h": "uts_namespace",
    "linux/cgroup.h": "cgroup",
    "linux/mm.h": "mm_struct vm_area_struct page",
    "linux/fs.h": "file inode super_block address_space block_device linux_dirent64",
    "linux/fdtable.h": "files_struct fdtable",
    "linux/fs_struct.h": "fs_struct",
    "linux/dcache.h": "dentry qstr",
    "linux/path.h": "path",
    "linux/mount.h": "vfsmount",
    "linux/namei.h": "nameidata",
    "linux/binfmts.h": "linux_binprm",
    "linux/oom.h": "oom_control",
    "linux/bio.h": "bio bio_vec",
    "linux/blkdev.h": "request request_queue gendisk",
    "linux/blk-mq.h": "blk_mq_hw_ctx",
    "linux/skbuff.h": "sk_buff sk_buff_head",
    "linux/socket.h": "sockaddr msghdr",
    "linux/un.h": "sockaddr_un",
    "linux/in.h": "sockaddr_in",
    "linux/in6.h": "sockaddr_in6",
    "linux/net.h": "socket",
    "linux/netdevice.h": "net_device",
    "linux/ip.h": "iphdr",
    "linux/ipv6.h": "ipv6hdr ipv6_pinfo",
    "linux/tcp.h": "tcphdr tcp_sock",
    "linux/udp.h": "udphdr udp_sock",
    "net/sock.h": "sock sock_common",
    "net/inet_sock.h": "inet_sock",
    "net/inet_connection_sock.h": "inet_connection_sock",
    "net/tcp.h": "",
    "net/tcp_states.h": "",
    "net/net_namespace.h": "net",
    "linux/perf_event.h": "perf_event",
    "linux/workqueue.h": "work_struct",
    "linux/time.h": "",
    "linux/types.h": "",
    "uapi/linux/ptrace.h": "pt_regs",
}
"""Headers that every program gets, and the structs that they are for. What these point to comes along."""


class Wanted(Record):
    """What a program needs beyond KNOWN. ``directives``: its own ``#include`` and ``#if`` lines; ``structs``:
    "struct x"; ``constants``: names of enumerators and macros."""

    directives: tuple[str, ...] = ()
    structs: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()


_PROGRAM = "headers.program"
_COMMENTS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*((?:include|if|ifdef|ifndef|elif|else|endif)\b.*?)\s*$", re.MULTILINE)
_INCLUDE = re.compile(r"include\s*<([\w./+-]+)>")
_STRUCT = re.compile(r"\b(struct|union)\s+([A-Za-z_]\w*)\b\s*({?)")
_CONSTANT = re.compile(r"(?<!->)(?<![\w@$.:])[A-Z][A-Z0-9_]{2,}\b(?!\s*\(|:)")
_WORDS = frozenset(("BEGIN", "END", "NULL"))
"""Of the language, and what is no integer."""

_made: dict[tuple[Wanted, str], tuple[Btf | None, str]] = {}
"""By what was wanted of which headers: the types; what is wrong: which headers were left out, or why nothing
could be compiled."""


def program(machine: Machine, text: str, constants: Collection[str] = ()) -> None:
    """Let the text of a program say what is wanted beyond what all get. ``constants``: those that need no
    header."""
    machine.known[_PROGRAM] = wanted(text, constants)


def available(machine: Machine) -> Answer:
    """Whether the headers of the running kernel are there, and bcc; nothing is compiled for it."""
    build = _build(machine)
    remedy = f"install python3-bpfcc and linux-headers-{machine.fact('kernel.release')}"
    if not os.path.isdir(build):
        return Answer(errno.ENOENT, f"no kernel headers ({build} isn't there)", remedy)
    if not _has_bcc():
        return Answer(errno.ENOENT, f"no bcc for {PYTHON}, whose compiler reads the kernel's headers", remedy)
    if _shuffled(build):
        # the compiler's plug-in orders the members by a seed that headers don't tell
        return Answer(errno.EOPNOTSUPP, "this kernel has its structs' members in random order (RANDSTRUCT)")
    return Answer()


def types(machine: Machine) -> Btf | None:
    """The types as BTF; None where they can't be had (``lacking`` says why)."""
    return _types(machine)[0] if machine.answer("headers") else None


def lacking(machine: Machine) -> Answer:
    """Why what is looked for isn't known from headers either."""
    answer = machine.answer("headers")
    if not answer:
        return answer
    found, wrong = _types(machine)
    if wrong:
        remedy = "install the bcc that goes with this kernel"
        return Answer(
            errno.EIO, f"bcc can't compile {'' if found else 'the kernel headers: '}{wrong}", remedy
        )
    return Answer(errno.ENOENT, "the headers that are included don't define it", "#include the one that does")


def notice(machine: Machine) -> str:
    """One line on where this kernel's types were had from; "" if it wasn't from headers."""
    if not any(found for found, _ in _made.values()):
        return ""
    return f"kernel types are those of its headers, by bcc's compiler: {machine.answer('btf').reason}"


def _types(machine: Machine) -> tuple[Btf | None, str]:
    key = needs, build = machine.known.get(_PROGRAM, Wanted()), _build(machine)
    if key not in _made:
        _made[key] = _kept(machine, source(needs, _attach_types(build)))
    return _made[key]


def _kept(machine: Machine, text: str) -> tuple[Btf | None, str]:
    """From the cache, else from the compiler. What is kept has a line before the BTF: what was left out."""

    def make() -> bytes:
        from . import bcc

        blob, left_out = bcc.compiled(text, PYTHON, PATIENCE)
        return " ".join(left_out).encode() + b"\n" + blob

    try:
        content = cache.kept("headers", _key(machine, text), make, PROGRAMS)
    except ValueError as error:
        return None, str(error)
    end = content.find(b"\n")
    return Btf(content[end + 1 :]), content[:end].decode()


def _key(machine: Machine, text: str) -> str:
    """What the types depend on: the kernel, its headers' age, and the text."""
    from zlib import crc32

    try:
        age = os.stat(f"{_build(machine)}/include/generated/autoconf.h").st_mtime_ns
    except OSError:
        age = 0
    return f"{cache.build_id()}-{crc32(f'{age} {text}'.encode()):08x}"


def _build(machine: Machine) -> str:
    return BUILD.format(machine.fact("kernel.release"))


def _has_bcc() -> bool:
    from glob import glob

    return os.access(PYTHON, os.X_OK) and bool(glob("/usr/lib/python3*/*-packages/bcc/__init__.py"))


def _shuffled(build: str) -> bool:
    """Whether structs that ask for it have their members in random order (security/Kconfig.hardening)."""
    try:
        with open(f"{build}/include/generated/autoconf.h", encoding="utf-8", errors="replace") as file:
            return bool(re.search(r"^#define CONFIG_(GCC_PLUGIN_)?RANDSTRUCT 1$", file.read(), re.MULTILINE))
    except OSError:
        return False


def _attach_types(build: str) -> int:
    """MAX_BPF_ATTACH_TYPE of this kernel, which struct cgroup's size depends on before 5.15 (include/linux/
    bpf-cgroup.h); 0 where there is none. bcc's own linux/bpf.h has that of a newer kernel."""
    for place in (build, f"{os.path.dirname(build)}/source"):
        try:
            with open(f"{place}/include/uapi/linux/bpf.h", encoding="utf-8", errors="replace") as file:
                text = _COMMENTS.sub("", file.read())
        except OSError:
            continue
        found = re.search(r"enum bpf_attach_type \{(.*?)\b__MAX_BPF_ATTACH_TYPE", text, re.DOTALL)
        return found[1].count(",") if found else 0
    return 0


# --- the C text ------------------------------------------------------------------------------


def wanted(text: str, constants: Collection[str] = ()) -> Wanted:
    """What a program's text asks of the kernel's headers beyond KNOWN, and beyond ``constants``."""
    code = _COMMENTS.sub(" ", text)
    lines = _DIRECTIVE.findall(code)
    included = _INCLUDE.findall(" ".join(lines))
    known = {name for names in KNOWN.values() for name in names.split()}
    structs = {f"{word} {name}" for word, name, own in _STRUCT.findall(code) if name not in known and not own}
    return Wanted(
        tuple(lines) if set(included) - set(KNOWN) else (),
        tuple(sorted(structs)),
        tuple(sorted(set(_CONSTANT.findall(_DIRECTIVE.sub("", code))) - _WORDS - {*constants})),
    )


def source(needs: Wanted, attach_types: int = 0) -> str:
    """C text whose compiled module has all that is wanted: everything is a member of one struct. What may
    not compile, headers and constants, stands on lines of its own. ``attach_types``: MAX_BPF_ATTACH_TYPE."""
    return "\n".join(_lines(needs, attach_types)) + "\n"


def _lines(needs: Wanted, attach_types: int) -> Iterator[str]:
    if attach_types:
        yield "#undef MAX_BPF_ATTACH_TYPE"
        yield f"#define MAX_BPF_ATTACH_TYPE {attach_types}"
    for line in needs.directives:
        found = _INCLUDE.match(line)
        if found:
            yield from _included(found[1])
        else:
            yield f"#{line}"
    for header in KNOWN:
        yield from _included(header)
    from .llvm_types import VALUE

    for name in needs.constants:
        yield f"enum unitrace_{name} {{ {VALUE}{name} = {name} }};"
    yield "struct unitrace {"
    own = [f"struct {name}" for names in KNOWN.values() for name in names.split()]
    for at, spelled in enumerate((*own, *needs.structs)):
        yield f"{spelled} *type_{at};"
    for name in needs.constants:
        yield f"enum unitrace_{name} {VALUE}of_{name};"
    yield "};"
    yield "int unitrace(struct unitrace *all) { return !all; }"


def _included(header: str) -> Iterator[str]:
    """An ``#include`` of what is there: kernels differ, and a script may name a header of programs."""
    yield f"#if __has_include(<{header}>)"
    yield f"#include <{header}>"
    yield "#endif"

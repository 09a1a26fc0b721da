"""The kernel's functions: which can be traced.

available_filter_functions is the list to ask: a function that was inlined everywhere isn't in it, nor
one that is marked notrace. Where it can't be read (no function tracer, lockdown, no privilege),
/proc/kallsyms is the next best: it also holds what only runs at boot or can't be probed.

The lists are some megabytes, and slow to make for the kernel: they are kept as text and searched as
bytes, on disk where there is a cache (kernel/cache.py).
"""

from __future__ import annotations

import re

from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Machine

from . import cache, tracefs
from . import survey as survey  # registers the facts asked for here

__all__ = ["address", "exists", "listed_in", "located", "matching", "near"]

_live: bytes | None = None
_LIST = "kernel.function_list"
_located: tuple[bytes, str, list[tuple[str, str]]] | None = None


def listed_in(machine: Machine, path: str) -> None:
    """Let a file say which functions can be traced: names as in available_filter_functions."""
    machine.known[_LIST] = path


def exists(machine: Machine, name: str, module: str = "") -> bool:
    """Whether the kernel has a function ``name`` that can be traced (in ``module``, if given)."""
    names, wanted = _names(machine), name.encode()
    if module and module != "vmlinux":
        return names.find(b"\n%s [%s]\n" % (wanted, module.encode())) >= 0
    if names.find(b"\n%s\n" % wanted) >= 0:
        return True
    return not module and names.find(b"\n%s [" % wanted) >= 0


def address(machine: Machine, name: str, module: str = "") -> int:
    """The address of a kernel function (of ``module``, if given), by /proc/kallsyms; 0 where it isn't there
    or hidden. The kernel's own come first, as a kprobe looks for them (kallsyms_lookup_name())."""
    module = module if module != "vmlinux" else ""
    if not machine.live:
        held = machine.files.get("/proc/kallsyms")
        return _addresses_in(held.encode(), name).get((name, module), 0) if isinstance(held, str) else 0
    if (name, module) not in _addresses:
        with open("/proc/kallsyms", "rb") as file:
            text = file.read()
        many = len(_addresses) > 2  # all at once then
        _addresses.update(_addresses_in(text, "" if many else name))
        _addresses.setdefault((name, module), 0)
    return _addresses[name, module]


_addresses: dict[tuple[str, str], int] = {}


def _addresses_in(kallsyms: bytes, name: str) -> dict[tuple[str, str], int]:
    """Addresses of functions by (name, module) and (name, ""), the first of each; of all for ``name`` ""."""
    wanted = re.escape(name.encode()) or rb"\S+"
    found: dict[tuple[str, str], int] = {}
    for at, symbol, where in re.findall(
        rb"^([0-9a-f]+) [tTwW] (%s)(?:\t\[(\S+)\])?$" % wanted, kallsyms, re.M
    ):
        own = symbol.decode(errors="replace")
        found.setdefault((own, ""), int(at, 16))
        if where:
            found.setdefault((own, where.decode()), int(at, 16))
    return found


def matching(machine: Machine, pattern: str) -> list[str]:
    """The functions that match ``pattern`` (``*``, ``?``, ``[...]``), sorted, each once."""
    search = re.compile(rb"(?m)^(?=.)(%s)(?: \[\w+\])?$" % _expression(pattern).encode())
    return sorted({found.decode() for found in search.findall(_names(machine))})


def located(machine: Machine, pattern: str) -> list[tuple[str, str]]:
    """The functions that match ``pattern``, each with its module ("" for the kernel itself), by name. The
    last answer is kept: a list of everything asks for them as kprobes, kretprobes, fentry and fexit."""
    global _located
    names = _names(machine)
    if _located is None or _located[0] is not names or _located[1] != pattern:
        search = re.compile(rb"(?m)^(?=.)(%s)(?: \[(\w+)\])?$" % _expression(pattern).encode())
        found = sorted({(name.decode(), module.decode()) for name, module in search.findall(names)})
        _located = names, pattern, found
    return _located[2]


def _expression(pattern: str) -> str:
    """A shell pattern as a regular expression that stays within a name."""
    special = {"*": r"[^\n ]*", "?": r"[^\n ]"}
    made = []
    for at, part in enumerate(re.split(r"(\*|\?|\[[^\]]+\])", pattern)):
        if at % 2 == 0 or part in special:
            made.append(special.get(part) or re.escape(part))
            continue
        body = part[1:-1].replace("\\", r"\\").replace("[", r"\[")
        one = f"[^{body[1:]}\\n ]" if body[0] in "!^" else f"[{body}]"
        try:
            re.compile(one)
        except re.error:  # a range from high to low: nothing is in it
            one = "(?!)"
        made.append(one)
    return "".join(made)


def near(machine: Machine, name: str, count: int = 5) -> list[str]:
    """Names close to one that doesn't exist, best first."""
    import difflib

    if not name:
        return []
    names, wanted = _names(machine), name.encode()
    found: dict[bytes, None] = {}
    for piece in _pieces(wanted):
        found.update(dict.fromkeys(_containing(names, piece, 3000)))
        if len(found) > 200:
            break
    pairs = _pairs(wanted)  # difflib takes 50 us a name: let it judge the few that share most letter pairs
    best = sorted(found, key=lambda one: -2 * len(pairs & _pairs(one)) / (len(pairs) + len(one)))[:60]
    return difflib.get_close_matches(name, [one.decode() for one in best], count, 0.6)


def _containing(names: bytes, piece: bytes, limit: int) -> list[bytes]:
    """Up to ``limit`` of the names that have ``piece`` in them."""
    found: list[bytes] = []
    at = names.find(piece)
    while at >= 0 and len(found) < limit:
        end = names.find(b"\n", at)
        found.append(names[names.rfind(b"\n", 0, at) + 1 : end].partition(b" ")[0])
        at = names.find(piece, end)
    return found


def _pairs(name: bytes) -> set[bytes]:
    return {name[at : at + 2] for at in range(len(name) - 1)}


def _pieces(name: bytes) -> list[bytes]:
    """Parts of a name that a misspelled one still shares with the right one, the most telling first."""
    words = sorted((word for word in name.split(b"_") if len(word) > 2), key=len, reverse=True)
    half = max(4, len(name) // 2)
    return [name, name[:half], name[-half:], *words[:3], name[:4], *(word[:4] for word in words[:2])]


def _names(machine: Machine) -> bytes:
    """All names, one a line ("name" or "name [module]"), a newline first."""
    global _live
    if not machine.live:
        return _recorded(machine)
    if _LIST in machine.known:
        return _list(machine.known[_LIST])
    if _live is None:
        source = _source(machine)
        kind = f"functions-{source.rpartition('/')[2]}"
        _live = bytes(cache.kept(kind, cache.modules_key(), lambda: _list(source)))
    return _live


def _source(machine: Machine) -> str:
    if machine.fact("kernel.version") < [
        4,
        20,
    ]:  # kprobes on notrace functions are refused since 45408c4f9250
        return "/proc/kallsyms"
    try:
        path = f"{tracefs.root(machine)}/available_filter_functions"
        with open(path, "rb", buffering=0) as file:
            if file.read(1):
                return path
    except (OSError, BackendError):
        pass
    return "/proc/kallsyms"


def _list(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        text = file.readall()
    return _from_kallsyms(text) if path.endswith("kallsyms") else b"\n" + text


def _from_kallsyms(text: bytes) -> bytes:
    """The text symbols, but for those that are gone after boot, BPF's, and paddings before functions."""
    # the kernel's own are in order of address, so its init text is one piece
    first, last = (re.search(rb"^[0-9a-f]+ \w %s$" % edge, text, re.M) for edge in _INIT_TEXT)
    if first and last and first.start() < last.start():
        text = text[: first.start()] + text[last.end() + 1 :]
    found = re.findall(rb"^[0-9a-f]+ [tTwW] (?!__pfx_|__cfi_)(.*)$", text, re.M)
    names = b"\n" + b"\n".join(found).replace(b"\t", b" ") + b"\n"
    return re.sub(rb"\n[^\n ]+ \[(?:bpf|__builtin__\w+)\](?=\n)", b"", names) if b"[bpf]" in names else names


_INIT_TEXT = (b"_sinittext", b"_einittext")


def _recorded(machine: Machine) -> bytes:
    for place in tracefs.PLACES:
        held = machine.files.get(f"{place}/available_filter_functions")
        if isinstance(held, str):
            return b"\n" + held.encode()
    held = machine.files.get("/proc/kallsyms")
    return _from_kallsyms(held.encode()) if isinstance(held, str) else b"\n"

"""tracefs: where it is mounted, and how its control files are written.

Control files take one command a write(2). They must be opened without O_TRUNC unless emptying them is
meant (``kprobe_events`` then loses everybody's probes), and appended to with O_APPEND but without a
seek: Python's ``open(path, "a")`` seeks, and the kernel says EINVAL.
"""

from __future__ import annotations

import errno
import os

from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Answer, Machine, fact

__all__ = ["PLACES", "event_dir", "event_groups", "last_error", "remove_group", "root", "write"]

PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
"""Mount points since 4.1 (Documentation/trace/ftrace.rst), and before, in debugfs."""

DYNAMIC_FILES = ("kprobe_events", "uprobe_events", "dynamic_events")


def root(machine: Machine) -> str:
    """The directory of tracefs, without a slash at its end; mounts it where we may.

    BackendError, with the remedy, where it can't be used or is masked.
    """
    answer = machine.answer("tracefs")
    if not answer:
        raise BackendError(answer.reason, remedy=answer.remedy)
    return str(machine.fact("tracefs.root"))


@fact("tracefs.root", 'where tracefs is mounted; "" where it isn\'t')
def _find_root(machine: Machine) -> str:
    denied = ""
    for place in PLACES:
        try:
            os.stat(f"{place}/events")
        except PermissionError:
            denied = denied or place
        except OSError:
            continue
        else:
            return place
    if denied:
        return denied
    return PLACES[0] if os.geteuid() == 0 and _mount(PLACES[0]) else ""


@fact("tracefs", "whether tracefs can be read and written")
def _survey(machine: Machine) -> Answer:
    place = machine.fact("tracefs.root")
    if not place:
        if not os.path.isdir(PLACES[0]):
            return Answer(errno.ENOENT, "this kernel has no tracefs", "use a kernel with CONFIG_TRACING")
        mount = f"mount -t tracefs tracefs {PLACES[0]}"
        return Answer(errno.ENOENT, "tracefs is not mounted", f"as root: {mount}")
    try:
        os.close(os.open(f"{place}/trace_clock", os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        return _explain(error, str(place))
    return Answer()


def _explain(error: OSError, place: str) -> Answer:
    code = error.errno or errno.EIO
    if code == errno.EACCES:
        return Answer(code, f"no permission to use {place}", "run as root")
    if code == errno.EROFS:
        return Answer(code, f"{place} is mounted read-only", f"mount -o remount,rw {place}")
    if code in (errno.EPERM, errno.ENOENT):
        return Answer(
            code,
            f"the kernel keeps {place} locked ({os.strerror(code)})",
            "see /sys/kernel/security/lockdown; confidentiality mode allows no tracing",
        )
    return Answer(code, f"{place}: {os.strerror(code)}")


def _mount(place: str) -> bool:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tracefs", place.encode(), b"tracefs", 0, None) != 0:
        return False
    return os.path.isdir(f"{place}/events")


def write(path: str, text: str, append: bool = False, *, truncate: bool = False) -> None:
    """Write ``text`` to a control file, by one write(2) where the kernel takes it whole.

    ``truncate`` empties the file first: never on the lists of dynamic events, which are shared.
    OSError, with its errno, where the kernel refuses.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC
    if append:
        flags |= os.O_APPEND
    if truncate:
        flags |= os.O_TRUNC
    fd = os.open(path, flags)
    try:
        write_all(fd, text)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    finally:
        os.close(fd)


def write_all(fd: int, text: str) -> None:
    """All of ``text`` to an open control file; some files take a word a write(2)."""
    data = text.encode()
    while data:
        data = data[os.write(fd, data) :]


def event_dir(root: str, category: str, name: str) -> str:
    """The directory of one event, whether or not it exists."""
    return f"{root}/events/{category}/{name}"


def last_error(root: str, about: str = "") -> str:
    """What the kernel last complained of in error_log (since 5.2), as one line; "" if nothing.

    ``about``: text that the refused command must contain, since the log is everybody's.
    """
    try:
        with open(f"{root}/error_log", encoding="utf-8", errors="replace") as file:
            lines = file.read().split("\n")
    except OSError:
        return ""
    # [  123.4] trace_kprobe: error: Invalid probed address or symbol
    #   Command: p:group/name nosuch
    #                         ^
    for at in range(len(lines) - 1, 0, -1):
        if not lines[at].startswith("  Command: ") or about not in lines[at]:
            continue
        said = lines[at - 1].split("error: ", 1)[-1].strip()
        caret = lines[at + 1].find("^") if at + 1 < len(lines) else -1
        word = (
            lines[at][caret:].split()[0] if 0 <= caret < len(lines[at]) and lines[at][caret:].split() else ""
        )
        return f"{said}: {word}" if word else said
    return ""


def event_groups(root: str) -> dict[str, list[tuple[str, str]]]:
    """All dynamic events: group to its (file that removes it, name)."""
    found: dict[str, list[tuple[str, str]]] = {}
    seen: set[tuple[str, str]] = set()
    for file in DYNAMIC_FILES:
        path = f"{root}/{file}"
        try:
            with open(path, "rb", buffering=0) as source:
                text = source.readall().decode(errors="replace")
        except OSError:
            continue
        for line in text.split("\n"):
            # "p:group/name place ...", "r10:group/name ...", "e:group/name ..."
            group, _, name = line.split(" ", 1)[0].partition(":")[2].partition("/")
            if name and (group, name) not in seen:
                seen.add((group, name))
                found.setdefault(group, []).append((path, name))
    return found


def remove_group(root: str, group: str, events: list[tuple[str, str]] | None = None) -> int:
    """Disable and remove the dynamic events of ``group``, newest first. Returns the errno of the last
    refusal (EBUSY while somebody still has one open or enabled), 0 when all are gone."""
    if events is None:
        events = event_groups(root).get(group, [])
    if not events:
        return 0
    refused = 0
    try:
        write(f"{root}/events/{group}/enable", "0")
    except OSError as error:
        if error.errno != errno.ENOENT:
            refused = error.errno or errno.EIO
    for path in dict.fromkeys(path for path, _ in events):
        names = [name for of, name in reversed(events) if of == path]
        try:
            write(path, "".join(f"-:{group}/{name}\n" for name in names), append=True)
            continue
        except OSError:
            pass  # one of them is busy or gone: find out which
        for name in names:
            try:
                write(path, f"-:{group}/{name}", append=True)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    refused = error.errno or errno.EIO
    return refused

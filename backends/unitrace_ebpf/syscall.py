"""bpf(2), by ctypes: one function a command, in the kernel's own words (include/uapi/linux/bpf.h)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

__all__ = [
    "LOG_SIZE", "btf_by_id", "btf_load", "iter_create", "link_create", "link_create_iter",
    "link_create_kprobes", "link_create_multi", "map_create", "map_delete", "map_lookup",
    "map_lookup_batch", "map_next_key", "map_update", "next_id", "object_info", "prog_by_id",
    "prog_load", "prog_test_run", "raw_tracepoint_open", "tracing_open",
]  # fmt: skip

# enum bpf_map_type
HASH, ARRAY, PERF_EVENT_ARRAY, PERCPU_HASH, PERCPU_ARRAY, RINGBUF = 1, 2, 4, 5, 6, 27
LRU_HASH, LRU_PERCPU_HASH = 9, 10
# enum bpf_prog_type
SOCKET_FILTER, KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, TRACING = 1, 2, 5, 7, 17, 26
# enum bpf_attach_type
ATTACH_FENTRY, ATTACH_FEXIT, ATTACH_ITER = 24, 25, 28
ATTACH_PERF_EVENT, ATTACH_KPROBE_MULTI, ATTACH_UPROBE_MULTI = 41, 42, 48
# map_flags, update flags
NO_PREALLOC = 1
ANY, NOEXIST, EXIST = 0, 1, 2

_NR = {"x86_64": 321, "aarch64": 280, "s390x": 351, "ppc64le": 361}.get(os.uname().machine, 280)
_libc = ctypes.CDLL(None, use_errno=True)
LOG_SIZE = 1 << 20


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result: int = _libc.syscall(_NR, command, buffer, len(attr))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _address(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


def _name(name: str) -> bytes:
    """BPF_OBJ_NAME_LEN is 16, NUL counted; letters, digits, "_" and "." (bpf_obj_name_cpy)."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in name)[:15].encode("ascii", "replace")


def map_create(kind: int, key: int, value: int, entries: int, flags: int = 0, name: str = "unitrace") -> int:
    """BPF_MAP_CREATE: a file descriptor. Names came with 4.15; before, the kernel wants them zero."""
    head = struct.pack("<5I", kind, key, value, entries, flags)
    try:
        return _bpf(0, head + struct.pack("<II16s", 0, 0, _name(name)))
    except OSError as error:
        if error.errno not in (7, 22):  # E2BIG or EINVAL: an attribute that this kernel doesn't know
            raise
        return _bpf(0, head)


def map_lookup(fd: int, key: bytes, size: int) -> bytes | None:
    """BPF_MAP_LOOKUP_ELEM: the value (of all CPUs, for a per-CPU map), None where there is no such key."""
    wanted, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
    try:
        _bpf(1, struct.pack("<I4xQQQ", fd, _address(wanted), _address(value), 0))
    except FileNotFoundError:
        return None
    return value.raw


def map_update(fd: int, key: bytes, value: bytes, flags: int = ANY) -> None:
    """BPF_MAP_UPDATE_ELEM."""
    wanted, data = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(2, struct.pack("<I4xQQQ", fd, _address(wanted), _address(data), flags))


def map_delete(fd: int, key: bytes) -> bool:
    """BPF_MAP_DELETE_ELEM: False where there was none."""
    wanted = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(3, struct.pack("<I4xQ", fd, _address(wanted)))
    except FileNotFoundError:
        return False
    return True


def map_next_key(fd: int, key: bytes | None, size: int) -> bytes | None:
    """BPF_MAP_GET_NEXT_KEY: the key after ``key`` (None: the first); None at the end."""
    before = ctypes.create_string_buffer(key, size) if key is not None else None
    after = ctypes.create_string_buffer(size)
    try:
        _bpf(4, struct.pack("<I4xQQ", fd, _address(before), _address(after)))
    except FileNotFoundError:
        return None
    return after.raw


def map_lookup_batch(
    fd: int, key_size: int, value_size: int, room: int
) -> Iterator[tuple[bytes, bytes, int]]:
    """BPF_MAP_LOOKUP_BATCH (5.6): a whole map, in pieces of at most ``room`` keys: keys, values, how many.

    A bucket's keys are read together or not at all: ENOSPC says that not even one bucket fits."""
    position = ctypes.create_string_buffer(max(8, key_size))
    first = True
    while True:
        keys = ctypes.create_string_buffer(key_size * room)
        values = ctypes.create_string_buffer(value_size * room)
        start = 0 if first else _address(position)
        packed = struct.pack(
            "<QQQQIIQQ", start, _address(position), _address(keys), _address(values), room, fd, 0, 0
        )
        attr = ctypes.create_string_buffer(packed, 56)
        result: int = _libc.syscall(_NR, 24, attr, 56)
        number = ctypes.get_errno() if result < 0 else 0
        done = struct.unpack_from("<I", attr, 32)[0]
        if number == 28:  # ENOSPC
            room *= 2
            if not done:
                continue
        elif number not in (0, 2):
            raise OSError(number, os.strerror(number))
        if done:
            yield keys.raw[: done * key_size], values.raw[: done * value_size], done
        if number == 2:  # ENOENT: that was the end
            return
        first = False


def prog_load(
    kind: int,
    code: bytes,
    name: str = "unitrace",
    *,
    expected: int = 0,
    target: tuple[int, int] = (0, 0),
    functions: tuple[int, bytes] = (0, b""),
    log: ctypes.Array[ctypes.c_char] | None = None,
) -> int:
    """BPF_PROG_LOAD, license GPL: a file descriptor. ``target``: (file descriptor of a module's BTF or 0,
    BTF id of the function). ``functions``: BTF's file descriptor, and which functions of it the program
    consists of (struct bpf_func_info). With ``log`` the verifier writes what it thinks."""
    insns, license = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    level, size = (1, len(log)) if log is not None else (0, 0)
    count = len(code) // 8
    attr = struct.pack(
        "<IIQQIIQII", kind, count, _address(insns), _address(license), level, size, _address(log), 0, 0
    )
    if functions[1]:
        which = ctypes.create_string_buffer(functions[1], len(functions[1]))
        rest = struct.pack(
            "<16sIIIIQI", _name(name), 0, expected, functions[0], 8, _address(which), len(which) // 8
        )
        return _bpf(5, attr + rest + struct.pack("<IQIII", 0, 0, 0, target[1], target[0]))
    if target[1]:  # prog_btf_fd, func_info, line_info and their sizes lie between
        rest = struct.pack("<16sII36xII4x", _name(name), 0, expected, target[1], target[0])
        return _bpf(5, attr + rest)
    if expected:
        return _bpf(5, attr + struct.pack("<16sII", _name(name), 0, expected))
    try:
        return _bpf(5, attr + struct.pack("<16s", _name(name)))
    except OSError as error:
        if error.errno != 7 or log is not None:  # E2BIG before 4.15, which has no names
            raise
        return _bpf(5, attr)


def btf_load(data: bytes) -> int:
    """BPF_BTF_LOAD (4.18): a file descriptor."""
    blob = ctypes.create_string_buffer(data, len(data))
    return _bpf(18, struct.pack("<QQIII", _address(blob), 0, len(data), 0, 0))


def prog_test_run(fd: int, context: bytes) -> int:
    """BPF_PROG_TEST_RUN with a context (raw tracepoints: 5.10): the program's return value."""
    data = ctypes.create_string_buffer(context, len(context))
    attr = ctypes.create_string_buffer(
        struct.pack("<IIIIQQIIIIQQII", fd, 0, 0, 0, 0, 0, 0, 0, len(context), 0, _address(data), 0, 0, 0), 72
    )
    result: int = _libc.syscall(_NR, 10, attr, 72)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    returned: int = struct.unpack_from("<I", attr, 4)[0]
    return returned


def link_create(prog: int, target: int, attach: int, cookie: int = 0) -> int:
    """BPF_LINK_CREATE of a perf event (5.15); it dies with its file descriptor."""
    return _bpf(28, struct.pack("<IIIIQ", prog, target, attach, 0, cookie))


def link_create_multi(
    prog: int,
    path: str,
    offsets: list[int],
    cookies: list[int],
    *,
    returns: bool,
    counters: list[int] | None = None,
) -> int:
    """BPF_LINK_CREATE of many places of one file, a cookie each, and a semaphore's place in the file
    where it has one (BPF_TRACE_UPROBE_MULTI, 6.6)."""
    file = ctypes.create_string_buffer(os.fsencode(path))
    places, values = _numbers(offsets), _numbers(cookies)
    raised = _numbers(counters) if counters and any(counters) else None
    flags = 1 if returns else 0  # BPF_F_UPROBE_MULTI_RETURN
    head = struct.pack("<IIII", prog, 0, ATTACH_UPROBE_MULTI, 0)
    body = struct.pack(
        "<QQQQIII4x", _address(file), _address(places), _address(raised), _address(values), len(offsets),
        flags, 0,
    )  # fmt: skip
    return _bpf(28, head + body)


def link_create_kprobes(prog: int, names: list[str], cookies: list[int], *, returns: bool) -> int:
    """BPF_LINK_CREATE of many kernel functions by their names, a cookie each
    (BPF_TRACE_KPROBE_MULTI, 5.18)."""
    texts = [ctypes.create_string_buffer(name.encode()) for name in names]
    pointers, values = _numbers([_address(text) for text in texts]), _numbers(cookies)
    flags = 1 if returns else 0  # BPF_F_KPROBE_MULTI_RETURN
    head = struct.pack("<IIII", prog, 0, ATTACH_KPROBE_MULTI, 0)
    body = struct.pack("<IIQQQ", flags, len(names), _address(pointers), 0, _address(values))
    return _bpf(28, head + body)


def _numbers(values: list[int]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack(f"<{len(values)}Q", *values), 8 * len(values))


def link_create_iter(prog: int, pid: int = 0) -> int:
    """BPF_LINK_CREATE of an iterator over all objects of its kind (5.8), or those of a process (6.1)."""
    head = struct.pack("<IIII", prog, 0, ATTACH_ITER, 0)
    if not pid:
        return _bpf(28, head)
    info = ctypes.create_string_buffer(struct.pack("<IIII", 0, pid, 0, 0), 16)  # bpf_iter_link_info.task
    return _bpf(28, head + struct.pack("<QI4x", _address(info), 16))


def iter_create(link: int) -> int:
    """BPF_ITER_CREATE (5.8): reading it to its end runs the program on each object."""
    return _bpf(33, struct.pack("<II", link, 0))


def tracing_open(prog: int) -> int:
    """BPF_RAW_TRACEPOINT_OPEN of a program whose target was named when it was loaded (5.5)."""
    return _bpf(17, struct.pack("<QI4x", 0, prog))


def btf_by_id(number: int) -> int:
    """A file descriptor of the BTF with that id (BPF_BTF_GET_FD_BY_ID)."""
    return _bpf(19, struct.pack("<III", number, 0, 0))


def raw_tracepoint_open(name: str, prog: int) -> int:
    """BPF_RAW_TRACEPOINT_OPEN (4.17): attached until the file descriptor is closed."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(17, struct.pack("<QI4x", _address(text), prog))


def next_id(command: str, after: int) -> int | None:
    """The id after ``after`` of "prog", "map", "btf" or "link" (BPF_*_GET_NEXT_ID)."""
    number = {"prog": 11, "map": 12, "btf": 23, "link": 31}[command]
    attr = ctypes.create_string_buffer(struct.pack("<III", after, 0, 0), 12)
    result: int = _libc.syscall(_NR, number, attr, 12)
    if result < 0:
        return None
    found: int = struct.unpack_from("<I", attr, 4)[0]
    return found


def prog_by_id(number: int) -> int:
    """A file descriptor of the program with that id."""
    return _bpf(13, struct.pack("<III", number, 0, 0))


def object_info(fd: int, size: int, given: bytes = b"") -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: the first ``size`` bytes of struct bpf_prog_info, _map_info, _link_info or
    bpf_btf_info. ``given``: what it holds before (addresses of buffers)."""
    info = ctypes.create_string_buffer(given, size)
    _bpf(15, struct.pack("<IIQ", fd, size, _address(info)))
    return info.raw

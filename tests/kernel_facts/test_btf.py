"""BTF: a blob made here for what must come out to the bit; the kernel's own for what it really says."""

from __future__ import annotations

import ctypes
import struct

import pytest

from unitrace.contract.machine import Answer, Machine
from unitrace.contract.types import VOID, Array, Enum, Int, Pointer, Str, Struct
from unitrace.kernel import btf, btf_file
from unitrace.kernel.current import member_offset
from unitrace.kernel.fetchargs import Unfetchable

INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST, FUNC, PROTO, TAG = 1, 2, 3, 4, 5, 6, 8, 10, 12, 13, 18


class Maker:
    """A BTF blob under construction."""

    def __init__(self) -> None:
        self.strings = bytearray(b"\0")
        self.types = bytearray()
        self.count = 0

    def text(self, name: str) -> int:
        if not name:
            return 0
        at = len(self.strings)
        self.strings += name.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, size: int, *more: int, vlen: int = 0, flag: bool = False) -> int:
        info = kind << 24 | vlen | (1 << 31 if flag else 0)
        self.types += struct.pack(f"<3I{len(more)}I", self.text(name), info, size, *more)
        self.count += 1
        return self.count

    def blob(self) -> bytes:
        head = struct.pack(
            "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return head + self.types + self.strings


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Machine:
    m = Maker()
    integer = m.add(INT, "int", 4, 1 << 24 | 32)
    u64 = m.add(INT, "long unsigned int", 8, 64)
    char = m.add(INT, "char", 1, 8)
    const_char = m.add(CONST, "", char)
    string = m.add(PTR, "", const_char)
    user = m.add(TAG, "user", char)
    user_string = m.add(PTR, "", user)
    comm = m.add(ARRAY, "", 0, char, integer, 16)
    u64s = m.add(ARRAY, "", 0, u64, integer, 3)
    inner = m.add(UNION, "", 8, m.text("a"), integer, 0, m.text("b"), u64, 0, vlen=2)
    outer = m.add(
        STRUCT, "thing", 64,
        m.text("comm"), comm, 0,
        0, inner, 16 * 8,
        m.text("low"), integer, 3 << 24 | 24 * 8,
        m.text("high"), integer, 5 << 24 | (24 * 8 + 3),
        m.text("words"), u64s, 32 * 8,
        vlen=5, flag=True,
    )  # fmt: skip
    pointer = m.add(PTR, "", outer)
    size_t = m.add(TYPEDEF, "size_t", u64)
    m.add(TYPEDEF, "thing_t", outer)
    m.add(ENUM, "mood", 4, m.text("GOOD"), 1, m.text("BAD"), 0xFFFFFFFF, vlen=2, flag=True)
    proto = m.add(
        PROTO, "", integer,
        m.text("where"), pointer, m.text("name"), string, m.text("to"), user_string, m.text("n"), size_t,
        m.text("copy"), outer, 0, 0, vlen=6,
    )  # fmt: skip
    m.add(FUNC, "do_thing", proto)
    nothing = m.add(PROTO, "", 0)
    m.add(FUNC, "do_nothing", nothing)
    blob = btf_file.Btf(m.blob())
    monkeypatch.setattr(btf_file, "vmlinux", lambda: blob)
    monkeypatch.setattr(btf_file, "modules", list)
    return Machine({"btf": Answer()})


def test_prototypes(made: Machine) -> None:
    found = btf.prototype(made, "do_thing")
    assert found is not None
    assert [(f.name, f.offset, f.type) for f in found.fields] == [
        ("where", 0, Pointer(Struct("struct thing", 64))),
        ("name", 1, Pointer(Int(8, True))),
        ("to", 2, Pointer(Int(8, True), "user")),
        ("n", 3, Int(64)),
        ("copy", 4, Struct("struct thing", 64)),
    ]
    assert found.result == Int(32, True)
    assert btf.prototype(made, "do_nothing") == btf.Prototype((), VOID)
    assert btf.prototype(made, "thing") is None
    assert btf.prototype(made, "do_thin") is None


def test_structs(made: Machine) -> None:
    for name in ("struct thing", "thing", "thing_t"):
        found = btf.struct(made, name)
        assert found is not None and found.name == name and found.length == 64
        assert [(one.name, one.type, one.offset, one.bit_offset, one.bit_size) for one in found.members] == [
            ("comm", Str(16), 0, 0, 0),
            ("a", Int(32, True), 16, 0, 0),
            ("b", Int(64), 16, 0, 0),
            ("low", Int(32, True), 24, 0, 3),
            ("high", Int(32, True), 24, 3, 5),
            ("words", Array(Int(64), 3), 32, 0, 0),
        ]
    assert btf.struct(made, "union thing") is None
    assert btf.struct(made, "nosuch") is None


def test_constants(made: Machine) -> None:
    assert btf.constant(made, "BAD") == Enum("enum mood", 32, True, (("GOOD", 1), ("BAD", -1)))
    assert btf.constant(made, "thing") is None


def test_a_masked_or_recorded_machine_has_none() -> None:
    assert btf.prototype(Machine().masked(["btf"]), "do_sys_openat2") is None
    assert btf.prototype(Machine({"btf": Answer()}, live=False), "do_sys_openat2") is None


def test_what_is_not_btf() -> None:
    with pytest.raises(ValueError, match="BTF"):
        btf_file.Btf(b"\x7fELF" * 20)


def live() -> Machine:
    machine = Machine()
    if not machine.answer("btf"):
        pytest.skip(machine.answer("btf").reason)
    return machine


def test_this_kernels_functions() -> None:
    found = btf.prototype(live(), "vfs_read")
    assert found is not None
    assert [(f.name, f.offset) for f in found.fields] == [("file", 0), ("buf", 1), ("count", 2), ("pos", 3)]
    assert found.fields[1].type == Pointer(Int(8, True), getattr(found.fields[1].type, "space", ""))
    assert found.result == Int(64, True)
    assert btf.prototype(live(), "no_such_function_at_all") is None


def test_this_kernels_structs() -> None:
    found = btf.struct(live(), "struct task_struct")
    assert found is not None
    members = {one.name: one for one in found.members}
    assert members["comm"].type == Str(16)
    assert members["pid"].type == Int(32, True)
    assert 0 < members["pid"].offset < members["comm"].offset < found.length
    stat = btf.struct(live(), "struct timespec64")
    assert stat is not None and stat.length == 2 * ctypes.sizeof(ctypes.c_longlong)


def test_the_index_is_kept_and_read_again(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = live()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(btf_file, "_loaded", {})
    first = btf.prototype(machine, "vfs_read")
    monkeypatch.setattr(btf_file, "_loaded", {})
    assert btf.prototype(machine, "vfs_read") == first
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    monkeypatch.setattr(btf_file, "_loaded", {})
    assert btf.prototype(machine, "vfs_read") == first


def test_a_member_that_only_btf_knows() -> None:
    missing = {"btf": Answer(2, "the kernel shows no BTF", "use another kernel")}
    machine = Machine({**missing, "headers": Answer(2, "no kernel headers", "install them")})
    with pytest.raises(Unfetchable) as raised:
        member_offset(machine, "struct task_struct", "cred")
    reason = "struct task_struct.cred isn't known: the kernel shows no BTF; no kernel headers"
    assert raised.value.reason == reason
    assert raised.value.remedy == "use another kernel, or install them"

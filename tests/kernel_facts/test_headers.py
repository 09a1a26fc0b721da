"""Types from the kernel's headers: a compiler's output that was recorded, and this kernel's own where it can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unitrace.contract.machine import Answer, Machine
from unitrace.contract.types import BOOL, VOID, Array, Enum, Int, Pointer, Str, Struct
from unitrace.kernel import bcc, btf, headers
from unitrace.kernel.btf_file import Btf
from unitrace.kernel.llvm_types import to_btf

RECORDED = Path(__file__).with_name("thing.ll")
"""What bcc 0.26 printed (clang 14), as far as it is types, of:

    enum mood { GOOD = 1, BAD = -1 };
    enum wide { WIDE = 1ULL << 40 };
    struct other;
    typedef unsigned int number_t;
    struct inner { signed char a; unsigned long b; };
    struct thing {
      char comm[16];
      union { int x; struct { short y, z; }; };
      unsigned int low : 3, high : 5;
      const volatile number_t *counts[2][3];
      struct other *other;
      struct inner inner;
      struct { int p; } named;
      _Bool yes;
      enum mood mood;
      enum wide wide;
      int (*call)(struct thing *);
      union both { int i; long l; } both;
      struct thing *next;
      unsigned long long rest[];
    };
    enum unitrace_LIMIT { unitrace_value_LIMIT = 4096 };
    struct unitrace { struct thing *a; enum unitrace_LIMIT b; };
    int unitrace(struct unitrace *all) { return !all; }
"""

WITHOUT = {"btf": Answer(2, "the kernel shows no BTF", "another kernel"), "kernel.release": "5.4.0-1-generic"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One without BTF whose headers define what was recorded."""
    found = Btf(to_btf(RECORDED.read_text()))
    monkeypatch.setattr(headers, "types", lambda machine: found)
    return Machine({**WITHOUT})


def test_every_kind_of_member(machine: Machine) -> None:
    found = btf.struct(machine, "struct thing")
    assert found is not None and found.length == 144
    mood = Enum("enum mood", 32, True, (("GOOD", 1), ("BAD", -1)))
    assert [(one.name, one.type, one.offset, one.bit_offset, one.bit_size) for one in found.members] == [
        ("comm", Str(16), 0, 0, 0),
        ("x", Int(32, True), 16, 0, 0),
        ("y", Int(16, True), 16, 0, 0),
        ("z", Int(16, True), 18, 0, 0),
        ("low", Int(32), 20, 0, 3),
        ("high", Int(32), 20, 3, 5),
        ("counts", Array(Array(Pointer(Int(32)), 3), 2), 24, 0, 0),
        ("other", Pointer(Struct("struct other", 0)), 72, 0, 0),
        ("inner", Struct("struct inner", 16), 80, 0, 0),
        ("named", Struct("", 4, found.members[9].type.members), 96, 0, 0),  # type: ignore[attr-defined]
        ("yes", BOOL, 100, 0, 0),
        ("mood", mood, 104, 0, 0),
        ("wide", Enum("enum wide", 64, False, (("WIDE", 1 << 40),)), 112, 0, 0),
        ("call", Pointer(VOID), 120, 0, 0),
        ("both", Struct("union both", 8), 128, 0, 0),
        ("next", Pointer(Struct("struct thing", 144)), 136, 0, 0),
        ("rest", Array(Int(64), 0), 144, 0, 0),
    ]


def test_names(machine: Machine) -> None:
    inner = btf.struct(machine, "struct inner")
    assert inner is not None and [one.offset for one in inner.members] == [0, 8]
    union = btf.struct(machine, "union both")
    assert union is not None and [one.offset for one in union.members] == [0, 0]
    assert btf.struct(machine, "struct other") is None, "declared, not defined"
    assert btf.struct(machine, "struct both") is None
    assert btf.constant(machine, "BAD") == Enum("enum mood", 32, True, (("GOOD", 1), ("BAD", -1)))
    limit = btf.constant(machine, "LIMIT")
    assert limit is not None and limit.values == (("LIMIT", 4096),)
    assert btf.constant(machine, "WORSE") is None
    assert btf.prototype(machine, "unitrace") is None


def test_no_module_no_types() -> None:
    assert len(Btf(to_btf("bcc: no such file\n!0 = \n"))) == 1


def test_types_of_the_compilers_own_headers_are_only_declared() -> None:
    text = RECORDED.read_text()
    mine = '!6 = !DIFile(filename: "/virtual/main.c", directory: "")\n'
    assert Btf(to_btf(mine + text)).enumeration("GOOD")
    found = Btf(to_btf(mine.replace("main.c", "include/bcc/bpf.h") + text))
    assert not found.named("thing", (4,)) and found.named("thing", (7,))
    assert not found.enumeration("GOOD")


def test_what_a_program_wants() -> None:
    found = headers.wanted(
        """#!/usr/bin/unitrace
        #ifndef BPFTRACE_HAVE_BTF
        #include <linux/usb.h>  // the device's
        #else
        #include <sys/socket.h>
        #endif
        /* struct comment, COMMENT */
        struct own { int x; }
        BEGIN { @LEFT = $RIGHT; printf("struct text STRING"); }
        kprobe:f { $u = (struct usb_device *)arg0; $t = (struct task_struct *)arg1;
                   @ = $u->STATE == USB_STATE_POWERED ? AF_INET : NULL; }"""
    )
    assert found.directives == (
        "ifndef BPFTRACE_HAVE_BTF",
        "include <linux/usb.h>",
        "else",
        "include <sys/socket.h>",
        "endif",
    )
    assert found.structs == ("struct usb_device",), "neither its own nor one that all get"
    assert found.constants == ("AF_INET", "USB_STATE_POWERED")
    assert headers.wanted("kprobe:f { @ = AF_INET }", ["AF_INET"]) == headers.Wanted()
    assert headers.wanted("#include <linux/sched.h>\nkprobe:f { }") == headers.Wanted(), "all get it"


def test_text() -> None:
    needs = headers.Wanted(("include <linux/usb.h>",), ("struct usb_device",), ("USB_STATE_POWERED",))
    lines = headers.source(needs).split("\n")
    at = lines.index("#include <linux/usb.h>")
    assert lines[at - 1 : at + 2 : 2] == ["#if __has_include(<linux/usb.h>)", "#endif"]
    assert at < lines.index("#include <linux/sched.h>"), "a program's own come first, as it has them"
    assert any(line.startswith("struct usb_device *") for line in lines)
    assert (
        "enum unitrace_USB_STATE_POWERED { unitrace_value_USB_STATE_POWERED = USB_STATE_POWERED };" in lines
    )


def test_without_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(headers, "BUILD", f"{tmp_path}/{{}}/build")
    machine = Machine({**WITHOUT})
    answer = headers.available(machine)
    assert "no kernel headers" in answer.reason
    assert answer.remedy == "install python3-bpfcc and linux-headers-5.4.0-1-generic"
    machine.known["headers"] = answer
    assert btf.struct(machine, "struct thing") is None
    said = btf.unread(machine)
    assert said.reason.startswith("the kernel shows no BTF; no kernel headers")
    assert said.remedy == f"another kernel, or {answer.remedy}"


def test_numbers_that_bcc_has_of_another_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """bcc's linux/bpf.h stands in the kernel's place; struct cgroup depends on one of its enumerations."""
    build, place = tmp_path / "build", tmp_path / "source/include/uapi/linux"
    place.mkdir(parents=True)
    text = (
        "enum bpf_attach_type {\n\tBPF_A, /* one, two */\n\tBPF_B,\n\tBPF_C,\n\t__MAX_BPF_ATTACH_TYPE\n};\n"
    )
    (place / "bpf.h").write_text(f"enum other {{ X, Y, }};\n{text}")
    assert headers._attach_types(str(build)) == 3
    assert "#define MAX_BPF_ATTACH_TYPE 3" in headers.source(headers.Wanted(), 3).split("\n")
    (place / "bpf.h").write_text("enum other { X, Y };")
    assert headers._attach_types(str(build)) == headers._attach_types("/no/such") == 0
    assert "MAX_BPF_ATTACH_TYPE" not in headers.source(headers.Wanted())


def test_without_bcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "5.4.0-1-generic/build").mkdir(parents=True)
    monkeypatch.setattr(headers, "BUILD", f"{tmp_path}/{{}}/build")
    monkeypatch.setattr(headers, "PYTHON", f"{tmp_path}/python3")
    assert "no bcc for" in headers.available(Machine({**WITHOUT})).reason


@pytest.mark.parametrize("option", ["RANDSTRUCT", "GCC_PLUGIN_RANDSTRUCT"])
def test_members_in_random_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str) -> None:
    place = tmp_path / "5.4.0-1-generic/build/include/generated"
    place.mkdir(parents=True)
    monkeypatch.setattr(headers, "BUILD", f"{tmp_path}/{{}}/build")
    monkeypatch.setattr(headers, "_has_bcc", lambda: True)
    (place / "autoconf.h").write_text("#define CONFIG_RANDSTRUCT_NONE 1\n")
    assert headers.available(Machine({**WITHOUT}))
    (place / "autoconf.h").write_text(f"#define CONFIG_X 1\n#define CONFIG_{option} 1\n")
    assert "random order" in headers.available(Machine({**WITHOUT})).reason


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(headers, "PYTHON", str(tmp_path / "python3"))
    monkeypatch.setattr(headers, "_made", {})
    machine = Machine({**WITHOUT, "headers": Answer()})
    assert btf.struct(machine, "struct thing") is None
    assert f"bcc can't compile the kernel headers: {tmp_path}/python3" in btf.unread(machine).reason
    assert headers.notice(machine) == ""
    assert not os.listdir(tmp_path), "what failed isn't kept"


COMPILER = """\
#!/bin/sh
text=$(cat)
case $text in
*"#include <net/tcp.h>"*)
    printf '%s\\n' 'In file included from /virtual/main.c:{header}:' "include/linux/bpf.h:3:1: error: no type 'x'"
    printf '%s\\n' '/virtual/main.c:{constant}:40: error: use of undeclared identifier' ;;
*NO_SUCH*) echo '/virtual/main.c:1:1: error: NO_SUCH is still there' ;;
*) cat {recorded} ;;
esac
"""


def test_what_does_not_compile_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for a compiler that refuses a header and a constant."""
    lines = headers.source(headers.Wanted(constants=("NO_SUCH",))).split("\n")
    places = (lines.index("#include <net/tcp.h>"), [line.startswith("enum ") for line in lines].index(True))
    script = tmp_path / "python3"
    header, constant = (at + 1 for at in places)
    script.write_text(COMPILER.format(header=header, constant=constant, recorded=RECORDED))
    script.chmod(0o755)
    blob, left_out = bcc.compiled("\n".join(lines), str(script), 60)
    assert left_out == ["net/tcp.h"]
    assert Btf(blob).named("thing", (4,))
    with pytest.raises(ValueError, match=r"main\.c:1:1: error: NO_SUCH is still there"):
        bcc.compiled("struct NO_SUCH;", str(script), 60)


COMPARED = (
    "task_struct",
    "sock",
    "file",
    "dentry",
    "inode",
    "mm_struct",
    "cgroup",
    "sk_buff",
    "request",
    "cred",
    "nsproxy",
)


@pytest.mark.privileged
def test_as_this_kernels_btf_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine()
    for fact in ("btf", "headers"):
        if not machine.answer(fact):
            pytest.skip(machine.answer(fact).reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(headers, "_made", {})
    other = machine.masked(["btf"])
    headers.program(other, "kprobe:f { @ = TCP_CLOSE; @b = NO_SUCH_CONSTANT }")
    closed = btf.constant(other, "TCP_CLOSE")
    assert closed is not None, btf.unread(other).reason
    assert dict(closed.values)["TCP_CLOSE"] == 7
    assert btf.constant(other, "NO_SUCH_CONSTANT") is None
    for name in COMPARED:
        ours, theirs = (btf.struct(one, f"struct {name}") for one in (other, machine))
        assert ours is not None and theirs is not None
        layout, expected = (
            [(one.name, one.type.size, one.offset, one.bit_offset, one.bit_size) for one in found.members]
            for found in (ours, theirs)
        )
        assert (ours.length, layout) == (theirs.length, expected), name
    assert headers.notice(other)
    assert os.listdir(tmp_path / "unitrace"), "kept for the next time"
    monkeypatch.setattr(bcc, "compiled", None)
    monkeypatch.setattr(headers, "_made", {})
    assert btf.constant(other, "TCP_CLOSE") == closed

"""Debug information, as the compilers that are here write it."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from unitrace.contract.types import Array, Bool, Buffer, Enum, Int, Pointer, Str, Struct
from unitrace.kernel import elf
from unitrace.kernel.debuginfo import DebugInfo

PROGRAM = """\
#include <stdbool.h>
enum color { RED = 2, BLUE = 7 };
union half { int i; float f; };
typedef struct { short x, y; } place;
struct point {
  char name[8];
  int deep[2][3];
  struct point *next;
  union { long a; unsigned char b; };
  union half h;
  place at;
  unsigned low : 3, high : 13;
  enum color c;
  bool set;
};
typedef const struct point *pointer;
int entered(pointer p, double skipped, unsigned char c, const char *text, place at)
{
  return p->deep[1][2] + c + text[0] + at.x + (int)skipped;
}
static inline __attribute__((always_inline)) int inlined(int n)
{
  return n * 3;
}
int main(int argc, char **argv)
{
  struct point p = {0};
  return entered(&p, 1.5, 'x', argv[0], p.at) + inlined(argc);
}
"""
ENTERED_AT = 1 + PROGRAM.split("\n").index(
    "int entered(pointer p, double skipped, unsigned char c, const char *text, place at)"
)


def built(folder: Path, *options: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "a.c").write_text(PROGRAM)
    done = subprocess.run(
        [compiler, "-g", *options, "-o", "a", "a.c"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{' '.join(options)}: {done.stderr}")
    return folder / "a"


def function(path: Path, name: str = "entered") -> int:
    found = elf.find(str(path), name)
    assert found is not None
    return found.address


def check(info: DebugInfo, path: Path) -> None:
    """All that a DebugInfo says of PROGRAM."""
    fields = info.arguments(function(path))
    assert [(one.name, one.offset) for one in fields] == [("p", 0), ("c", 1), ("text", 2), ("at", 3)]
    assert [one.type.size for one in fields] == [8, 1, 8, 4]
    assert fields[1].type == Int(8, False) and fields[2].type == Pointer(Int(8, True))
    to = fields[0].type
    assert isinstance(to, Pointer) and isinstance(to.to, Struct)
    assert info.complete(to.to) == info.struct("struct point") and info.complete(Struct("other", 8)) is None
    assert info.declared(function(path)) == (
        "pointer p", "double skipped", "unsigned char c", "const char* text", "place at",
    )  # fmt: skip
    assert info.declared(function(path, "main")) == ("int argc", "char** argv")
    point = info.struct("struct point")
    assert point is not None and info.struct("point") is not None and info.struct("struct pint") is None
    members = {one.name: one for one in point.members}
    assert members["name"].type == Str(8)
    assert members["deep"].type == Array(Array(Int(32, True), 3), 2)
    assert members["next"].type == Pointer(Struct("struct point", point.length))
    assert (members["a"].offset, members["b"].offset) == (40, 40)
    assert members["h"].type == Struct("union half", 4) and members["at"].type == Struct("place", 4)
    assert (members["low"].offset, members["low"].bit_offset, members["low"].bit_size) == (56, 0, 3)
    assert (members["high"].offset, members["high"].bit_offset, members["high"].bit_size) == (56, 3, 13)
    assert members["c"].type == Enum("enum color", 32, False, (("RED", 2), ("BLUE", 7)))
    assert isinstance(members["set"].type, Bool)
    half = info.struct("union half")
    assert half is not None and half.members[1].type == Buffer(4)
    assert info.line("a.c", ENTERED_AT + 1) == function(path)
    within = info.line("a.c", ENTERED_AT + 2)
    assert within is not None and function(path) < within < function(path) + 80
    assert info.line("a.c", 2) is None and info.line("b.c", ENTERED_AT) is None


OPTIONS = [
    ["-gdwarf-2"],
    ["-gdwarf-3"],
    ["-gdwarf-4"],
    ["-gdwarf-5"],
    ["-gdwarf64", "-gdwarf-5"],
    ["-gz=zlib"],
    ["-gsplit-dwarf", "-gdwarf-5"],
    ["-gsplit-dwarf", "-gdwarf-4"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_what_compilers_write(tmp_path: Path, options: list[str]) -> None:
    path = built(tmp_path, *options)
    check(DebugInfo(str(path)), path)


def test_separate_files(tmp_path: Path) -> None:
    path = built(tmp_path)
    if shutil.which("objcopy") is None:
        pytest.skip("no objcopy")
    (tmp_path / "apart").mkdir()
    debug = tmp_path / "apart" / "a.debug"
    subprocess.run(["objcopy", "--only-keep-debug", path, debug], check=True)
    subprocess.run(["objcopy", "--strip-debug", f"--add-gnu-debuglink={debug}", path], check=True)
    assert DebugInfo(str(path)).arguments(function(path)) == ()
    check(DebugInfo(str(path), [str(tmp_path / "apart")]), path)
    check(DebugInfo(str(path), ["apart"]), path)  # beside the file
    debug.rename(tmp_path / "a.debug")
    check(DebugInfo(str(path)), path)


def test_a_debug_file_of_another_build(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = built(tmp_path / "one", "-Wl,--build-id=sha1")
    two = built(tmp_path / "two", "-O1", "-Wl,--build-id=sha1")
    two.rename(tmp_path / "one" / "a.debug")
    subprocess.run(["strip", "-g", one], check=True)
    assert DebugInfo(str(one)).arguments(function(one)) == ()


def test_damaged(tmp_path: Path) -> None:
    """Nothing but ValueError comes out."""
    path = built(tmp_path)
    whole, chance = path.read_bytes(), random.Random(5)
    with elf.Elf(str(path)) as file:
        places = [one for one in file.sections if one.name.startswith(".debug_")]
    address = function(path)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            section = chance.choice(places)
            data[section.offset + chance.randrange(section.size)] = chance.randrange(256)
        path.write_bytes(data)
        for ask in (
            lambda info: info.arguments(address),
            lambda info: info.struct("struct point"),
            lambda info: info.line("a.c", ENTERED_AT + 1),
        ):
            try:
                ask(DebugInfo(str(path)))
            except ValueError:
                refused += 1
    assert refused


CLASSES = """\
namespace inner { struct Base { int first; }; class Thing : public Base { public: long own; int go(int x) const; static int lone(double d, short y); }; }
int inner::Thing::go(int x) const { return x + first + (int)own; }
int inner::Thing::lone(double d, short y) { return (int)d + y; }
struct Other; int later(Other *other, inner::Thing &&moved);
int main() { inner::Thing thing{}; return thing.go(1) + inner::Thing::lone(1.0, 2) + later(0, inner::Thing{}); }
"""
LATER = """\
namespace inner { struct Base { int first; }; class Thing : public Base { public: long own; int go(int x) const; }; }
struct Other { short a, b; };
int later(Other *other, inner::Thing &&moved) { return other ? other->b : moved.go(3); }
"""


def test_classes(tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    (tmp_path / "a.cc").write_text(CLASSES)
    (tmp_path / "b.cc").write_text(LATER)
    subprocess.run(["c++", "-g", "-o", "a", "a.cc", "b.cc"], cwd=tmp_path, check=True)
    path = tmp_path / "a"
    info = DebugInfo(str(path))
    go = function(path, "_ZNK5inner5Thing2goEi")
    assert [one.name for one in info.arguments(go)] == ["this", "x"]
    this = info.arguments(go)[0].type
    assert isinstance(this, Pointer) and isinstance(this.to, Struct)
    whole = info.complete(this.to)
    assert whole is not None and [(one.name, one.offset) for one in whole.members] == [
        ("first", 0),
        ("own", 8),
    ]
    lone = info.arguments(function(path, "_ZN5inner5Thing4loneEds"))
    assert [(one.name, one.offset) for one in lone] == [("y", 0)]
    for name in ("inner::Thing", "struct Thing", "class Thing"):
        found = info.struct(name)
        assert found is not None and found.members == whole.members
    assert info.struct("outer::Thing") is None
    later = info.arguments(function(path, "_Z5laterP5OtherON5inner5ThingE"))
    other = later[0].type
    assert isinstance(other, Pointer) and isinstance(other.to, Struct)
    complete = info.complete(other.to)
    assert complete is not None and [one.name for one in complete.members] == ["a", "b"]

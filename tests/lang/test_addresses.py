"""``&$x``, from text to what is printed."""

from __future__ import annotations

import pytest

from unitrace.engine.engine import Engine
from unitrace.output.records import Out, Printed, ValueShown

from .recorded import compiled


def shown(text: str) -> list[object]:
    """What a begin probe prints: the values of print(), the arguments of printf()."""
    records: list[Out] = []
    engine = Engine(compiled(text).program, {}, {}, records.append)
    engine.begin()
    found: list[object] = [one.value for one in records if isinstance(one, ValueShown)]
    return found + [one.values for one in records if isinstance(one, Printed)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("$a = 1; $b = &$a; print(*$b);", [1]),
        ('$a = (1, "hello", 2); print(*(&$a));', [(1, b"hello", 2)]),
        ('$a = "hello"; $b = (int8 *)&$a; printf("%c %c", *$b, *++$b);', [(104, 101)]),
        ("$a = (uint64)0x0102030405060708; print(*((uint8 *)&$a)); print(*((uint16 *)&$a + 1));", [8, 0x506]),
        ("$a = (uint64)0x1e; print(((struct foo *)&$a).z);", [3]),
        ("for ($i : 0..3) { $a = $i * 10; print(*((int32 *)&$i) + $a); }", [0, 11, 22]),
    ],
)
def test_reading_through_it(text: str, values: list[object]) -> None:
    assert shown("struct foo { uint64_t x:1; uint64_t y:1; uint64_t z:2; }; begin { " + text + " }") == values

"""C text at the top of a program: struct, union and enum definitions, typedefs, #define.

The kernel's own types come from BTF, so ``#include`` needs no header. Layout is that of the System V ABI.
"""

from __future__ import annotations

import re

from unitrace.contract import ir
from unitrace.contract.errors import SpecError
from unitrace.contract.types import VOID, Array, Bool, Enum, Int, Member, Pointer, Struct, Type

from . import ast
from .lexer import decode_number
from .state import Unit

__all__ = ["define"]

_WORD = re.compile(r"\s*(?:/\*.*?\*/|//[^\n]*|\s)*([A-Za-z_]\w*|0[xX][0-9a-fA-F]+\w*|\d+\w*|.)?", re.DOTALL)
_DEFINE = re.compile(r"#\s*define\s+([A-Za-z_]\w*)(\()?\s*(.*)", re.DOTALL)
_SKIPPED = frozenset(("const", "volatile", "restrict", "__user", "__rcu", "extern", "static", "inline"))


def define(unit: Unit, item: ast.CDefinition) -> None:
    """Take one definition or preprocessor line over. Raises SpecError."""
    if item.text.startswith("#"):
        _preprocess(unit, item)
    else:
        _Definition(unit, item).define()


def _preprocess(unit: Unit, item: ast.CDefinition) -> None:
    found = _DEFINE.match(item.text.replace("\\\n", " "))
    if found is None or found[2] is not None:
        return  # #include and #if need nothing; macros with arguments are C's alone
    name, text = found[1], re.sub(r"/\*.*?\*/|//.*", "", found[3], flags=re.DOTALL).strip()
    if not text:
        return
    from .parser import parse
    from .statements import Body

    try:
        tree = parse(f"begin {{ _ = ({text}); }}", unit.source.name)
        action = tree.items[0]
        assert isinstance(action, ast.Action) and action.body is not None
        stmt = action.body.body[0]
        assert isinstance(stmt, ast.Discard)
        value = Body(unit, ir.Probe("begin"), ("define", name)).expr(stmt.value)
    except (SpecError, AssertionError):
        return  # a macro that isn't a value; its use will say so
    if isinstance(value, ir.Const) and type(value.value) is int:
        unit.types.constants[name] = (value.type, value.value)
    elif isinstance(value, ir.Const) and isinstance(value.value, bytes):
        body = ast.Block(item.start, item.end, (), ast.String(item.start, item.end, value.value))
        unit.macros[(name, 0)] = unit.macro_names[name] = ast.Macro(item.start, item.end, name, (), body)


class _Definition:
    """Reads one definition, word by word."""

    def __init__(self, unit: Unit, item: ast.CDefinition) -> None:
        self.unit = unit
        self.types = unit.types
        self.item = item
        self.words = [word for word in _WORD.findall(item.text) if word]
        self.at = 0
        self.packed = "packed" in self.words or "__packed" in self.words

    def fail(self, message: str) -> SpecError:
        return self.unit.source.error(message, self.item.start, self.item.end)

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def expect(self, word: str) -> None:
        found = self.take()
        if found != word:
            raise self.fail(f"in a C definition: expected '{word}', found '{found or 'the end'}'")

    def define(self) -> None:
        """The whole definition."""
        if self.peek() == "typedef":
            self.take()
            of = self.base()
            while self.peek() not in ("", ";"):
                for name, found, _ in self.declarators(of):
                    self.types.typedefs[name] = found
            return
        self.base()

    def base(self) -> Type:
        """A type's words, or a definition in place."""
        names: list[str] = []
        while True:
            word = self.peek()
            if word in _SKIPPED:
                self.take()
            elif word == "__attribute__":
                self.attribute()
            elif word in ("struct", "union") and not names:
                return self.compound(self.take())
            elif word == "enum" and not names:
                return self.enumeration()
            elif re.match(r"[A-Za-z_]", word or "-") and (
                not names or {*names, word} <= {"unsigned", "signed", "long", "int", "short", "char"}
            ):
                names.append(self.take())
            else:
                break
        found = self.types.plain(" ".join(names))
        if found is None:
            raise self.fail(f"in a C definition: unknown type '{' '.join(names) or self.peek()}'")
        return found

    def attribute(self) -> None:
        self.take()
        depth = 0
        while self.at < len(self.words):
            word = self.take()
            depth += (word == "(") - (word == ")")
            if depth == 0:
                return

    def compound(self, kind: str) -> Struct:
        """``struct name { members }`` or a mention of one."""
        while self.peek() == "__attribute__":
            self.attribute()
        name = self.take() if re.match(r"[A-Za-z_]", self.peek() or "-") else ""
        full = f"{kind} {name}" if name else ""
        if self.peek() != "{":
            return self.types.struct(full) or Struct(full, 0)
        self.take()
        members: list[Member] = []
        bit = size = 0
        widest = 1
        while self.peek() != "}":
            if not self.peek():
                raise self.fail("in a C definition: expected '}'")
            of = self.base()
            declared = [("", of, 0)] if self.peek() == ";" else list(self.declarators(of))
            for member, found, bits in declared:
                length = self.length(found)
                align = 1 if self.packed else self.alignment(found)
                widest = max(widest, align)
                if kind == "union":
                    bit = 0
                if bits and not isinstance(found, (Int, Enum, Bool)):
                    raise self.fail(f"in a C definition: bit field '{member}' isn't an integer")
                if bits:
                    unit = length * 8
                    if bit // unit != (bit + bits - 1) // unit:
                        bit = -(-bit // unit) * unit
                    start = bit // unit * unit
                    members.append(Member(member, found, start // 8, bit - start, bits))
                    bit += bits
                else:
                    bit = -(-bit // (8 * align)) * 8 * align
                    members += self.flattened(member, found, bit // 8)
                    bit += length * 8
                size = max(size, -(-bit // 8))
            if self.peek() == ";":
                self.take()
        self.expect("}")
        total = -(-size // widest) * widest
        made = Struct(full, total, tuple(members))
        if full:
            self.types.structs[full] = made
        return made

    def flattened(self, name: str, of: Type, offset: int) -> list[Member]:
        """A member; those of an unnamed struct stand among its own."""
        if not name and isinstance(of, Struct):
            return [one.replace(offset=one.offset + offset) for one in of.members]
        return [Member(name, of, offset)]

    def enumeration(self) -> Type:
        """``enum name { A, B = 2 }``."""
        self.take()
        name = self.take() if re.match(r"[A-Za-z_]", self.peek() or "-") else ""
        if self.peek() != "{":
            return self.types.enums.get(f"enum {name}") or Int(32, False)
        self.take()
        values: list[tuple[str, int]] = []
        number = 0
        while self.peek() != "}":
            word = self.take()
            if not word:
                raise self.fail("in a C definition: expected '}'")
            if self.peek() == "=":
                self.take()
                number = self.constant()
            values.append((word, number))
            number += 1
            if self.peek() == ",":
                self.take()
        self.take()
        bits = 32 if all(-(1 << 31) <= n < 1 << 32 for _, n in values) else 64
        made = Enum(f"enum {name}", bits, any(n < 0 for _, n in values), tuple(values))
        if name:
            self.types.enums[f"enum {name}"] = made
        for word, number in values:
            self.types.constants[word] = (made, number)
        return made

    def constant(self) -> int:
        """A number in C text: a literal, a name, shifts and sums of them."""
        value, sign, op = 0, 1, "+"
        while self.peek() not in ("", ",", "}", "]", ";", ")"):
            word = self.take()
            if word in ("-", "+", "<", "|", "*"):
                if word == "-":
                    sign = -1
                elif word == "<":
                    self.expect("<")
                    op = "<<"
                else:
                    op = word
                continue
            if word == "(":
                number = self.constant()
                self.expect(")")
            elif word[0].isdigit():
                try:
                    number = decode_number(word)
                except ValueError as error:
                    raise self.fail(f"in a C definition: {error}") from None
            elif word in self.types.constants:
                number = self.types.constants[word][1]
            else:
                raise self.fail(f"in a C definition: unknown constant '{word}'")
            number, sign = number * sign, 1
            if op == "<<":
                value <<= min(63, max(0, number))
            else:
                value = value + number if op == "+" else value | number if op == "|" else value * number
        return value

    def declarators(self, of: Type) -> list[tuple[str, Type, int]]:
        """``*a, b[4], c : 3`` up to the semicolon: name, type, bits."""
        found = []
        while True:
            one = of
            while self.peek() in ("*", *_SKIPPED):
                if self.take() == "*":
                    one = Pointer(one)
            if self.peek() == "(":
                # a pointer to a function
                self.take()
                while self.peek() == "*":
                    self.take()
                name = self.take()
                self.expect(")")
                depth = 0
                while self.at < len(self.words):
                    word = self.take()
                    depth += (word == "(") - (word == ")")
                    if depth == 0:
                        break
                one = Pointer(VOID)
            else:
                name = self.take() if self.peek() not in (":", ";", ",") else ""
            counts = []
            while self.peek() == "[":
                self.take()
                counts.append(self.constant() if self.peek() != "]" else 0)
                self.expect("]")
            for count in reversed(counts):
                one = Array(one, count)
            bits = 0
            if self.peek() == ":":
                self.take()
                bits = self.constant()
            while self.peek() == "__attribute__":
                self.attribute()
            found.append((name, one, bits))
            if self.peek() != ",":
                break
            self.take()
        if self.peek() == ";":
            self.take()
        elif self.peek() not in ("}", ""):
            raise self.fail(f"in a C definition: expected ';', found '{self.peek()}'")
        return found

    def length(self, of: Type) -> int:
        """Size in bytes."""
        if isinstance(of, Array):
            return self.length(of.of) * of.count
        return of.size

    def alignment(self, of: Type) -> int:
        """Alignment in bytes."""
        if isinstance(of, Array):
            return self.alignment(of.of)
        if isinstance(of, Struct):
            known = self.types.complete(of)
            return max((self.alignment(member.type) for member in known.members), default=1)
        return max(1, min(8, of.size))

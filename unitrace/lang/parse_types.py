"""Parsing of types, and what all parsers share: stepping over words, failing, counting levels."""

from __future__ import annotations

from . import ast
from .lexer import Lexer
from .source import Source

__all__ = ["DEEPEST", "TypeParser", "is_builtin"]

DEEPEST = 100
"""Levels of nesting: blocks, brackets and operators. Enough for people; short of every recursion limit."""

_BUILTINS = frozenset((
    "args", "ctx", "kstack", "nsecs", "pid", "tid", "ustack", "comm", "cpu", "uid", "gid", "retval", "func",
    "probe", "curtask", "cgroup", "rand", "elapsed", "ncpus", "numaid", "jiffies", "cpid", "username",
))  # fmt: skip
"""Words that in ``(word)`` are a value, not a type to cast to."""


def is_builtin(name: str) -> bool:
    """Whether a word in brackets is a value."""
    return name in _BUILTINS or (name.rstrip("0123456789") in ("arg", "sarg") and name[-1].isdigit())


class TypeParser:
    """Reads types from ``lex``. Raises SpecError."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.depth = 0
        self.lex = Lexer(source)

    # -- the small change -----------------------------------------------------------------------

    def fail(self, message: str, start: int | None = None, end: int | None = None, remedy: str = "") -> None:
        """Raise a syntax error, at the word under the cursor unless told."""
        lex = self.lex
        at = lex.start if start is None else start
        stop = lex.end if end is None else end
        raise self.source.error(f"syntax: {message}", at, max(stop, at + 1), remedy)

    def expect(self, value: str, why: str = "") -> None:
        """Step over ``value``, or fail."""
        lex = self.lex
        if lex.value != value or lex.kind == "string":
            found = "the end of the program" if lex.kind == "end" else f"'{lex.value[:20]}'"
            self.fail(f"expected '{value}'{why}, found {found}")
        lex.next()

    def accept(self, value: str) -> bool:
        """Step over ``value`` if it is there."""
        if self.lex.value == value and self.lex.kind in ("op", "name"):
            self.lex.next()
            return True
        return False

    def word(self, message: str) -> str:
        """Step over a name."""
        lex = self.lex
        if lex.kind != "name":
            self.fail(message)
        value = lex.value
        lex.next()
        return value

    def deeper(self) -> None:
        """One level down; fails beyond DEEPEST."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"nested too deeply (more than {DEEPEST} levels)")

    # -- types ----------------------------------------------------------------------------------

    def type_name(self) -> ast.TypeName:
        """A type, or fail."""
        found = self.try_type()
        if found is None:
            self.fail("expected type name")
            raise AssertionError
        return found

    def try_type(self) -> ast.TypeName | None:
        """A type's name and suffixes; None where the word can't be one (the cursor may have moved)."""
        lex = self.lex
        if lex.kind != "name":
            return None
        start, name = lex.start, lex.value
        lex.next()
        if name in ("struct", "union", "enum", "unsigned", "signed", "long", "const", "short"):
            while lex.kind == "name":  # struct x, unsigned long long, const char
                name = f"{name} {lex.value}"
                lex.next()
        suffixes: list[str | int] = []
        while lex.kind == "op" and lex.value in ("*", "["):
            if self.accept("*"):
                suffixes.append("*")
                continue
            lex.next()
            count = 0
            if lex.kind == "number":
                count = self.integer()
            if lex.value != "]":
                return None
            lex.next()
            suffixes.append(count)
        return ast.TypeName(start, lex.last_end, name, tuple(suffixes))

    def type_of(self) -> ast.TypeOf:
        """``typeof(...)``."""
        lex = self.lex
        start = lex.start
        lex.next()
        self.expect("(")
        of = self.type_or_expression((")",))
        self.expect(")")
        return ast.TypeOf(start, lex.last_end, of)

    def type_or_expression(self, ends: tuple[str, ...]) -> ast.TypeName | ast.Expr:
        """A type where the words can be one, else an expression."""
        lex = self.lex
        start, name = lex.start, lex.value
        if lex.kind == "name" and not is_builtin(name):
            found = self.try_type()
            if found is not None and lex.kind == "op" and lex.value in ends:
                return found
            lex.seek(start)
        return self.expression()

    def annotation(self) -> ast.TypeRef:
        """The type behind ``let $x:``."""
        if self.lex.value == "typeof":
            return self.type_of()
        return self.type_name()

    def type_function(self, start: int, name: str) -> ast.Expr:
        """sizeof, offsetof, typeinfo."""
        lex = self.lex
        self.expect("(")
        of: ast.TypeRef | ast.Expr
        if lex.value == "typeof" and lex.kind == "name":
            of = self.type_of()
        else:
            of = self.type_or_expression((")", ","))
        if name != "offsetof":
            self.expect(")")
            kind = ast.Sizeof if name == "sizeof" else ast.TypeInfo
            return kind(start, lex.last_end, of)
        self.expect(",")
        fields = [self.word("expected identifier")]
        while self.accept("."):
            fields.append(self.word("expected identifier"))
        self.expect(")")
        return ast.Offsetof(start, lex.last_end, of, tuple(fields))

    def expression(self) -> ast.Expr:
        """An expression: the expression parser's."""
        raise NotImplementedError

    def integer(self) -> int:
        """Step over an integer literal: the expression parser's."""
        raise NotImplementedError

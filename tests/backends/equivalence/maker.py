"""Clauses by chance: numbers, strings, tuples, variables, maps, loops, from one seed."""

from __future__ import annotations

import random

from unitrace.contract import ir
from unitrace.contract.types import BOOL, Aggregate, Int, Str, Tuple, Type

__all__ = ["CONTEXT_WORDS", "KINDS", "Maker"]

CONTEXT_WORDS = 8
KINDS = [Int(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)]
I64, U64 = Int(64, True), Int(64, False)
EDGES = (0, 1, 2, -1, -2, 7, 63, 64, 127, 128, 255, 256, 1 << 31, (1 << 31) - 1, 1 << 32, -(1 << 31), -(1 << 63),
         (1 << 63) - 1, 0xFFFF, 0xFFFFFFFF, -129)  # fmt: skip
ARITHMETIC = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]
COMPARE = ["==", "!=", "<", "<=", ">", ">="]
WORDS = (
    b"",
    b"a",
    b"b",
    b"ab",
    b"abc",
    b"abcdefg",
    b"abcdefgh",
    b"abcdefghi",
    b"/",
    b"a longer one, of some length",
)
FUNCTIONS = [("count", ()), ("sum", ()), ("min", ()), ("max", ()), ("avg", ()), ("stats", ()), ("hist", (0,)),
             ("hist", (3,)), ("lhist", (-10, 100, 7)), ("lhist", (0, 1000, 100)), ("lhist", (5, 40, 5))]  # fmt: skip
NUMBERS = ("count", "sum", "min", "max", "avg")
"""Aggregates that a program can read as a number."""

LENGTHS = (4, 8, 12, 16, 33, 64)


class Maker:
    """Clauses by chance: small pieces, drawn from one generator, so that a seed tells all.

    ``variables`` and ``decls``: what the clause may use, by its pieces so far."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.variables: dict[str, Type] = {}
        self.decls: list[ir.MapDecl] = []
        self.loops = 0
        self.left = 0  # statements that may still come

    # --- numbers ----------------------------------------------------------------------------------

    def word(self) -> int:
        return self.random.choice(
            (
                self.random.choice(EDGES),
                self.random.randrange(-(1 << 63), 1 << 63),
                self.random.randrange(-40, 41),
                self.random.randrange(-(1 << 33), 1 << 33),
                self.random.randrange(4),
            )
        )

    def events(self) -> list[list[int]]:
        return [[self.word() for _ in range(CONTEXT_WORDS)] for _ in range(self.random.randrange(1, 9))]

    def kind(self) -> Int:
        return self.random.choice(KINDS)

    def constant(self, of: Int) -> ir.Const:
        value = self.word() & (1 << of.bits) - 1
        return ir.Const(of, value - (1 << of.bits) if of.signed and value >> of.bits - 1 else value)

    def leaf(self, of: Int) -> ir.Expr:
        if self.random.random() < 0.4:
            return self.constant(of)
        held = [name for name, one in self.variables.items() if one == of]
        if held and self.random.random() < 0.5:
            return ir.Var(of, self.random.choice(held))
        site = ir.Site(I64, "arg", self.random.randrange(CONTEXT_WORDS))
        return site if of == I64 else ir.Cast(of, site)

    def number(self, of: Int, depth: int) -> ir.Expr:
        """An expression of an integer type."""
        choice = self.random.randrange(14) if depth else 0
        if choice == 0:
            return self.leaf(of)
        if choice == 13 and self.texts():
            return ir.Cast(of, self.text_number(depth - 1))
        if choice < 6:
            sign = self.random.choice(ARITHMETIC)
            return ir.Binary(of, sign, self.number(of, depth - 1), self.number(of, depth - 1))
        if choice == 6:
            return ir.Unary(of, self.random.choice("-~"), self.number(of, depth - 1))
        if choice == 7:
            return ir.Cast(of, self.number(self.kind(), depth - 1))
        if choice == 8:
            return ir.Choice(
                of, self.truth(depth - 1), self.number(of, depth - 1), self.number(of, depth - 1)
            )
        if choice == 9:
            return ir.Cast(of, self.truth(depth - 1))
        return self.held(of, depth) or self.leaf(of)

    def truth(self, depth: int) -> ir.Expr:
        """A condition."""
        choice = self.random.randrange(8) if depth else 0
        if choice < 2:
            of, below = self.kind(), max(0, depth - 1)
            return ir.Binary(
                BOOL, self.random.choice(COMPARE), self.number(of, below), self.number(of, below)
            )
        if choice == 2:
            return ir.Unary(BOOL, "!", self.truth(depth - 1))
        if choice == 3 and self.texts():
            return self.text_truth(depth - 1)
        if choice == 4 and self.plain():
            decl = self.random.choice(self.plain())
            key = tuple(self.value(one, depth - 1) for one in decl.key)
            return ir.Call(BOOL, "has_key", (ir.MapGet(decl.value, decl.name, key),))
        return ir.Binary(BOOL, self.random.choice(("&&", "||")), self.truth(depth - 1), self.truth(depth - 1))

    # --- strings, tuples ----------------------------------------------------------------------------

    def texts(self) -> bool:
        """Whether strings are about."""
        return any(isinstance(one, Str) for one in self.variables.values())

    def text_truth(self, depth: int) -> ir.Expr:
        of = Str(self.random.choice(LENGTHS))
        one = self.value(of, depth)
        two = self.value(of, depth) if self.random.random() < 0.4 else self.literal(of)
        chance = self.random.random()
        if chance < 0.2:
            return ir.Call(BOOL, "strcontains", (one, two))
        if chance < 0.5:
            count = ir.Const(I64, self.random.randrange(12))
            same = ir.Call(I64, "strncmp", (one, two, count))
            return ir.Binary(BOOL, self.random.choice(("==", "!=")), same, ir.Const(I64, 0))
        return ir.Binary(BOOL, self.random.choice(("==", "!=")), one, two)

    def text_number(self, depth: int) -> ir.Expr:
        """What a string's bytes say."""
        of = Str(self.random.choice(LENGTHS))
        text, chance = self.value(of, depth), self.random.random()
        if chance < 0.4:
            return ir.Call(U64, "strlen", (text,))
        if chance < 0.7:
            other = self.value(of, depth) if self.random.random() < 0.4 else self.literal(of)
            return ir.Call(I64, "strstr", (text, other))
        at: ir.Expr = ir.Const(I64, self.random.randrange(of.length))
        if self.random.random() < 0.5:
            at = self.number(self.kind(), 1)
        return ir.Index(Int(8, True), text, at)

    def literal(self, of: Str) -> ir.Const:
        fitting = [one for one in WORDS if len(one) < of.length]
        return ir.Const(of, self.random.choice(fitting))

    def value(self, of: Type, depth: int) -> ir.Expr:
        """A value of any type."""
        if isinstance(of, Int):
            return self.number(of, depth)
        if of == BOOL:
            return self.truth(depth)
        if depth and self.random.random() < 0.5:
            held = self.held(of, depth)
            if held is not None:
                return held
        if depth and self.random.random() < 0.2:
            return ir.Choice(of, self.truth(depth - 1), self.value(of, depth - 1), self.value(of, depth - 1))
        if isinstance(of, Str):
            return self.literal(of)
        assert isinstance(of, Tuple)
        return ir.TupleOf(of, tuple(self.value(one, max(0, depth - 1)) for one in of.items))

    def held(self, of: Type, depth: int) -> ir.Expr | None:
        """A value of the type that is in a variable, a map or a tuple; None where there is none."""
        found: list[ir.Expr] = [ir.Var(of, name) for name, one in self.variables.items() if one == of]
        for name, one in self.variables.items():
            if isinstance(one, Tuple):
                found += [
                    ir.MemberOf(of, ir.Var(one, name), at) for at, item in enumerate(one.items) if item == of
                ]
        for decl in self.decls:
            if _number_of(decl) == of:
                key = tuple(self.value(part, max(0, depth - 2)) for part in decl.key)
                found.append(ir.MapGet(of, decl.name, key))
            if decl.key and of == I64 and self.random.random() < 0.3:
                found.append(ir.Call(I64, "len", (ir.MapGet(decl.value, decl.name, ()),)))
        for decl in self.plain():
            if decl.value == of:
                key = tuple(self.value(part, max(0, depth - 2)) for part in decl.key)
                found.append(ir.MapGet(of, decl.name, key))
            elif isinstance(decl.value, Tuple) and of in decl.value.items:
                key = tuple(self.value(part, max(0, depth - 2)) for part in decl.key)
                read = ir.MapGet(decl.value, decl.name, key)
                found.append(ir.MemberOf(of, read, decl.value.items.index(of)))
        return self.random.choice(found) if found else None

    def type(self, depth: int = 2) -> Type:
        choice = self.random.randrange(10)
        if choice < 5 or not depth:
            return self.random.choice((I64, U64, self.kind(), self.kind()))
        if choice < 7:
            return Str(self.random.choice(LENGTHS))
        if choice == 7:
            return BOOL
        return Tuple(tuple(self.type(depth - 1) for _ in range(self.random.randrange(1, 4))))

    # --- maps, statements -----------------------------------------------------------------------------

    def plain(self) -> list[ir.MapDecl]:
        """The maps whose values are set."""
        return [one for one in self.decls if not isinstance(one.value, Aggregate)]

    def map(self) -> ir.MapDecl:
        """A new map."""
        name = f"@{'abcdefgh'[len(self.decls)]}"
        key = tuple(self.type() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))))
        value: Type = self.type()
        if self.random.random() < 0.35:
            function, parameters = self.random.choice(FUNCTIONS)
            value = Aggregate(function, self.random.random() < 0.5, parameters)
        entries = self.random.choice((4096, 4096, 4096, 2))
        decl = ir.MapDecl(name, key, value, entries)
        self.decls.append(decl)
        return decl

    def statement(self, depth: int) -> ir.Stmt:
        self.left -= 1
        choice = self.random.randrange(14)
        if choice < 4:
            return self._assign(depth)
        if choice < 8 and self.decls:
            return self._write(depth)
        if choice == 8 and depth:
            other = self.body(depth - 1) if self.random.random() < 0.4 else ()
            return ir.If(self.truth(2), self.body(depth - 1), other)
        if choice == 9 and depth and self.loops < 2:
            return self._loop(depth)
        if choice == 10 and self.loops:
            leave = ir.Break() if self.random.random() < 0.5 else ir.Continue()
            return ir.If(self.truth(2), (leave,))
        if choice == 11 and self.random.random() < 0.3:
            return ir.If(self.truth(2), (ir.Return(),))
        if choice >= 12:
            values = tuple(self.value(self.type(), 2) for _ in range(self.random.randrange(4)))
            return ir.Act("printf", values, b"%d" * len(values))
        return self._assign(depth)

    def _assign(self, depth: int) -> ir.Stmt:
        if self.variables and self.random.random() < 0.5:
            name = self.random.choice(list(self.variables))
            of = self.variables[name]
        else:
            name, of = f"v{len(self.variables)}", self.type()
        value = self.value(of, 3 if isinstance(of, Int) else 2)
        if name.startswith("n"):  # a loop's variable stays as it is
            name = f"v{len(self.variables)}"
        self.variables[name] = of
        return ir.Assign(name, value)

    def _write(self, depth: int) -> ir.Stmt:
        decl = self.random.choice(self.decls)
        key = tuple(self.value(one, 2) for one in decl.key)
        if isinstance(decl.value, Aggregate):
            of = I64 if decl.value.signed else U64
            args = () if decl.value.function == "count" else (self.number(of, 2),)
            return ir.MapUpdate(decl.name, key, args)
        chance = self.random.random()
        if chance < 0.15:
            return ir.MapDelete(decl.name, key)
        if chance < 0.4 and isinstance(decl.value, Int):
            held = ir.MapGet(decl.value, decl.name, key)
            sign = self.random.choice("+-")
            return ir.MapSet(decl.name, key, ir.Binary(decl.value, sign, held, self.number(decl.value, 1)))
        return ir.MapSet(decl.name, key, self.value(decl.value, 3))

    def _loop(self, depth: int) -> ir.Stmt:
        self.loops += 1
        try:
            if self.random.random() < 0.4:
                count: ir.Expr = ir.Const(I64, self.random.randrange(1, 6))
                if self.random.random() < 0.3:
                    count = ir.Binary(I64, "&", self.number(I64, 1), ir.Const(I64, 7))
                return ir.Unroll(count, self.body(depth - 1))
            if self.random.random() < 0.3:
                return self._while(depth)
            name, low = f"n{len(self.variables)}", self.random.randrange(-2, 3)
            self.variables[name] = I64
            high: ir.Expr = ir.Const(I64, low + self.random.randrange(7))
            if self.random.random() < 0.4:
                high = ir.Binary(I64, "&", self.number(I64, 1), ir.Const(I64, 7))
            return ir.ForRange(name, ir.Const(I64, low), high, self.body(depth - 1))
        finally:
            self.loops -= 1

    def _while(self, depth: int) -> ir.Stmt:
        """A loop by a counter, at most eight turns: it counts down first of all."""
        name = f"n{len(self.variables)}"
        self.variables[name] = I64
        count = ir.Var(I64, name)
        down = ir.Assign(
            name, ir.Binary(I64, "-", ir.Binary(I64, "&", count, ir.Const(I64, 7)), ir.Const(I64, 1))
        )
        more = ir.Binary(BOOL, ">", count, ir.Const(I64, 0))
        start = ir.Assign(name, ir.Binary(I64, "&", self.number(I64, 1), ir.Const(I64, 7)))
        return ir.If(ir.Const(BOOL, True), (start, ir.Loop(more, (down, *self.body(depth - 1)))))

    def body(self, depth: int, most: int = 3) -> tuple[ir.Stmt, ...]:
        return tuple(
            self.statement(depth) for _ in range(self.random.randrange(1, most + 1)) if self.left > 0
        ) or (ir.Assign("v", ir.Const(I64, 0)),)

    def whole(self) -> tuple[ir.Expr | None, tuple[ir.Stmt, ...], list[ir.MapDecl]]:
        """A clause's predicate and body, and the maps that it may use."""
        self.left = 14
        for _ in range(self.random.randrange(4)):
            self.map()
        when = self.truth(3) if self.random.random() < 0.3 else None
        body = self.body(2, 7)
        return when, body, self.decls


def _number_of(decl: ir.MapDecl) -> Type | None:
    """The type of the number that a program reads from an aggregating map."""
    if not isinstance(decl.value, Aggregate) or decl.value.function not in NUMBERS:
        return None
    return I64 if decl.value.signed else U64

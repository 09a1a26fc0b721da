"""Parsing of statements. An error in one is kept, and parsing goes on behind it."""

from __future__ import annotations

from unitrace.contract.errors import SpecError

from . import ast
from .expressions import ExpressionParser
from .source import Source

__all__ = ["MOST_ERRORS", "StatementParser"]

_COMPOUND = frozenset(("<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="))
MOST_ERRORS = 10
_IMMUTABLE = (
    "Tuples and records are immutable once created. Consider creating a new value and assigning it instead."
)


class StatementParser(ExpressionParser):
    """Reads statements. ``errors``: the faults so far."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.errors: list[SpecError] = []

    def block(self, value: bool) -> ast.Block:
        """``{ statements }``; with ``value``, a last expression without semicolon is the block's value."""
        lex = self.lex
        start = lex.start
        self.expect("{")
        self.deeper()
        depth = self.depth
        body: list[ast.Stmt] = []
        last: ast.Expr | None = None
        while not (lex.kind == "op" and lex.value == "}"):
            if lex.kind == "end":
                if self.errors:  # it was lost behind an error that has been told
                    raise self.errors.pop()
                self.fail("expected '}' to close the block", start, start + 1)
            if lex.value == ";":
                lex.next()
                continue
            try:
                made = self.statement()
            except SpecError as error:
                self.errors.append(error)
                if len(self.errors) >= MOST_ERRORS:
                    raise
                self.depth = depth
                self.resume(error)
                continue
            if isinstance(made, ast.Expr):
                if value:
                    last = made
                else:
                    body.append(ast.Evaluate(made.start, made.end, made))
            else:
                body.append(made)
        lex.next()
        self.depth -= 1
        return ast.Block(start, lex.last_end, tuple(body), last)

    def resume(self, error: SpecError) -> None:
        """Go behind the statement that failed: to the next ``;`` or before the ``}`` of this block."""
        lex = self.lex
        depth = 0
        while lex.kind != "end":
            if lex.kind == "op":
                if lex.value == ";" and depth == 0:
                    lex.next()
                    return
                if lex.value == "{":
                    depth += 1
                elif lex.value == "}":
                    if depth == 0:
                        return
                    depth -= 1
                    if depth == 0:
                        lex.next()
                        return
            try:
                lex.next()
            except SpecError:
                if lex.kind != "bad":
                    raise error from None

    def statement(self) -> ast.Stmt | ast.Expr:
        """A statement; an Expr is one without semicolon before the block's end."""
        lex = self.lex
        start, word = lex.start, lex.value
        if lex.kind == "name":
            if word == "let":
                return self.let()
            if word in ("while", "unroll"):
                lex.next()
                condition = self.expression()
                body = self.block(False)
                kind = ast.While if word == "while" else ast.UnrollStmt
                return kind(start, lex.last_end, condition, body)
            if word == "for":
                return self.loop()
            if word in ("break", "continue", "return"):
                return self.jump()
            if word == "import":
                return self.imported()
            if word == "_" and lex.peek() == "=":
                lex.next()
                self.expect("=")
                value = self.expression()
                self.finish()
                return ast.Discard(start, lex.last_end, value)
        expr = self.unary_statement()
        if isinstance(expr, ast.Stmt):
            return expr
        if self.accept(";"):
            return ast.Evaluate(start, expr.end, expr)
        if lex.value == "}" and lex.kind == "op":
            return expr
        if isinstance(expr, (ast.IfExpr, ast.Block)):
            return ast.Evaluate(start, expr.end, expr)
        found = "the end of the program" if lex.kind == "end" else f"'{lex.value[:20]}'"
        self.fail(f"expected ';', found {found}")
        raise AssertionError

    def unary_statement(self) -> ast.Stmt | ast.Expr:
        """An assignment, or an expression. A map or variable is read first, as it may be a target."""
        lex = self.lex
        start = lex.start
        if lex.kind not in ("var", "map"):
            return self.expression()
        target = self.primary()
        op = lex.value
        if lex.kind == "op" and (op == "=" or op in _COMPOUND):
            if not isinstance(target, (ast.Variable, ast.Map)):
                raise AssertionError
            lex.next()
            value = self.expression()
            end = lex.last_end
            self.finish()
            return ast.Set(start, end, target, op, value)
        self.depth += 1
        expr = self.binary(1, self.postfix(target))
        self.depth -= 1
        if lex.kind == "op" and lex.value == "=":
            lex.next()
            value = self.expression()
            if isinstance(expr, (ast.TupleItem, ast.Field)):
                self.fail(_IMMUTABLE, start, value.end)
            self.fail("invalid assignment target", start, value.end)
        if lex.kind == "op" and lex.value == "?":
            # read it anew, as a whole
            lex.seek(start)
            return self.expression()
        if isinstance(expr, ast.Increment) and lex.kind != "op":
            self.finish()
        return expr

    def finish(self) -> None:
        """The end of a statement."""
        if self.lex.value != "}" or self.lex.kind != "op":
            self.expect(";")

    def let(self) -> ast.Stmt:
        """``let $x: type = value;``"""
        lex = self.lex
        start = lex.start
        lex.next()
        if lex.kind != "var":
            self.fail("expected variable after 'let'")
        name = lex.value[1:]
        lex.next()
        kind = self.annotation() if self.accept(":") else None
        value = self.expression() if self.accept("=") else None
        end = lex.last_end
        self.finish()
        return ast.Let(start, end, name, kind, value)

    def loop(self) -> ast.Stmt:
        """``for $x : @map { }``, ``for ($x : 0..10) { }``."""
        lex = self.lex
        start = lex.start
        lex.next()
        bracket = self.accept("(")
        if lex.kind != "var":
            self.fail("expected variable in for loop")
        name = lex.value[1:]
        lex.next()
        self.expect(":")
        first = self.bound()
        over: ast.Map | ast.Range
        if self.accept(".."):
            high = self.bound()
            over = ast.Range(first.start, high.end, first, high)
        elif isinstance(first, ast.Map):
            over = first
        else:
            self.fail("expected map or range in for loop", first.start, first.end)
            raise AssertionError
        if bracket:
            self.expect(")")
        body = self.block(False)
        return ast.For(start, lex.last_end, name, over, body)

    def bound(self) -> ast.Expr:
        """A bound of a range, or a map."""
        if self.lex.value == "-" and self.lex.kind == "op":
            return self.unary()
        return self.postfix(self.primary())

    def jump(self) -> ast.Stmt:
        """break, continue, return."""
        lex = self.lex
        start, kind = lex.start, lex.value
        lex.next()
        value = None
        if kind == "return" and lex.value not in (";", "}"):
            value = self.expression()
        end = lex.last_end
        self.finish()
        return ast.Jump(start, end, kind, value)

    def imported(self) -> ast.Import:
        """``import "path";``"""
        lex = self.lex
        start = lex.start
        lex.next()
        if lex.kind != "string":
            self.fail("expected string after 'import'")
        path = self.string().decode(errors="surrogateescape")
        end = lex.last_end
        self.expect(";")
        return ast.Import(start, end, path)

"""Parsing of expressions and types: C's operators, by precedence climbing."""

from __future__ import annotations

from . import ast
from .lexer import decode_number, decode_string
from .parse_types import DEEPEST, TypeParser, is_builtin

__all__ = ["DEEPEST", "ExpressionParser", "PRECEDENCE", "links"]

PRECEDENCE = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, "<=": 7, ">": 7, ">=": 7,
    "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip

_STARTS = frozenset(("number", "string", "name", "var", "map", "positional"))


class ExpressionParser(TypeParser):
    """Reads expressions from ``lex``. Raises SpecError."""

    # -- expressions ----------------------------------------------------------------------------

    def expression(self) -> ast.Expr:
        """``a ? b : c`` and all that binds tighter."""
        self.deeper()
        lex = self.lex
        condition = self.binary(1)
        if lex.value == "?" and lex.kind == "op":
            lex.next()
            then = None if lex.value == ":" else self.expression()
            self.expect(":", " of '?'")
            otherwise = self.expression()
            condition = ast.Ternary(condition.start, lex.last_end, condition, then, otherwise)
        self.depth -= 1
        return condition

    def binary(self, least: int, left: ast.Expr | None = None) -> ast.Expr:
        """Operators of precedence ``least`` and up."""
        lex = self.lex
        left = self.unary() if left is None else left
        levels = 0
        while lex.kind == "op":
            op = lex.value
            level = PRECEDENCE.get(op)
            if level is None or level < least:
                break
            if op == "/" and lex.peek() in ("{", "", ","):
                break  # the end of a predicate
            lex.next()
            right = self.binary(level + 1)
            if op in ("&&", "||"):
                left = self.chain(op, level, left, right)
            else:
                levels += 1
                if levels + self.depth > DEEPEST:
                    self.fail(f"nested too deeply (more than {DEEPEST} levels)", left.start, right.end)
                left = ast.Binary(left.start, right.end, op, left, right)
        return left

    def chain(self, op: str, level: int, left: ast.Expr, right: ast.Expr) -> ast.Expr:
        """``a || b || c || ...`` as a balanced tree, so that long ones stay shallow; brackets around a part
        of it mean nothing."""
        lex = self.lex
        parts = [*links(left, op), *links(right, op)]
        while lex.kind == "op" and lex.value == op:
            lex.next()
            parts += links(self.binary(level + 1), op)
        while len(parts) > 2:
            pairs: list[ast.Expr] = [
                ast.Binary(a.start, b.end, op, a, b) for a, b in zip(parts[::2], parts[1::2])
            ]
            parts = pairs + parts[len(parts) // 2 * 2 :]
        return ast.Binary(parts[0].start, parts[1].end, op, parts[0], parts[1])

    def unary(self) -> ast.Expr:
        """Prefix operators."""
        lex = self.lex
        op = lex.value
        if lex.kind != "op" or op not in ("-", "!", "~", "*", "&", "++", "--", "&&"):
            return self.postfix(self.primary())
        start = lex.start
        self.deeper()
        lex.next()
        made: ast.Expr
        if op in ("++", "--"):
            target = self.unary()
            if not isinstance(target, (ast.Variable, ast.Map)):
                self.fail("increment/decrement requires a variable or map", target.start, target.end)
                raise AssertionError
            made = ast.Increment(start, target.end, op, True, target)
        elif op == "&":
            of = self.primary() if lex.kind in ("var", "map") else None
            if not isinstance(of, (ast.Variable, ast.Map)):
                self.fail("address-of operator (&) can only be used on a map or variable", start)
                raise AssertionError
            made = ast.AddressOf(start, of.end, of)
        elif op == "&&":
            self.fail("expected expression", start, start + 2)
            raise AssertionError
        else:
            operand = self.unary()
            made = ast.Unary(start, operand.end, op, operand)
        self.depth -= 1
        return made

    def postfix(self, expr: ast.Expr) -> ast.Expr:
        """Members, elements, ``++``."""
        lex = self.lex
        levels = 0
        while lex.kind == "op":
            op = lex.value
            start = expr.start
            if op in (".", "->"):
                lex.next()
                if lex.kind == "number" and op == ".":
                    expr = ast.TupleItem(start, lex.end, expr, self.integer())
                else:
                    name = self.word(f"expected field name after '{op}'")
                    kind = ast.Field if op == "." else ast.Arrow
                    expr = kind(start, lex.last_end, expr, name)
            elif op == "[":
                lex.next()
                index = self.expression()
                self.expect("]")
                expr = ast.Index(start, lex.last_end, expr, index)
            elif op in ("++", "--"):
                if not isinstance(expr, (ast.Variable, ast.Map)):
                    self.fail("increment/decrement requires a variable or map")
                    raise AssertionError
                lex.next()
                expr = ast.Increment(start, lex.last_end, op, False, expr)
            else:
                break
            levels += 1
            if levels + self.depth > DEEPEST:
                self.fail(f"nested too deeply (more than {DEEPEST} levels)", expr.start, expr.end)
        return expr

    def primary(self) -> ast.Expr:
        """Literals, names, calls, maps, variables, brackets, blocks."""
        lex = self.lex
        kind, value, start = lex.kind, lex.value, lex.start
        if kind == "name":
            return self.named()
        if kind == "var":
            lex.next()
            return ast.Variable(start, lex.last_end, value[1:])
        if kind == "map":
            return self.map()
        if kind == "number":
            end = lex.end
            return ast.Number(start, end, self.integer(), value)
        if kind == "string":
            return ast.String(start, lex.end, self.string())
        if kind == "positional":
            lex.next()
            if value == "$#":
                return ast.PositionalCount(start, lex.last_end)
            number = int(value[1:40])
            if len(value) > 40 or not 1 <= number < 1 << 63:
                self.fail(f"param {value} is out of integer range [1, {(1 << 63) - 1}]", start, lex.last_end)
            return ast.Positional(start, lex.last_end, number)
        if value == "(" and kind == "op":
            return self.bracket()
        if value == "{" and kind == "op":
            return self.block(True)
        found = "the end of the program" if kind == "end" else f"'{value[:20]}'"
        self.fail(f"expected expression, found {found}")
        raise AssertionError

    def integer(self) -> int:
        """Step over an integer literal."""
        lex = self.lex
        try:
            value = decode_number(lex.value)
        except ValueError as error:
            self.fail(str(error))
            raise AssertionError from None
        lex.next()
        return value

    def string(self) -> bytes:
        """Step over a string literal."""
        lex = self.lex
        try:
            value = decode_string(lex.value)
        except ValueError as error:
            self.fail(str(error))
            raise AssertionError from None
        lex.next()
        return value

    def map(self) -> ast.Map:
        """``@name`` or ``@name[a, b]``."""
        lex = self.lex
        start, name = lex.start, lex.value[1:]
        lex.next()
        if not (lex.kind == "op" and lex.value == "["):
            return ast.Map(start, lex.last_end, name)
        lex.next()
        keys = [self.expression()]
        while self.accept(","):
            keys.append(self.expression())
        self.expect("]")
        return ast.Map(start, lex.last_end, name, tuple(keys))

    def named(self) -> ast.Expr:
        """What begins with a word."""
        lex = self.lex
        start, name = lex.start, lex.value
        lex.next()
        if name == "if":
            return self.if_expression(start)
        if name in ("true", "false"):
            return ast.Boolean(start, lex.last_end, name == "true")
        if name == "comptime":
            operand = self.unary()
            return ast.Comptime(start, operand.end, operand)
        if name in ("sizeof", "offsetof", "typeinfo") and lex.value == "(":
            return self.type_function(start, name)
        if lex.kind == "op" and lex.value == "!" and lex.peek() == "(":
            lex.next()  # name!(...), a macro's call as it was once written
        if lex.kind == "op" and lex.value == "(":
            lex.next()
            args: list[ast.Expr] = []
            while lex.value != ")" or lex.kind != "op":
                args.append(self.argument())
                if not self.accept(","):
                    break
            self.expect(")", f" to close {name}(")
            return ast.Call(start, lex.last_end, name, tuple(args))
        return ast.Name(start, lex.last_end, name)

    def argument(self) -> ast.Expr:
        """An argument of a call; ``typeof(x)`` is one."""
        lex = self.lex
        if lex.value == "typeof" and lex.kind == "name":
            start = lex.start
            of = self.type_of()
            return ast.TypeArg(start, lex.last_end, of)
        return self.expression()

    def if_expression(self, start: int) -> ast.IfExpr:
        """``if`` and its arms; a long else-if ladder is read in a loop."""
        lex = self.lex
        arms: list[tuple[ast.Expr, ast.Block]] = []
        otherwise = None
        while True:
            if lex.value == "(" and lex.kind == "op":
                # a condition in brackets may go on behind them: if ($a) == 1 { }
                condition = self.expression()
            else:
                condition = self.binary(1)
            arms.append((condition, self.block(True)))
            if not (lex.kind == "name" and lex.value == "else"):
                break
            lex.next()
            if lex.kind == "name" and lex.value == "if":
                lex.next()
                continue
            if lex.value != "{":
                self.fail("expected '{' or 'if' after 'else'")
            otherwise = self.block(True)
            break
        return ast.IfExpr(start, lex.last_end, tuple(arms), otherwise)

    def bracket(self) -> ast.Expr:
        """What begins with ``(``: a cast, a record, a tuple, or an expression in brackets."""
        lex = self.lex
        start = lex.start
        self.deeper()
        lex.next()
        made: ast.Expr
        if lex.value == ")" and lex.kind == "op":
            lex.next()
            made = ast.TupleExpr(start, lex.last_end, ())
        elif lex.kind == "name":
            made = self.record_or_cast(start) or self.tuple_or_group(start)
        else:
            made = self.tuple_or_group(start)
        self.depth -= 1
        return made

    def record_or_cast(self, start: int) -> ast.Expr | None:
        """``(name=...)`` or ``(type)operand``; None, cursor unmoved, where it is neither."""
        lex = self.lex
        inside, name = lex.start, lex.value
        if is_builtin(name):
            return None
        if lex.peek() == "=":
            lex.next()
            if lex.value == "=":
                lex.seek(inside)
                return self.record(start)
            lex.seek(inside)
            return None
        if name in ("true", "false", "if", "sizeof", "offsetof", "comptime", "typeinfo"):
            return None
        if name == "typeof":
            to: ast.TypeRef | None = self.type_of()
        else:
            to = self.try_type()
        if to is not None and lex.kind == "op" and lex.value == ")":
            lex.next()
            if lex.kind in _STARTS or (lex.kind == "op" and lex.value in ("(", "-", "!", "~", "*", "&")):
                operand = self.unary()
                return ast.Cast(start, operand.end, to, operand)
        lex.seek(inside)
        return None

    def record(self, start: int) -> ast.Expr:
        """``(a=1, b=2)``; the cursor is on the first name."""
        lex = self.lex
        names: list[str] = []
        values: list[ast.Expr] = []
        while True:
            at = lex.start
            name = self.word("expected identifier")
            if name in names:
                self.fail(f"Named argument list already contains name: {name}", at, lex.last_end)
            self.expect("=")
            names.append(name)
            values.append(self.expression())
            if not self.accept(",") or lex.value == ")":
                break
        self.expect(")")
        return ast.RecordExpr(start, lex.last_end, tuple(names), tuple(values))

    def tuple_or_group(self, start: int) -> ast.Expr:
        """``(a)``, ``(a,)``, ``(a, b)``; the cursor is behind the bracket."""
        lex = self.lex
        first = self.expression()
        if not self.accept(","):
            self.expect(")")
            return first.replace(start=start, end=lex.last_end)
        items = [first]
        while lex.value != ")":
            items.append(self.expression())
            if not self.accept(","):
                break
        self.expect(")")
        return ast.TupleExpr(start, lex.last_end, tuple(items))

    def block(self, value: bool) -> ast.Block:
        """``{ ... }``: the statement parser's."""
        raise NotImplementedError


def links(node: ast.Expr, op: str) -> list[ast.Expr]:
    """The operands of a chain of ``op``, from left to right."""
    if isinstance(node, ast.Binary) and node.op == op:
        return [*links(node.left, op), *links(node.right, op)]
    return [node]

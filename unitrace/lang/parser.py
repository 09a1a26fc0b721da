"""Parsing of programs. An error in one item is kept, and parsing goes on behind it."""

from __future__ import annotations

from unitrace.contract.errors import SpecError

from . import ast
from .parse_statements import MOST_ERRORS, StatementParser
from .source import Source

__all__ = ["parse"]


def parse(text: str, name: str = "stdin") -> ast.Program:
    """The tree of a program. Raises SpecError for the first fault, with the others in ``others``."""
    parser = Parser(Source(text, name))
    try:
        program = parser.program()
    except SpecError as error:
        parser.errors.append(error)
        program = None
    if parser.errors or program is None:
        first, *others = parser.errors
        first.others = tuple(others)
        raise first
    return program


class Parser(StatementParser):
    """Reads a whole program."""

    def program(self) -> ast.Program:
        """The whole text."""
        lex = self.lex
        if self.source.text.startswith("#!"):
            end = self.source.text.find("\n")
            lex.seek(len(self.source.text) if end < 0 else end)
        items: list[ast.Item] = []
        body = False  # behind the first action, macro or declaration
        while lex.kind != "end":
            start = lex.start
            try:
                item = self.item()
                if isinstance(item, (ast.CDefinition, ast.Config, ast.Import)) and body:
                    what = {"CDefinition": "C definitions", "Config": "config", "Import": "root imports"}
                    name = what[type(item).__name__]
                    self.fail(f"{name} must appear before probes and functions", item.start, item.end)
                if isinstance(item, ast.Config) and any(isinstance(one, ast.Config) for one in items):
                    self.fail("duplicate config block", item.start, item.start + 6)
                body = body or not isinstance(item, (ast.CDefinition, ast.Config, ast.Import))
                items.append(item)
            except SpecError as error:
                self.errors.append(error)
                if len(self.errors) >= MOST_ERRORS or lex.start == start:
                    raise error from None
                self.depth = 0
                self.resume_program(error)
        if not self.errors and not items:
            self.fail("expected a probe, found the end of the program", 0, 1)
        if self.errors:
            raise self.errors.pop()
        return ast.Program(0, len(self.source.text), tuple(items))

    def resume_program(self, error: SpecError) -> None:
        """Go behind the item that failed: behind the next ``}`` that closes it."""
        lex = self.lex
        depth = 0
        while lex.kind != "end":
            closes = lex.kind == "op" and lex.value == "}"
            if lex.kind == "op" and lex.value == "{":
                depth += 1
            try:
                lex.next()
            except SpecError:
                if lex.kind != "bad":
                    raise error from None
            if closes:
                depth -= 1
                if depth <= 0:
                    return

    def item(self) -> ast.Item:
        """One thing at the top."""
        lex = self.lex
        start, word = lex.start, lex.value
        if lex.kind == "op" and word == "#":
            return self.directive()
        if lex.kind == "name":
            if word in ("struct", "union", "enum", "typedef") and self.is_c_definition():
                return self.c_definition()
            if word == "config":
                return self.config()
            if word == "import":
                return self.imported()
            if word == "macro":
                return self.macro()
            if word == "fn":
                return self.function()
            if word == "let":
                return self.declaration()
        if lex.kind == "op" and word in ("/", "{", "}", ","):
            self.fail(f"expected attach point, found '{word}'", start)
        return self.action()

    def action(self) -> ast.Action:
        """``probes /predicate/ { }``."""
        lex = self.lex
        start = lex.start
        probes: list[ast.AttachPoint] = []
        while True:
            text, begin, end = lex.probe()
            if not text:
                self.fail("expected attach point")
            probes.append(ast.AttachPoint(begin, end, text))
            if not self.accept(","):
                break
            if lex.value in ("/", "{"):
                break  # a comma too many, as scripts have it
        predicate = None
        if lex.kind == "op" and lex.value == "/":
            lex.next()
            predicate = self.expression()
            self.expect("/", " to close the predicate")
        if lex.kind == "end":
            return ast.Action(start, lex.last_end, tuple(probes), predicate, None)
        if lex.value != "{":
            before = probes[-1].text
            remedy = ""
            if lex.kind in ("name", "number") or lex.value == ":":
                remedy = (
                    f"a probe has no spaces in it; quote a part that needs them ({before.split(':')[0]}:...)"
                )
            self.fail(f"expected '{{' or '/' after {before}, found '{lex.value[:20]}'", remedy=remedy)
        return ast.Action(start, probes[-1].end, tuple(probes), predicate, self.block(False))

    def directive(self) -> ast.CDefinition:
        """A preprocessor line."""
        lex, text = self.lex, self.source.text
        start = lex.start
        end = start
        while True:
            end = text.find("\n", end)
            if end < 0:
                end = len(text)
            if text[end - 1 : end] != "\\" or end == len(text):
                break
            end += 1
        lex.seek(end)
        return ast.CDefinition(start, end, text[start:end].rstrip())

    def is_c_definition(self) -> bool:
        """Whether ``struct`` under the cursor begins a definition, not a probe."""
        lex = self.lex
        start = lex.start
        is_typedef = lex.value == "typedef"
        lex.next()
        while lex.kind in ("name", "number") or lex.value in ("(", ")", "[", "]", "*"):
            lex.next()
        found = lex.value == "{" or (is_typedef and lex.value == ";")
        lex.seek(start)
        return found

    def c_definition(self) -> ast.CDefinition:
        """``struct name { ... } attributes;`` as text."""
        lex = self.lex
        start, depth = lex.start, 0
        while lex.kind != "end":
            if lex.value == "{":
                depth += 1
            elif lex.value == "}":
                depth -= 1
                if depth == 0:
                    break
            elif lex.value == ";" and depth == 0:
                break
            lex.next()
        if lex.kind == "end":
            self.fail("expected '}' to close the definition", start, start + 6)
        if lex.value == "}":
            lex.next()
            while lex.kind == "name" and not lex.value.startswith("__attribute__") and lex.peek() == ";":
                lex.next()  # the name of a typedef
            while lex.value == "__attribute__":
                lex.next()
                level = 0
                while lex.kind != "end":
                    level += (lex.value == "(") - (lex.value == ")")
                    lex.next()
                    if level == 0:
                        break
        end = lex.last_end
        if lex.value == ";":
            lex.next()
        return ast.CDefinition(start, end, self.source.text[start:end])

    def config(self) -> ast.Config:
        """``config = { name=value; }``."""
        lex = self.lex
        start = lex.start
        lex.next()
        self.expect("=")
        self.expect("{")
        settings: list[tuple[str, int | bool | bytes | str]] = []
        while lex.value != "}":
            name = self.word("expected config key")
            self.expect("=")
            value: int | bool | bytes | str
            if lex.kind == "string":
                value = self.string()
            elif lex.kind == "number":
                value = self.integer()
            else:
                value = self.word("expected string, int, boolean, or ident")
                value = value == "true" if value in ("true", "false") else value
            settings.append((name, value))
            if not self.accept(";"):
                break
        self.expect("}")
        return ast.Config(start, lex.last_end, tuple(settings))

    def macro(self) -> ast.Macro:
        """``macro name($a, @b, c) { }``."""
        lex = self.lex
        start = lex.start
        lex.next()
        name = self.word("expected macro name")
        params: list[ast.Variable | ast.Map | ast.Name] = []
        if self.accept("("):
            while lex.value != ")":
                at, text = lex.start, lex.value
                if lex.kind not in ("var", "map", "name"):
                    self.fail("expected macro argument ($var, @map, or identifier)")
                kind = lex.kind
                lex.next()
                made = {"var": ast.Variable, "map": ast.Map, "name": ast.Name}[kind]
                params.append(made(at, lex.last_end, text if kind == "name" else text[1:]))
                if not self.accept(","):
                    break
            self.expect(")")
        end = lex.last_end
        return ast.Macro(start, end, name, tuple(params), self.block(True))

    def function(self) -> ast.Function:
        """``fn name($a: type): type { }``."""
        lex = self.lex
        start = lex.start
        lex.next()
        name = self.word("expected function name")
        self.expect("(")
        params: list[tuple[str, ast.TypeRef]] = []
        while lex.value != ")":
            if lex.kind != "var":
                self.fail("expected variable in function argument")
            param = lex.value[1:]
            lex.next()
            self.expect(":")
            params.append((param, self.annotation()))
            if not self.accept(","):
                break
        self.expect(")")
        self.expect(":")
        result = self.annotation()
        end = lex.last_end
        return ast.Function(start, end, name, tuple(params), result, self.block(False))

    def declaration(self) -> ast.MapDeclaration:
        """``let @name = kind(size);``"""
        lex = self.lex
        start = lex.start
        lex.next()
        if lex.kind != "map":
            self.fail("root-level let statements need to be map declarations, e.g. let @a = hash(2);")
        name = lex.value[1:]
        lex.next()
        self.expect("=")
        kind = self.word("expected map type name")
        self.expect("(")
        if lex.kind != "number":
            self.fail("expected positive integer for map declaration max entries")
        size = self.integer()
        self.expect(")")
        end = lex.last_end
        self.accept(";")
        return ast.MapDeclaration(start, end, name, kind, size)

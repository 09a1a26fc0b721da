"""Macros: a body in a scope of its own, its arguments evaluated where it was called."""

from __future__ import annotations

from unitrace.contract import ir

from . import ast
from .base import Surroundings
from .calls import Calls
from .state import Slot

__all__ = ["Macros"]


class Macros(Calls):
    """Expansion of macros."""

    def in_caller(self, bound: tuple[ast.Expr, Surroundings]) -> ir.Expr:
        """A macro's argument, evaluated where the macro was called."""
        node, home = bound
        before = self.here
        self._enter(home)
        try:
            return self.expr(node)
        finally:
            self._enter(before)

    def _enter(self, here: Surroundings) -> None:
        self.here = here
        self.unit.source.outer = here.outer

    def expand(self, node: ast.Expr, name: str, args: tuple[ast.Expr, ...]) -> ir.Expr:
        """A macro's value: its body in a scope of its own."""
        macro = self.unit.macros.get((name, len(args)))
        if macro is None:
            known = self.unit.macro_names[name]
            count = len(known.params)
            raise self.fault(
                f"Call to macro '{name}' has wrong number of arguments: expected {count} but got {len(args)}",
                node,
            )
        if name in self.here.calls:
            raise self.fault(f"Recursive macro call detected: {' > '.join([*self.here.calls, name])}", node)
        if self.level > 20:
            raise self.fault("macros are nested too deeply (more than 20 levels)", node)
        scope: dict[str, Slot] = {}
        maps: dict[str, str] = {}
        bound: dict[str, tuple[ast.Expr, Surroundings]] = {}
        for param, arg in zip(macro.params, args):
            if isinstance(param, ast.Variable):
                slot = self.find(arg.name) if isinstance(arg, ast.Variable) else None
                if slot is None:
                    what = "scratch variable"
                    raise self.fault(
                        f"Mismatched arg to macro call. Macro expects a {what} for arg ${param.name} "
                        f"but got {_what(arg)}.",
                        arg,
                    )
                scope[param.name] = slot
            elif isinstance(param, ast.Map):
                if not isinstance(arg, ast.Map) or arg.key is not None:
                    raise self.fault(
                        f"Mismatched arg to macro call. Macro expects a map for arg @{param.name} but "
                        f"got {_what(arg)}.",
                        arg,
                    )
                maps[param.name] = self.map_name(arg)
            else:
                bound[param.name] = (arg, self.here)
        before = self.here
        path = (*before.path, node.start, name)
        call = self.unit.source.span(node.start, node.end)
        self._enter(Surroundings([scope], maps, bound, path, (*before.calls, name), call))
        self.level += 1
        try:
            return self._Block(macro.body)
        finally:
            self.level -= 1
            self._enter(before)

    def _Block(self, node: ast.Block) -> ir.Expr:
        """Lower a block that has a value."""
        raise NotImplementedError


def _what(node: ast.Expr) -> str:
    kinds = {ast.Variable: "variable", ast.Map: "map"}
    return kinds.get(type(node), "expression")

"""Expressions of the IR as Python source text.

Each becomes a ``Piece``: its text, the range its integer value can have (so that it is wrapped only
where it can overflow), and how deep its parentheses nest. Names in the text are locals of the
clause's function (columns ``c0``, scratch variables ``v0``, temporaries ``t0``) or entries of
``Scope.names``, the function's globals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from unitrace.contract import ir
from unitrace.contract.errors import BackendError, SpecError
from unitrace.contract.record import Record
from unitrace.contract.types import Aggregate, Bool, Buffer, Int, Str, Struct, Type

from .functions import function
from .maps import Store
from .values import converter, decoder, divide, element, is_integer, range_of, remainder, shape, wrap, zero

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Piece", "Scope"]

DEEPEST = 40
"""Parentheses within each other before a sub-expression gets a function of its own: Python's
parser ends at 200."""

ANY = (-(1 << 65), 1 << 65)


class Piece(Record):
    """Source text of an expression; ``low`` and ``high`` bound its value if it is an integer."""

    text: str
    low: int = ANY[0]
    high: int = ANY[1]
    depth: int = 0


class Scope:
    """What a clause's expressions refer to.

    ``columns``: which expressions the events carry, and the name of the column; ``used``: those that
    were needed, in order. ``own``: the clause is fired by user space, so sites and memory are our own
    process's. ``prelude``: lines to put before the statement that is being compiled.
    """

    def __init__(
        self,
        clause: ir.Clause,
        columns: Mapping[ir.Expr, str],
        stores: Mapping[str, Store],
        runtime: Runtime,
        own: bool,
    ) -> None:
        self.clause = clause
        self.columns = columns
        self.stores = stores
        self.runtime = runtime
        self.own = own
        self.names: dict[str, Any] = {"divide": divide, "remainder": remainder}
        self.used: dict[str, str] = {}
        self.vars: dict[str, str] = {}
        self.prelude: list[str] = []
        self._serial = 0

    # --- names -------------------------------------------------------------------------------

    def bind(self, value: Any, prefix: str = "k") -> str:
        """A global name for ``value``."""
        self._serial += 1
        name = f"{prefix}_{self._serial}"
        self.names[name] = value
        return name

    def temporary(self) -> str:
        """A fresh local name."""
        self._serial += 1
        return f"t{self._serial}"

    def column(self, name: str) -> str:
        """The local that holds column ``name``."""
        return self.used.setdefault(name, f"c{len(self.used)}")

    def var(self, name: str) -> str:
        """The local that holds scratch variable ``name``."""
        return self.vars.setdefault(name, f"v{len(self.vars)}")

    def store(self, name: str) -> Store:
        """The map ``name``."""
        try:
            return self.stores[name]
        except KeyError:
            raise SpecError(f"map {name} isn't declared", span=self.clause.span) from None

    def data(self, store: Store) -> str:
        """A name for the map's dict, which stays the same object for the whole run."""
        name = f"m{list(self.stores).index(store.decl.name)}"
        self.names[name] = store.data
        return name

    # --- expressions -------------------------------------------------------------------------

    def piece(self, expr: ir.Expr) -> Piece:
        """The expression's Piece; deep ones become a call of a local function in the prelude."""
        if isinstance(expr, (ir.Site, ir.Load, ir.Text, ir.Call)) and expr in self.columns:
            local, change = self.column(self.columns[expr]), decoder(expr.type)
            if change is not None:
                return Piece(f"{self.bind(change)}({local})", *_range(expr.type), 1)
            return Piece(local, *_range(expr.type))
        method = _METHODS.get(type(expr))
        if method is None:
            raise SpecError(f"{type(expr).__name__} isn't an expression", span=self.clause.span)
        piece = method(self, expr)
        if piece.depth <= DEEPEST:
            return piece
        name = self.temporary()
        self.prelude.append(f"def {name}(): return {piece.text}")
        return Piece(f"{name}()", piece.low, piece.high, 1)

    def text(self, expr: ir.Expr) -> str:
        """The expression's source text."""
        return self.piece(expr).text

    def truth(self, expr: ir.Expr) -> Piece:
        """The expression as a condition; always a Python bool."""
        piece = self.piece(expr)
        if isinstance(expr.type, Bool):
            return piece
        if is_integer(expr.type):
            return Piece(f"({piece.text} != 0)", 0, 1, piece.depth + 1)
        return Piece(f"{self.bind(bool)}({piece.text})", 0, 1, piece.depth + 1)

    def key(self, store: Store, key: tuple[ir.Expr, ...]) -> Piece:
        """A map's key as the store's dict has it."""
        if len(key) == 1:
            return self.piece(key[0])
        return self._joined(key)

    def _joined(self, items: tuple[ir.Expr, ...]) -> Piece:
        pieces = [self.piece(item) for item in items]
        depth = max((piece.depth for piece in pieces), default=0) + 1
        return Piece("(" + "".join(f"{piece.text}, " for piece in pieces) + ")", *ANY, depth)

    def fit(self, text: str, low: int, high: int, of: Type, depth: int) -> Piece:
        """``text``, whose value lies in [low, high], wrapped to the integer type ``of``."""
        least, most = range_of(of)
        if least <= low and high <= most:
            return Piece(f"({text})", low, high, depth + 1)
        bits, signed = shape(of) or (64, True)
        mask = (1 << bits) - 1
        if not signed:
            return Piece(f"(({text}) & {mask})", least, most, depth + 2)
        half = 1 << bits - 1
        return Piece(f"((({text}) + {half} & {mask}) - {half})", least, most, depth + 3)

    def _const(self, expr: ir.Const) -> Piece:
        value = expr.value
        if isinstance(value, bytes):
            value = value.split(b"\0", 1)[0] if isinstance(expr.type, Str) else value
            return Piece(self.bind(value))
        if isinstance(expr.type, Bool):
            return Piece(repr(bool(value)), int(value), int(value))
        form = shape(expr.type)
        number = wrap(int(value), *form) if form else int(value)
        return Piece(f"({number})" if number < 0 else str(number), number, number)

    def _site(self, expr: ir.Site) -> Piece:
        probe = self.clause.probe
        if expr.name == "probe":
            return Piece(self.bind((probe.label or probe.written).encode()))
        if expr.name == "name":
            return Piece(self.bind(probe.name.encode()))
        if not self.own:
            raise self._missing(expr.name if expr.key is None else f"{expr.name} {expr.key}")
        try:
            reader = self.runtime.own.reader(expr)
        except BackendError as error:
            raise self._missing(expr.name, error) from None
        if reader is None:
            raise self._missing(expr.name)
        return Piece(f"{self.bind(reader)}()", *_range(expr.type), 1)

    def _load(self, expr: ir.Load) -> Piece:
        self._reachable(expr, "kernel memory")
        load = self.runtime.own.loader(expr)
        address = self.piece(expr.pointer)
        return Piece(f"{self.bind(load)}({address.text})", *_range(expr.type), address.depth + 1)

    def _text(self, expr: ir.Text) -> Piece:
        self._reachable(expr, "a kernel string")
        limit = "None" if expr.limit is None else self.text(expr.limit)
        address = self.piece(expr.pointer)
        read = self.runtime.own.text_reader(expr)
        return Piece(f"{self.bind(read)}({address.text}, {limit})", *ANY, address.depth + 1)

    def _reachable(self, expr: ir.Load | ir.Text, what: str) -> None:
        if not self.own:
            raise self._missing(what + " through a computed address")
        if expr.space == "kernel":
            try:
                self.runtime.own.kernel()
            except BackendError as error:
                raise self._missing(what, error) from None

    def _missing(self, what: str, because: BackendError | None = None) -> BackendError:
        label = self.clause.probe.label or self.clause.probe.written or self.clause.probe.kind
        if because is not None:
            reason = f" ({because.message})"
            return BackendError(
                f"{label}: {what} can't be read{reason}", span=self.clause.span, remedy=because.remedy
            )
        return BackendError(
            f"{label}: {what} can't be read in user space",
            span=self.clause.span,
            remedy="use a backend that runs the clause in the kernel (eBPF)",
        )

    def _unary(self, expr: ir.Unary) -> Piece:
        if expr.op == "!":
            piece = self.truth(expr.operand)
            return Piece(f"(not {piece.text})", 0, 1, piece.depth + 1)
        piece = self.piece(expr.operand)
        if expr.op == "-":
            return self.fit(f"-{piece.text}", -piece.high, -piece.low, expr.type, piece.depth)
        if expr.op != "~":
            raise SpecError(f"unknown operator {expr.op}", span=self.clause.span)
        return self.fit(f"~{piece.text}", ~piece.high, ~piece.low, expr.type, piece.depth)

    def _binary(self, expr: ir.Binary) -> Piece:
        op = expr.op
        if op in ("&&", "||"):
            one, two = self.truth(expr.left), self.truth(expr.right)
            word = "and" if op == "&&" else "or"
            return Piece(f"({one.text} {word} {two.text})", 0, 1, max(one.depth, two.depth) + 1)
        left, right = self.piece(expr.left), self.piece(expr.right)
        depth = max(left.depth, right.depth)
        if op in ("==", "!=", "<", "<=", ">", ">="):
            return Piece(f"({left.text} {op} {right.text})", 0, 1, depth + 1)
        if op in ("/", "%"):
            return self._division(expr, left, right, depth)
        if op in ("<<", ">>"):
            return self._shift(expr, left, right, depth)
        if op not in ("+", "-", "*", "&", "|", "^"):
            raise SpecError(f"unknown operator {op}", span=self.clause.span)
        low, high = _arithmetic(op, left, right, expr.type)
        return self.fit(f"{left.text} {op} {right.text}", low, high, expr.type, depth)

    def _division(self, expr: ir.Binary, left: Piece, right: Piece, depth: int) -> Piece:
        least = _range(expr.type)[0]
        natural = left.low >= 0 and right.low >= 0
        if right.low > 0 or right.high < 0:
            divisor, guard = right.text, ""
        else:
            divisor = self.temporary()
            zero = self.bind(self.runtime.zero_division(self.clause), "dz")
            guard = f" if ({divisor} := {right.text}) else {zero}()"
        if natural:
            text = f"{left.text} {'//' if expr.op == '/' else '%'} {divisor}"
        else:
            text = f"{'divide' if expr.op == '/' else 'remainder'}({left.text}, {divisor})"
        high = max(abs(left.low), abs(left.high), 1)
        low = 0 if natural else -high
        if guard or natural or expr.op == "%":
            return self.fit(text + guard, max(low, least), high, expr.type, depth + 2)
        return self.fit(text, low, high, expr.type, depth + 1)

    def _shift(self, expr: ir.Binary, left: Piece, right: Piece, depth: int) -> Piece:
        bits = (shape(expr.type) or (64, True))[0]
        if right.low == right.high and isinstance(expr.right, ir.Const):  # else it may have to warn
            places = right.low & bits - 1
            least = most = places
            count = str(places)
        else:
            count, least, most = f"({right.text} & {bits - 1})", 0, bits - 1
        if expr.op == ">>":
            low, high = min(left.low >> least, left.low >> most), max(left.high >> least, left.high >> most)
            return Piece(f"({left.text} >> {count})", low, high, depth + 2)
        low, high = min(left.low << most, left.low), max(left.high << most, left.high)
        return self.fit(f"{left.text} << {count}", low, high, expr.type, depth + 1)

    def _cast(self, expr: ir.Cast) -> Piece:
        piece = self.piece(expr.operand)
        source, target = expr.operand.type, expr.type
        if isinstance(source, Aggregate) and isinstance(expr.operand, ir.MapGet):
            signed = source.signed or source.function == "count"
            return self._cast(expr.replace(operand=expr.operand.replace(type=Int(64, signed))))
        if isinstance(target, Bool):
            return self.truth(expr.operand)
        if is_integer(target) and isinstance(source, Bool):
            return Piece(f"(1 if {piece.text} else 0)", 0, 1, piece.depth + 1)
        if is_integer(target) and is_integer(source):
            return self.fit(piece.text, piece.low, piece.high, target, piece.depth)
        change = converter(source, target)
        if change is None:
            return piece
        return Piece(f"{self.bind(change)}({piece.text})", *_range(target), piece.depth + 1)

    def _choice(self, expr: ir.Choice) -> Piece:
        condition = self.truth(expr.condition)
        then, other = self.piece(expr.then), self.piece(expr.otherwise)
        depth = max(condition.depth, then.depth, other.depth) + 1
        low, high = min(then.low, other.low), max(then.high, other.high)
        return Piece(f"({then.text} if {condition.text} else {other.text})", low, high, depth)

    def _call(self, expr: ir.Call) -> Piece:
        on_map = _ON_MAP.get(expr.function)
        if on_map is not None and expr.args and isinstance(expr.args[0], ir.MapGet):
            return on_map(self, expr, expr.args[0])
        made = function(expr, self.runtime)
        if made is None:
            raise SpecError(f"{expr.function}() can't be computed in user space", span=self.clause.span)
        args = self._joined(expr.args)
        return Piece(f"{self.bind(made)}{args.text}", *_range(expr.type), args.depth)

    def _has_key(self, expr: ir.Call, target: ir.MapGet) -> Piece:
        store = self.store(target.map)
        key = self.key(store, target.key or expr.args[1:])
        return Piece(f"({key.text} in {self.data(store)})", 0, 1, key.depth + 1)

    def _delete(self, expr: ir.Call, target: ir.MapGet) -> Piece:
        store = self.store(target.map)
        key = self.key(store, target.key or expr.args[1:])
        return Piece(f"{self.bind(store.remove)}({key.text})", 0, 1, key.depth + 1)

    def _len(self, expr: ir.Call, target: ir.MapGet) -> Piece:
        store = self.store(target.map)
        if target.key:
            piece = self.piece(target)
            return Piece(f"{self.bind(len)}({piece.text})", 0, 1 << 31, piece.depth + 1)
        return Piece(f"{self.bind(len)}({self.data(store)})", 0, 1 << 31, 1)

    def _tuple(self, expr: ir.TupleOf) -> Piece:
        return self._joined(expr.items)

    def _member(self, expr: ir.MemberOf) -> Piece:
        piece = self.piece(expr.operand)
        of = expr.operand.type
        if isinstance(of, Struct) and not of.members:
            raise SpecError(f"{of.name} has no members here", span=self.clause.span)
        return Piece(f"{piece.text}[{expr.index}]", *_range(expr.type), piece.depth)

    def _index(self, expr: ir.Index) -> Piece:
        value, index = self.piece(expr.operand), self.piece(expr.index)
        outside = self.runtime.out_of_bounds(self.clause)
        of, whole = expr.type, expr.operand.type
        loose = isinstance(whole, (Str, Buffer))
        step = max(1, of.size)

        def at(value: Any, index: int) -> Any:
            if not loose and not 0 <= index < len(value) // (step if isinstance(value, bytes) else 1):
                outside()
            return element(value, index, of)

        text = f"{self.bind(at)}({value.text}, {index.text})"
        return Piece(text, *_range(expr.type), max(value.depth, index.depth) + 1)

    def _var(self, expr: ir.Var) -> Piece:
        return Piece(self.var(expr.name), *_range(expr.type))

    def _map_get(self, expr: ir.MapGet) -> Piece:
        store = self.store(expr.map)
        key = self.key(store, expr.key)
        data = self.data(store)
        if store.aggregate is None:
            missing = self.bind(zero(store.decl.value))
            return Piece(f"{data}.get({key.text}, {missing})", *_range(expr.type), key.depth + 1)
        if isinstance(expr.type, Aggregate):
            document = self.bind(_document(store))
            return Piece(f"{document}({data}.get({key.text}))", *ANY, key.depth + 2)
        if store.aggregate.function == "count":
            return self.fit(f"{data}.get({key.text}, 0)", 0, (1 << 63) - 1, expr.type, key.depth + 1)
        number = self.bind(store.number)
        low, high = -(1 << 63), (1 << 64) - 1
        if is_integer(expr.type):
            return self.fit(f"{number}({data}.get({key.text}))", low, high, expr.type, key.depth + 2)
        return Piece(f"{number}({data}.get({key.text}))", low, high, key.depth + 2)


def _range(of: Type) -> tuple[int, int]:
    return range_of(of) if shape(of) is not None else ANY


def _arithmetic(op: str, left: Piece, right: Piece, of: Type) -> tuple[int, int]:
    """The range of an unwrapped result."""
    if op == "+":
        return left.low + right.low, left.high + right.high
    if op == "-":
        return left.low - right.high, left.high - right.low
    if op == "*":
        ends = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
        return min(ends), max(ends)
    if op == "&" and left.low >= 0 and right.low >= 0:
        return 0, min(left.high, right.high)
    return _range(of)  # bits of two values of a type make a value of that type


def _document(store: Store) -> Callable[[Any], Any]:
    missing = zero(store.decl.value)
    return lambda state: missing if state is None else store.document(state)


_METHODS: dict[type, Callable[[Scope, Any], Piece]] = {
    ir.Const: Scope._const,
    ir.Site: Scope._site,
    ir.Load: Scope._load,
    ir.Text: Scope._text,
    ir.Unary: Scope._unary,
    ir.Binary: Scope._binary,
    ir.Cast: Scope._cast,
    ir.Choice: Scope._choice,
    ir.Call: Scope._call,
    ir.TupleOf: Scope._tuple,
    ir.MemberOf: Scope._member,
    ir.Index: Scope._index,
    ir.Var: Scope._var,
    ir.MapGet: Scope._map_get,
}

_ON_MAP: dict[str, Callable[[Scope, ir.Call, ir.MapGet], Piece]] = {
    "has_key": Scope._has_key,
    "delete": Scope._delete,
    "len": Scope._len,
}

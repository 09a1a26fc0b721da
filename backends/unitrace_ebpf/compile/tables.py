"""Maps whose values are set, read and deleted in the kernel."""

from __future__ import annotations

from unitrace.contract.ir import Binary, Call, Cast, Expr, MapDelete, MapGet, MapSet, Var
from unitrace.contract.offer import walk

from ..asm import FP, R0, R1, R2, R3, R4
from ..maps import Kept
from .aggregates import Aggregates
from .base import CannotCompile, shape
from .layouts import Part, in_register
from .strings import is_text

__all__ = ["Tables", "added"]


def added(stmt: MapSet) -> tuple[Expr, bool] | None:
    """(amount, negative) where the statement adds to what the map holds: ``@x[k] = @x[k] + amount``."""
    value: Expr = stmt.value
    while isinstance(value, Cast) and in_register(value.type) and in_register(value.operand.type):
        value = value.operand
    if not isinstance(value, Binary) or value.op not in ("+", "-"):
        return None
    for held, amount in ((value.left, value.right), (value.right, value.left)):
        inner = held
        while isinstance(inner, Cast) and in_register(inner.operand.type):
            inner = inner.operand
        if isinstance(inner, MapGet) and inner.map == stmt.map and inner.key == stmt.key:
            if value.op == "-" and held is value.right:
                return None
            if any(isinstance(one, MapGet) and one.map == stmt.map for one in walk(amount)):
                return None
            return amount, value.op == "-"
    return None


class Tables(Aggregates):
    """A map without a key that holds a number is an array's one element, whose address programs know; other
    maps are hashes."""

    def _plan(self, name: str) -> tuple[Kept, int]:
        found = self.plans.get(name)
        if found is None:
            raise CannotCompile(f"{name}: it can't be kept in the kernel")
        if found[0].value is None:
            raise CannotCompile(f"{name}: its values are aggregates")
        if found[0].scalar and not self.abilities.direct_values:
            raise CannotCompile("a map without a key (kernel 5.2)")
        return found

    def _found(self, plan: Kept, key: tuple[Expr, ...]) -> None:
        """R0: the value's address, or 0."""
        base, at = self.key_place(plan, key)
        self._lookup(plan, at, base)

    def _element_of(self, plan: Kept, reg: int) -> None:
        self.code.map_value(reg, f"map:{plan.decl.name}")

    # --- reading ----------------------------------------------------------------------------------

    def number_of(self, expr: MapGet) -> None:
        plan, _ = self._plan(expr.map)
        assert plan.value is not None
        if not in_register(plan.value.type):
            raise CannotCompile(f"{expr.map} as a number")
        if plan.scalar:
            self._element_of(plan, R1)
            self.code.load(R0, R1, 8, 8)
        else:
            mark, missing = self.frame.mark(), self.code.label()
            self._found(plan, expr.key)
            self.code.jump_ifi("==", R0, 0, missing)
            self.code.load(R0, R0, 0, 8)
            self.code.place(missing)  # R0 is 0 then, as it should be
            self.frame.release(mark)
        self.code.extend(R0, *shape(plan.value.type))

    def value_of(self, expr: MapGet, part: Part, base: int, off: int) -> None:
        plan, _ = self._plan(expr.map)
        assert plan.value is not None
        if part.size != plan.value.size:
            raise CannotCompile(f"{expr.map} as a value of another size")
        missing, done = self.code.label(), self.code.label()
        self._found(plan, expr.key)
        self.code.jump_ifi("==", R0, 0, missing)
        self.duplicate(R0, 0, base, off + part.offset, part.size)
        self.code.jump(done)
        self.code.place(missing)
        self.clear(base, off + part.offset, part.size)
        self.code.place(done)

    def text_computed(self, expr: Expr, base: int, off: int, size: int, clean: bool) -> None:
        if not isinstance(expr, MapGet):
            super().text_computed(expr, base, off, size, clean)
            return
        plan, _ = self._plan(expr.map)
        assert plan.value is not None
        if not is_text(plan.value.type):
            raise CannotCompile(f"{expr.map} as a string")
        missing, done = self.code.label(), self.code.label()
        mark = self.frame.mark()
        if clean:
            self.clear(base, off, size)
        self._found(plan, expr.key)
        self.code.jump_ifi("==", R0, 0, missing)
        self.code.mov(R3, R0)
        self.fetch("kernel", base, off, min(size, plan.value.size), text=True)
        self.code.jump(done)
        self.code.place(missing)
        self.code.storei(base, off, 0, 1)
        self.code.place(done)
        self.frame.release(mark)

    def on_map(self, expr: Call, target: MapGet) -> None:
        plan, _ = self._plan(target.map)
        key = target.key or expr.args[1:]
        if expr.function == "has_key":
            self._has_key(plan, key)
        elif expr.function == "delete":
            self._remove(plan, key)
        else:
            raise CannotCompile(f"{expr.function}({target.map})")

    def _has_key(self, plan: Kept, key: tuple[Expr, ...]) -> None:
        if plan.scalar:
            self._element_of(plan, R1)
            self.code.load(R0, R1, 0, 8)
            return
        mark, missing = self.frame.mark(), self.code.label()
        self._found(plan, key)
        self.code.jump_ifi("==", R0, 0, missing)
        self.code.alui("mov", R0, 1)
        self.code.place(missing)
        self.frame.release(mark)

    # --- writing ----------------------------------------------------------------------------------

    def map_delete(self, stmt: MapDelete) -> None:
        self._remove(self._plan(stmt.map)[0], stmt.key)

    def _remove(self, plan: Kept, key: tuple[Expr, ...]) -> None:
        """R0: whether there was one."""
        code = self.code
        if plan.scalar:
            self._element_of(plan, R1)
            code.load(R0, R1, 0, 8)
            code.storei(R1, 0, 0, 8)
            code.storei(R1, 8, 0, 8)
            return
        mark, there, done = self.frame.mark(), code.label(), code.label()
        base, at = self.key_place(plan, key)
        code.map(R1, f"map:{plan.decl.name}")
        self.address(R2, base, at)
        code.call("map_delete_elem")
        code.jump_ifi("==", R0, 0, there)
        code.alui("mov", R0, 0)
        code.jump(done)
        code.place(there)
        code.alui("mov", R0, 1)
        code.place(done)
        self.frame.release(mark)

    def map_set(self, stmt: MapSet) -> None:
        plan, number = self._plan(stmt.map)
        assert plan.value is not None
        adding = added(stmt)
        if adding is not None and in_register(plan.value.type):
            self._add_to(plan, number, stmt, *adding)
        elif in_register(plan.value.type):
            of = plan.value.type
            self.scalar(stmt.value if stmt.value.type == of else Cast(of, stmt.value))
            if plan.scalar:
                self._element_of(plan, R1)
                self.code.store(R1, 8, R0, 8)
                self.code.storei(R1, 0, 1, 8)
            else:
                self._update(plan, number, stmt.key, FP, self.spill())
        else:
            self._set_value(plan, number, stmt)

    def _set_value(self, plan: Kept, number: int, stmt: MapSet) -> None:
        assert plan.value is not None
        if isinstance(stmt.value, Var) and stmt.value.type == plan.value.type:
            where = self.locate(stmt.value)
            if where.part.size >= plan.value.size:
                self._update(plan, number, stmt.key, where.base, where.at)
                return
        base, at = self.room(plan.value.size)
        if plan.value.size <= 64:  # what lies between the parts; in a scratch there is always something
            self.zero(base, at, plan.value.size)
        self.put(stmt.value, plan.value, base, at)
        self._update(plan, number, stmt.key, base, at)

    def _update(self, plan: Kept, number: int, key: tuple[Expr, ...], base: int, at: int) -> None:
        """The value at ``base + at`` under the key; a loss is counted where there is no room."""
        code, done = self.code, self.code.label()
        key_base, key_at = self.key_place(plan, key)
        code.map(R1, f"map:{plan.decl.name}")
        self.address(R2, key_base, key_at)
        self.address(R3, base, at)
        code.alui("mov", R4, 0)
        code.call("map_update_elem")
        code.jump_ifi("==", R0, 0, done)
        self.drop(number)
        code.place(done)

    def _add_to(self, plan: Kept, number: int, stmt: MapSet, amount: Expr, negative: bool) -> None:
        """``@x[k] += amount`` in one instruction, so that no CPU's addition is lost. The upper bits may carry
        what the type has no room for: they are cut where the value is read."""
        code = self.code
        assert plan.value is not None
        self.scalar(amount)
        if negative:
            code.alui("neg", R0, 0)
        slot = self.spill()
        if plan.scalar:
            self._element_of(plan, R3)
            code.load(R1, FP, slot, 8)
            code.add_memory(R3, 8, R1, atomic=True, scratch=R2)
            code.storei(R3, 0, 1, 8)
            return
        done = code.label()
        self.element(plan, number, stmt.key, done)
        code.load(R1, FP, slot, 8)
        code.add_memory(R0, 0, R1, atomic=True, scratch=R2)
        code.place(done)

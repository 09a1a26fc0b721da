"""What a site supplies: helpers, the event's fields, registers."""

from __future__ import annotations

from collections.abc import Iterable

from unitrace.contract.ir import Const, Expr, Field, Site
from unitrace.contract.offer import walk
from unitrace.contract.types import Int
from unitrace.kernel.arch import architecture

from ..asm import FP, R0, R1, R2, R3
from .base import CONTEXT, Base, CannotCompile, shape

__all__ = ["Sites"]

# name -> helper, then how the value lies in R0
_HELPERS = {
    "pid": ("get_current_pid_tgid", "high"),
    "tid": ("get_current_pid_tgid", "low"),
    "uid": ("get_current_uid_gid", "low"),
    "gid": ("get_current_uid_gid", "high"),
    "cpu": ("get_smp_processor_id", "low"),
    "numaid": ("get_numa_node_id", "low"),
    "random": ("get_prandom_u32", "low"),
    "nsecs": ("ktime_get_ns", ""),
    "boot": ("ktime_get_boot_ns", ""),
    "cgroup": ("get_current_cgroup_id", ""),
    "curtask": ("get_current_task", ""),
    "jiffies": ("jiffies64", ""),
}
_CHANGING = {"ktime_get_ns", "ktime_get_boot_ns", "get_prandom_u32", "jiffies64"}


class Sites(Base):
    """Sites as integers; comm is a string (strings.py)."""

    def hoist(self, first: object, later: object = ()) -> None:
        """Call now, once, the helpers that ``first`` asks for and that are asked for again; and those
        whose value changes, so that one event sees one value."""
        wanted: dict[str, int] = {}
        early = set()
        for part, now in ((first, True), (later, False)):
            for name in _helpers(walk(part)):
                wanted[name] = wanted.get(name, 0) + 1
                if now:
                    early.add(name)
        for name in sorted(early):
            if name in self.helpers or (wanted[name] < 2 and name not in _CHANGING):
                continue
            if name == "comm":
                slot = self.frame.take(16)
                self.current_comm(FP, slot, 16)
            else:
                self.code.call(self._known(name))
                slot = self.spill()
            self.helpers[name] = slot

    def current_comm(self, base: int, off: int, size: int) -> None:
        """The task's name, then zeros: 6.0 to 6.2 leave what is beyond the NUL (strscpy without _pad in
        bpf_get_current_comm)."""
        self.zero(base, off, size)
        self.address(R1, base, off)
        self.code.alui("mov", R2, size)
        self.code.call("get_current_comm")

    def _known(self, helper: str) -> str:
        if helper == "ktime_get_boot_ns" and not self.abilities.boot_clock:
            raise CannotCompile("CLOCK_BOOTTIME (kernel 5.8)")
        if helper == "jiffies64" and not self.abilities.jiffies:
            raise CannotCompile("jiffies (kernel 5.5)")
        return helper

    def light(self, expr: Expr) -> bool:
        """Whether ``into`` can put the value into any register and touch no other."""
        if isinstance(expr, Const):
            return not isinstance(expr.value, bytes)
        if isinstance(expr, Site):
            entry = _HELPERS.get(expr.name)
            if entry is not None:
                return entry[0] in self.helpers
            if expr.name == "args" and self.context.kind == "tracepoint":
                return self._direct(self.field(expr.key))
            return expr.name in ("arg", "args", "retval") and not self.context.static
        return False

    def into(self, expr: Expr, reg: int) -> None:
        """A light expression into ``reg``."""
        if isinstance(expr, Const):
            self.code.const(reg, int(expr.value))
            return
        assert isinstance(expr, Site)
        entry = _HELPERS.get(expr.name)
        if entry is not None:
            self.code.load(reg, FP, self.helpers[entry[0]], 8)
            self._cut(reg, entry[1])
        elif expr.name == "args":
            self._argument(self.field(expr.key), reg)
            bits, signed = shape(expr.type)
            self.code.extend(reg, bits, signed)
        elif expr.name == "arg":
            self._register(_number(expr), reg)
        else:
            self._result(reg)
            bits, signed = shape(expr.type)
            self.code.extend(reg, bits, signed)

    def site(self, expr: Site) -> None:
        """A site's integer into R0."""
        own = getattr(self, f"_site_{expr.name}", None)
        if own is not None:
            own(expr)
            return
        if expr.name == "arg" and self.context.static:
            from ..usdt import argument

            argument(self, self.context.static, _number(expr))
            return
        entry = _HELPERS.get(expr.name)
        if entry is not None and entry[0] not in self.helpers:
            self.code.call(self._known(entry[0]))
            self._cut(R0, entry[1])
        elif self.light(expr):
            self.into(expr, R0)
        elif expr.name == "args" and self.context.kind == "tracepoint":
            self._unaligned(self.field(expr.key), expr)
        else:
            raise CannotCompile(f"{expr.name} of this probe")

    def _site_func(self, expr: Site) -> None:
        """The probed function's address: at the entry of user code the instruction pointer itself; a
        kprobe's may point past the breakpoint, and at a return it is the caller's."""
        if self.context.address:
            self.code.const(R0, self.context.address)
        elif self.context.func == "helper":
            self.code.mov(R1, CONTEXT)
            self.code.call("get_func_ip")
        elif self.context.func:
            self.code.load(R0, CONTEXT, _offset(self.context.func), 8)
        else:
            raise CannotCompile("func of this probe")

    def _site_register(self, expr: Site) -> None:
        if self.context.kind != "function":
            raise CannotCompile("registers of this probe")
        self.code.load(R0, CONTEXT, _offset(str(expr.key)), 8)

    def _site_usermode(self, expr: Site) -> None:
        """user_mode() of the architecture (arch/*/include/asm/ptrace.h)."""
        if self.context.kind != "function":
            raise CannotCompile("usermode of this probe")
        name, mask, user = ("cs", 3, 3) if "cs" in architecture().offsets else ("pstate", 15, 0)
        there = self.code.label()
        self.code.load(R1, CONTEXT, _offset(name), 8)
        self.code.alui("&", R1, mask)
        self.code.alui("mov", R0, 1)
        self.code.jump_ifi("==", R1, user, there)
        self.code.alui("mov", R0, 0)
        self.code.place(there)

    def _site_ctx(self, expr: Site) -> None:
        """The context's address; the program may read there what it could read directly."""
        self.code.mov(R0, CONTEXT)

    def _site_sarg(self, expr: Site) -> None:
        """An argument that was passed on the stack, read there."""
        if self.context.kind != "function" or not self.context.registers:
            raise CannotCompile("arguments on the stack of this probe")
        arch = architecture()
        slot = self.frame.take()
        self.code.load(R3, CONTEXT, _offset(arch.stack), 8)
        self.code.alui("+", R3, arch.stack_arguments + 8 * _number(expr))
        self.fetch("user" if self.context.user else "kernel", FP, slot, 8)
        self.code.load(R0, FP, slot, 8)

    def _cut(self, reg: int, part: str) -> None:
        if part == "high":
            self.code.alui(">>", reg, 32)
        elif part == "low":
            self.code.extend(reg, 32, False)

    def _direct(self, field: Field) -> bool:
        """Whether a load from the context gives the field: aligned, and past the common fields (whose
        place holds a pointer; tp_prog_is_valid_access in kernel/trace/bpf_trace.c)."""
        try:
            size = shape(field.type)[0] // 8
        except CannotCompile:
            return False
        if field.name == "common_pid":
            return False
        if field.offset < 8:
            raise CannotCompile(f"args.{field.name}: BPF hides the common fields")
        return field.how == "value" and field.offset % size == 0 and (field.length or size) >= size

    def _argument(self, field: Field, reg: int) -> None:
        if self.context.kind == "tracepoint":
            self.code.load(reg, CONTEXT, field.offset, shape(field.type)[0] // 8)
        else:
            self._register(field.offset, reg)

    def _register(self, number: int, reg: int) -> None:
        if self.context.kind == "raw":
            if not 0 <= number < self.context.slots:
                raise CannotCompile(f"arg{number}: the probe has {self.context.slots}")
            self.code.load(reg, CONTEXT, 8 * number, 8)
            return
        if self.context.kind != "function":
            raise CannotCompile(f"arg{number} of a tracepoint")
        if not 0 <= number < len(self.context.registers):
            raise CannotCompile(f"arg{number}: it is passed on the stack")
        self.code.load(reg, CONTEXT, self.context.registers[number], 8)

    def _result(self, reg: int) -> None:
        if self.context.result < 0:
            raise CannotCompile("retval of this probe")
        self.code.load(reg, CONTEXT, self.context.result, 8)

    def _unaligned(self, field: Field, expr: Site) -> None:
        """A field that no single load reaches, by a copy; common_pid is the task's own id."""
        if field.name == "common_pid":
            self.site(Site(Int(32), "tid"))
            self.code.extend(R0, 32, True)
            return
        bits, signed = shape(field.type)
        if field.how != "value" or 0 < field.length < bits // 8:
            raise CannotCompile(f"args.{field.name} as a number")
        slot = self.frame.take()
        self.raw(FP, slot, bits // 8, field.offset)
        self.code.load(R0, FP, slot, bits // 8)
        self.code.extend(R0, bits, signed)

    def raw(self, base: int, off: int, size: int, at: int) -> None:
        """Copy ``size`` bytes at ``at`` of the event's record to memory (memory.py)."""
        raise NotImplementedError


def _helpers(exprs: Iterable[Expr]) -> Iterable[str]:
    for expr in exprs:
        if isinstance(expr, Site):
            if expr.name == "comm":
                yield "comm"
            elif expr.name in _HELPERS:
                yield _HELPERS[expr.name][0]


def _offset(register: str) -> int:
    """Where a register lies in struct pt_regs."""
    try:
        return architecture().register_offset(register)
    except KeyError:
        raise CannotCompile(f"the register {register}") from None


def _number(expr: Site) -> int:
    if not isinstance(expr.key, int):
        raise CannotCompile("an argument without a number")
    return expr.key

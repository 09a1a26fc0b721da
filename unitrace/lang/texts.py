"""Functions that make values: strings, bytes, addresses, symbols, stacks, times."""

from __future__ import annotations

from unitrace.contract import ir
from unitrace.contract.machine import Machine
from unitrace.contract.types import (
    BOOL,
    INT64,
    UINT32,
    UINT64,
    Array,
    Buffer,
    Enum,
    Formatted,
    Int,
    Pointer,
    Str,
    Struct,
    Symbol,
    Type,
)

from . import ast, rules
from .base import spelled
from .names import Builtins
from .source import suggest
from .typenames import bare

__all__ = ["Texts"]

_MODES = ("bpftrace", "perf", "raw", "build_id")
_CLOCKS = {"monotonic": "nsecs", "boot": "boot"}


class Texts(Builtins):
    """Lowering of functions with a value. Methods are named after the function."""

    def _call_str(self, node: ast.Call) -> ir.Expr:
        longest = self.unit.max_strlen
        most = self.longest_read
        offset = _positional_offset(node.args[0])
        if offset is not None:
            number, skip = offset
            return rules.text(self.positional_text(number)[skip:])
        values = self.several(node.args)
        value = values[0]
        limit: ir.Expr | None = None
        written, counted = limit, most
        if len(values) == 2:
            size = self._length(values[1], node)
            if isinstance(size, int):
                if size + 1 > longest:
                    self.warn(
                        f"length param ({size}) is too long and will be shortened to {longest} bytes "
                        "(see BPFTRACE_MAX_STRLEN)",
                        node,
                    )
                counted, most = max(1, min(most, size)), min(most, size + 1)
            else:
                written = rules.cast(size, UINT64)
                limit = rules.fold(ir.Binary(UINT64, "+", written, ir.Const(UINT64, 1)))
        of = value.type
        if isinstance(of, Str):
            if isinstance(value, ir.Text) and (limit is not None or most < of.length):
                return value.replace(type=Str(min(most, of.length)), limit=limit)
            if len(values) == 1 or (limit is None and most >= of.length):
                return value
            return ir.Call(
                Str(min(most, of.length)), "str", (value, rules.literal(most) if limit is None else limit)
            )
        if isinstance(of, (Int, Enum)) or (isinstance(of, Pointer) and not isinstance(of.to, Struct)):
            # of memory as many bytes are read as it says, the NUL among them; of a string that is
            # there already so many are kept
            return ir.Text(Str(counted), value, self.space_of(value), written)
        if isinstance(of, Pointer):
            raise self.fault(
                "str() expects a string, integer or a pointer type as first argument "
                f"({spelled(of)} provided)",
                node,
                "a pointer to a struct is not text; take one of its members",
            )
        if isinstance(of, Array) and isinstance(of.of, Int) and of.of.bits == 8:
            if isinstance(value, ir.Load):
                from .memory import address

                return ir.Text(
                    Str(min(most, of.count or most)), address(value.pointer, value.offset), value.space
                )
            return ir.Call(Str(min(most, of.count)), "str", (value,))
        if isinstance(of, Buffer):
            return ir.Call(Str(min(most, of.length + 1)), "str", (value,))
        raise self.fault(
            f"str() expects a string, integer or a pointer type as first argument ({spelled(of)} provided)",
            node,
        )

    @property
    def longest_read(self) -> int:
        """Bytes that are read of a string whose length isn't said: where ``max_strlen`` is below its
        default one more, which tells whether there was more."""
        longest = self.unit.max_strlen
        return longest + 1 if longest < 1024 else longest

    def printed(self, value: ir.Expr) -> ir.Expr:
        """A string as it is printed: with the trailer where it has been cut."""
        of, longest = value.type, self.unit.max_strlen
        if not isinstance(of, Str) or of.length != longest + 1 or longest >= 1024:
            return value
        trailer = str(self.unit.config.get("str_trunc_trailer", "..")).encode()
        if not trailer or isinstance(value, ir.Const):
            return value
        full = ir.Binary(BOOL, "==", ir.Call(UINT64, "strlen", (value,)), ir.Const(UINT64, longest))
        whole = Str(of.length + len(trailer))
        return ir.Choice(whole, full, ir.Call(whole, "str_concat", (value, rules.text(trailer))), value)

    def _length(self, value: ir.Expr, node: ast.Call) -> int | ir.Expr:
        """A length argument: known, or to be computed."""
        if isinstance(value, ir.Const) and type(value.value) is int:
            if value.value < 0:
                raise self.fault(f"{node.name} cannot use negative length ({value.value})", node)
            return value.value
        if not isinstance(value.type, (Int, Enum)):
            raise self.fault(
                f"{node.name}() only supports integer arguments ({spelled(value.type)} provided)", node
            )
        return value

    def _call_buf(self, node: ast.Call) -> ir.Expr:
        most = self.unit.max_strlen
        values = self.several(node.args)
        literal = node.args[0].value if isinstance(node.args[0], ast.String) else b""
        if b"\0" in literal:  # what is behind it is meant too
            values[0] = ir.Const(Buffer(len(literal) + 1), literal + b"\0")
        value, of = values[0], values[0].type
        pointer: ir.Expr | None = None
        if isinstance(value, ir.Load) and isinstance(of, Array):
            from .memory import address

            pointer = address(value.pointer, value.offset)
        elif isinstance(of, (Int, Pointer)):
            pointer = value
        elif isinstance(value, ir.Text) and len(values) == 2 and not isinstance(node.args[0], ast.Call):
            pointer = value.pointer  # an array of char: its bytes, not its text
        elif not isinstance(of, (Str, Array, Buffer)):
            raise self.fault(
                f"buf() expects an integer, string, or array argument but saw {spelled(of)}", node
            )
        if len(values) == 1:
            if not isinstance(of, (Array, Str, Buffer)):
                raise self.fault(f"buf() expects a length argument for non-array type {spelled(of)}", node)
            length: int | ir.Expr = of.size
        else:
            length = self._length(values[1], node)
        if isinstance(length, int):
            size = min(length, most)
            return ir.Call(
                Buffer(size), "buf", (value if pointer is None else pointer, ir.Const(UINT64, size))
            )
        return ir.Call(Buffer(most), "buf", (value if pointer is None else pointer, length))

    def _call_path(self, node: ast.Call) -> ir.Expr:
        if self.probe.kind not in ("fentry", "fexit", "iter"):
            raise self.fault("The path function can only be used with 'fentry', 'fexit', 'iter' probes", node)
        value = self.value(node.args[0])
        size = self.unit.max_strlen
        if len(node.args) == 2:
            size = self.literal_number(node.args[1], "path: invalid size value, need non-negative literal")
        if isinstance(value, ir.Load) and isinstance(value.type, Struct):
            from .memory import address

            value = rules.cast(address(value.pointer, value.offset), UINT64)
        return ir.Call(Str(size), "path", (value,))

    def _call_str_concat(self, node: ast.Call) -> ir.Expr:
        one, two = self.several(node.args)
        for value, arg in zip((one, two), node.args):
            if not isinstance(value.type, Str):
                raise self._only("str_concat", "string", value.type, arg)
        return ir.Call(Str(one.type.size + two.type.size - 1), "str_concat", (one, two))

    def _only(self, function: str, kind: str, of: Type, node: ast.Node) -> Exception:
        return self.fault(f"{function}() only supports {kind} arguments ({spelled(of)} provided)", node)

    def _call_memcmp(self, node: ast.Call) -> ir.Expr:
        one, two, count = self.several(node.args)
        for value, arg in zip((one, two), node.args):
            if not isinstance(value.type, (Str, Buffer, Array)):
                raise self._only("memcmp", "string, buffer and array", value.type, arg)
        return ir.Call(INT64, "memcmp", (one, two, rules.cast(count, UINT64)))

    def _call_ntop(self, node: ast.Call) -> ir.Expr:
        values = self.several(node.args)
        of = values[-1].type
        if isinstance(of, (Array, Str, Buffer)):
            if of.size not in (4, 16):
                raise self.fault("ntop() argument must be 4 or 16 bytes in size", node)
        elif not isinstance(of, (Int, Enum)):
            raise self.fault(f"ntop() expects an integer or array argument, got {spelled(of)}", node)
        if len(values) == 2 and not isinstance(values[0].type, (Int, Enum)):
            raise self._only("ntop", "integer", values[0].type, node.args[0])
        return ir.Call(Formatted("inet", 24), "ntop", tuple(values))

    def _call_pton(self, node: ast.Call) -> ir.Expr:
        import socket

        text = self.literal_text(node.args[0], "pton").decode("latin-1")
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        try:
            packed = socket.inet_pton(family, text)
        except OSError:
            raise self.fault(f"pton() expects a valid IPv4/IPv6 address, got {text}", node) from None
        return ir.Call(Array(Int(8, False), len(packed)), "pton", (rules.text(text.encode()),))

    def _call_macaddr(self, node: ast.Call) -> ir.Expr:
        value = self.value(node.args[0])
        of = value.type
        if isinstance(value, ir.Text):
            # six chars are read as text by default: read them as bytes
            value = ir.Load(Array(Int(8, False), 6), value.pointer, 0, value.space)
        elif isinstance(of, (Int, Pointer)):
            value = ir.Load(Array(Int(8, False), 6), value, 0, self.space_of(value))
        elif not isinstance(of, (Array, Str, Buffer)):
            raise self.fault(
                f"macaddr() only supports array or pointer arguments ({spelled(of)} provided)", node
            )
        if isinstance(value, ir.Const):
            raise self.fault("macaddr() does not support literal string arguments", node)
        if value.type.size < 6:
            raise self.fault("macaddr() argument must be at least 6 bytes in size", node)
        return ir.Call(Formatted("mac", 6), "macaddr", (value,))

    def _call_bswap(self, node: ast.Call) -> ir.Expr:
        value = self.number(node.args[0])
        of = value.type
        if not isinstance(of, Int):
            raise self._only("bswap", "integer", of, node)
        return ir.Call(Int(of.bits, False), "bswap", (value,))

    def _call_strftime(self, node: ast.Call) -> ir.Expr:
        form = self.literal_text(node.args[0], "strftime")
        value = self.number(node.args[1])
        if isinstance(value, ir.Const) and isinstance(value.value, int) and value.value < 0:
            raise self.fault("strftime() does not accept negative timestamps", node)
        if not isinstance(value.type, (Int, Enum)):
            raise self._only("strftime", "integer", value.type, node.args[1])
        return ir.Call(
            Formatted("timestamp", 16, form.decode("latin-1")),
            "strftime",
            (rules.text(form), rules.cast(value, UINT64)),
        )

    def _call_usym(self, node: ast.Call) -> ir.Expr:
        value = self.number(node.args[0])
        if not isinstance(value.type, (Int, Pointer)):
            raise self.fault(
                f"usym() expects an integer or pointer argument ({spelled(value.type)} provided)", node
            )
        return ir.Call(Symbol("user"), "usym", (rules.cast(value, UINT64), ir.Site(UINT32, "pid")))

    def _call_kptr(self, node: ast.Call) -> ir.Expr:
        return self._marked(node, "kernel")

    def _call_uptr(self, node: ast.Call) -> ir.Expr:
        return self._marked(node, "user")

    def _marked(self, node: ast.Call, space: str) -> ir.Expr:
        value = self.number(node.args[0])
        of = value.type
        if isinstance(of, Pointer):
            to: Type = Pointer(of.to, space)
        elif isinstance(of, Int):
            to = Pointer(Int(8, False), space)
        else:
            raise self.fault(
                f"{node.name}() only supports integer or pointer arguments ({spelled(of)} provided)", node
            )
        return (
            value.replace(type=to)
            if isinstance(of, Pointer) and isinstance(value, ir.Cast)
            else ir.Cast(to, value)
        )

    def _call_is_err(self, node: ast.Call) -> ir.Expr:
        value = rules.cast(self.value(node.args[0]), UINT64)
        low = ir.Const(UINT64, (1 << 64) - 4095)  # MAX_ERRNO, include/linux/err.h
        return rules.fold(ir.Binary(BOOL, ">=", value, low))

    def _call_reg(self, node: ast.Call) -> ir.Expr:
        name = self.literal_text(node.args[0], "reg").decode("latin-1")
        if self.probe.kind in ("begin", "end", "interval", "tracepoint", "self"):
            raise self.fault(f'reg can not be used with "{self.probe.kind}" probes', node)
        known = _registers(self.unit.machine)
        if known and name not in known:
            raise self.fault(
                f"'{name}' is not a valid register on this architecture", node, suggest(name, known)
            )
        return ir.Site(UINT64, "register", name)

    def _call_kstack(self, node: ast.Call) -> ir.Expr:
        return self._stack(node, "kernel")

    def _call_ustack(self, node: ast.Call) -> ir.Expr:
        return self._stack(node, "user")

    _call_dw_ustack = _call_ustack

    def _stack(self, node: ast.Call, space: str) -> ir.Expr:
        mode, depth = "", 127
        args = list(node.args)
        if args and isinstance(args[0], ast.Name) and args[0].name not in self.here.bound:
            mode = args[0].name
            if mode not in _MODES:
                raise self.fault(
                    f"Error parsing stack mode: Invalid stack mode: {mode}", args[0], suggest(mode, _MODES)
                )
            if mode == "build_id" and space == "kernel":
                raise self.fault("'build_id' stack mode can only be used for ustack", node)
            args.pop(0)
        elif len(args) == 2:
            raise self.fault("Expected stack mode as first argument", node)
        if args:
            depth = self.literal_number(args[0], f"{node.name}: invalid limit value")
            if not 0 < depth <= 127:
                raise self.fault(f"{node.name}([int limit]): limit shouldn't exceed 127, {depth} given", node)
        return self.stack(space, mode, depth)

    def _call_nsecs(self, node: ast.Call) -> ir.Expr:
        if not node.args:
            return ir.Site(UINT64, "nsecs")
        mode = node.args[0].name if isinstance(node.args[0], ast.Name) else ""
        if mode in _CLOCKS:
            return ir.Site(UINT64, _CLOCKS[mode])
        if mode in ("tai", "sw_tai"):
            return ir.Call(UINT64, "nsecs", (rules.text(mode.encode()), ir.Site(UINT64, "nsecs")))
        raise self.fault(
            f"Invalid timestamp mode: {mode or 'not a name'}",
            node.args[0],
            "one of monotonic, boot, tai, sw_tai",
        )

    def _call_pid(self, node: ast.Call) -> ir.Expr:
        if node.args:
            mode = node.args[0].name if isinstance(node.args[0], ast.Name) else ""
            if mode not in ("curr_ns", "init"):
                raise self.fault(
                    f"Invalid PID namespace mode: {mode or 'not a name'} (expects: curr_ns or init)",
                    node.args[0],
                )
        return ir.Site(UINT32, node.name)

    _call_tid = _call_pid

    def _call_cgroup_path(self, node: ast.Call) -> ir.Expr:
        number = rules.cast(self.number(node.args[0]), UINT64)
        wanted = self.literal_text(node.args[1], "cgroup_path", "second") if len(node.args) == 2 else b""
        args: tuple[ir.Expr, ...] = (number, rules.text(wanted)) if wanted else (number,)
        return ir.Call(Formatted("cgroup", 16, wanted.decode("latin-1")), "cgroup_path", args)

    def _call_cgroupid(self, node: ast.Call) -> ir.Expr:
        import os

        path = self.literal_text(node.args[0], "cgroupid")
        try:
            # the id of a cgroup v2 is the inode number of its directory (kernfs), include/linux/cgroup.h
            return ir.Const(UINT64, os.stat(path).st_ino)
        except OSError as error:
            raise self.fault(
                f"Failed to get cgroupid for path: {path.decode(errors='replace')}: {error.strerror}", node
            ) from None

    def _call_kaddr(self, node: ast.Call) -> ir.Expr:
        name = self.literal_text(node.args[0], "kaddr").decode("latin-1")
        found = _kernel_address(self.unit.machine, name)
        if found is None:
            raise self.fault(f"Failed to resolve kernel symbol: {name}", node)
        if not found:
            return ir.Call(UINT64, "kaddr", (rules.text(name.encode()),))
        return ir.Const(UINT64, found)

    def _call_percpu_kaddr(self, node: ast.Call) -> ir.Expr:
        """The address in the per-CPU section plus where that CPU's copy is: __per_cpu_offset[cpu], the
        kernel's per_cpu_ptr() (include/linux/percpu-defs.h). 0 for a CPU that can't be."""
        from unitrace.kernel.cpus import possible

        name = self.literal_text(node.args[0], "percpu_kaddr").decode("latin-1")
        machine = self.unit.machine
        found, offsets = (_kernel_address(machine, one) for one in (name, "__per_cpu_offset"))
        if found is None:
            raise self.fault(f"Failed to resolve kernel symbol: {name}", node)
        if not offsets:
            raise self.fault(
                "percpu_kaddr() needs the address of __per_cpu_offset",
                node,
                "run as root, with kernel.kptr_restrict below 2",
            )
        given = self.number(node.args[1]) if len(node.args) > 1 else ir.Site(UINT32, "cpu")
        cpu = rules.cast(given, UINT64)
        before = rules.fold(ir.Binary(UINT64, "*", cpu, ir.Const(UINT64, 8)))
        slot = rules.fold(ir.Binary(UINT64, "+", before, ir.Const(UINT64, offsets)))
        address = ir.Binary(UINT64, "+", ir.Load(UINT64, slot, 0, "kernel"), ir.Const(UINT64, found))
        there = rules.fold(ir.Binary(BOOL, "<", cpu, ir.Const(UINT64, possible())))
        return rules.fold(ir.Choice(UINT64, there, address, ir.Const(UINT64, 0)))

    def _call_uaddr(self, node: ast.Call) -> ir.Expr:
        """A symbol of the probe's own file: as far from the probed function as in the file, wherever that
        was loaded to."""
        from unitrace.kernel import elf

        name, probe = self.literal_text(node.args[0], "uaddr").decode("latin-1"), self.probe
        if probe.kind not in ("uprobe", "uretprobe"):
            raise self.fault(f"uaddr() can not be used with '{probe.kind}' probes", node)
        try:
            found = elf.find(probe.scope, name)
            here = elf.loaded_at(probe.scope, probe.address)
        except (OSError, ValueError) as error:
            raise self.fault(f"{probe.scope}: {error}", node) from None
        if found is None or here is None:
            raise self.fault(f"Could not resolve symbol: {probe.scope}:{name}", node)
        start = ir.Site(UINT64, "func")
        address = ir.Binary(UINT64, "+", start, ir.Const(UINT64, rules.wrap(found.address - here, UINT64)))
        bits = 8 * found.size if found.size in (1, 2, 4, 8) else 64
        return ir.Cast(Pointer(Int(bits, False), "user"), address)

    def _call_container_of(self, node: ast.Call) -> ir.Expr:
        pointer = self.value(node.args[0])
        kind = node.args[1]
        name = kind.of.of if isinstance(kind, ast.TypeArg) else kind
        of = self.type_of(
            name if not isinstance(name, ast.Name) else ast.TypeName(name.start, name.end, name.name)
        )
        member = node.args[2]
        if not isinstance(member, ast.Name) or not isinstance(of, Struct):
            raise self.fault("container_of(pointer, type, member)", node)
        offset = self.member_of(of, member.name, node).offset
        start = ir.Binary(UINT64, "-", rules.cast(pointer, UINT64), ir.Const(UINT64, offset))
        return ir.Cast(Pointer(bare(of), self.space_of(pointer)), rules.fold(start))


def _positional_offset(node: ast.Expr) -> tuple[int, int] | None:
    if isinstance(node, ast.Positional):
        return node.number, 0
    if isinstance(node, ast.Binary) and node.op == "+":
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(one, ast.Positional) and isinstance(other, ast.Number):
                return one.number, other.value
    return None


def _registers(machine: Machine) -> list[str]:
    """Names of the registers; none where the architecture isn't known."""
    from unitrace.kernel.arch import ARCHITECTURES

    try:
        known = ARCHITECTURES.get(str(machine.fact("kernel.arch")))
    except KeyError:
        return []
    return [*known.offsets, *known.aliases] if known else []


def _kernel_address(machine: Machine, name: str) -> int | None:
    """A symbol's address; 0 where addresses are hidden, None where there is no such symbol."""
    if not machine.live:
        return 0
    try:
        with open("/proc/kallsyms", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    at = text.find(b" %s\n" % name.encode())
    if at < 0:
        return None
    line = text[text.rfind(b"\n", 0, at) + 1 : at]
    return int(line.split()[0], 16)

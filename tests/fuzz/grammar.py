"""Programs by chance: mostly well-typed, so that they get past the parser and the checker into the engine."""

from __future__ import annotations

from random import Random

__all__ = ["Grammar"]

INTEGERS = (
    "0", "1", "2", "-1", "7", "8", "10", "63", "64", "127", "128", "255", "256", "-128", "0x7fffffff", "0xffffffff",
    "9223372036854775807", "18446744073709551615", "0x8000000000000000", "1e6", "1_000", "5ms", "2s", "017", "10ull",
)  # fmt: skip
TEXTS = (
    '"a"',
    '"abc"',
    '""',
    '"%d"',
    '"x y"',
    '"\\x41\\n"',
    '"\\000b"',
    '"hello world"',
    '"é"',
    '"/proc/self/comm"',
)
INT_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool")
TYPES = (*INT_TYPES, "string[8]", "uint8[4]", "int32[3]", "uint64 *", "struct A", "struct A *", "buffer", "count_t",
         "(uint8,string[4])", "mac_address", "void", "char", "unsigned long", "string[0]", "int32[0]")  # fmt: skip
BINARY = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "==", "!=", "<", ">", "<=", ">=", "&&", "||")
COMPOUND = ("=", "=", "=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")
WORDS = ("pid", "tid", "uid", "gid", "cpu", "nsecs", "elapsed", "rand", "ncpus", "cgroup", "usermode", "numaid",
         "jiffies", "cpid", "$1", "$#", "sizeof(uint32)", "sizeof(struct A)", "offsetof(struct A, y)",
         "nsecs(boot)", "pid(init)")  # fmt: skip
ELSEWHERE = (
    "ONE",
    "arg0",
    "retval",
    "curtask",
    "ctx",
    "func",
    "args.prev_pid",
    "sarg1",
    "arg9",
    "ppid",
    "$v",
)
"""Numbers that some probes have, or some programs."""
STRINGS = ("comm", "probe", "str($1)", "str($2, 3)", "str(0)", "username", "probetype", "strerror(2)",
           "signal_name(9)", "syscall_name(1)", "ustack", "kstack", "kstack(3)", "ksym(0)",
           "usym(1)", "ntop(0x0100007f)", "strftime(\"%H\", nsecs)", "cgroup_path(1)", "macaddr(pton(\"::1\"))",
           "ntop(pton(\"::1\"))", "str_concat(\"a\", comm)", "buf(\"abc\", 2)", "buf(comm)")  # fmt: skip
PROBES = (
    "begin", "begin", "begin", "begin", "begin", "BEGIN", "end", "interval:s:1", "interval:ms:100", "self:signal:SIGUSR1",
    "tracepoint:sched:sched_switch", "tracepoint:syscalls:sys_enter_open*", "kprobe:vfs_read", "kprobe:vfs_*",
    "kretprobe:vfs_read", "kprobe:do_sys_open", "t:sched:sched_*", "profile:hz:99", "software:faults:1", "syscall:openat",
    "fentry:vfs_read", "fexit:vfs_read", "rawtracepoint:sched_switch", "uprobe:/bin/true:main", "test:x", "bench:y",
    "kprobe:vfs_read+4", "hardware:cycles:1000", "iter:task", "watchpoint:0x1000:8:w", "usdt:/bin/true:a:b", "kprobe:nope",
)  # fmt: skip
FORMATS = (
    "d",
    "i",
    "u",
    "x",
    "X",
    "o",
    "p",
    "c",
    "s",
    "r",
    "rh",
    "rx",
    "lld",
    "llu",
    "hhx",
    "hd",
    "5d",
    "-5s",
    "05d",
    "#x",
    "+",
    ".2s",
    "b",
    "zz",
    "99999d",
    "%",
    "*d",
)
HEADS = (
    "struct A { int x; unsigned y:3, z:29; char name[8]; struct A *next; uint64_t v[2]; };",
    "enum E { ONE = 1, TWO, LAST = 0xff };", "union U { int i; char c[4]; };", "#define N 5", "#include <linux/fs.h>",
    "config = { max_strlen=64 }", "config = { max_map_keys=2; print_maps_on_exit=false }",
    "config = { stack_mode=perf }", "import \"stdlib/base.bt\";", "typedef unsigned int word;",
    "struct B { struct { int a; }; struct A inner; int (*f)(int); };",
)  # fmt: skip


class Grammar:
    """Makes programs from a source of chance. ``budget``: how many more parts this one may get."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.pick = chance.choice
        self.random = chance.random
        self.budget = 0
        self.variables: list[str] = []
        self.maps: list[str] = []
        self.words: tuple[str, ...] = WORDS

    def program(self) -> str:
        """A whole program."""
        chance = self.chance
        self.budget = chance.choice((8, 15, 15, 30, 30, 60, 120))
        self.words = (*WORDS, *ELSEWHERE)
        parts = []
        if self.random() < 0.35:
            parts += [self.pick(HEADS) for _ in range(chance.randrange(3))]
            if self.random() < 0.5:
                parts.insert(0, HEADS[0])
        if self.random() < 0.1:
            kind = self.pick(("hash", "lruhash", "percpuhash", "percpuarray", "array", "nope"))
            parts.append(f"let @{self.pick('abmx')} = {kind}({self.pick(INTEGERS)});")
        if self.random() < 0.12:
            parts.append(self.macro())
        for _ in range(1 if self.random() < 0.7 else chance.randrange(1, 4)):
            parts.append(self.action())
        return self.pick(("\n", " ", "\n\n")).join(parts)

    def begins(self) -> str:
        """A program of begin and end probes alone, which the engine can run."""
        self.budget = self.chance.choice((8, 15, 30, 60))
        heads = "".join(self.pick(HEADS[:3]) for _ in range(2)) if self.random() < 0.1 else HEADS[0]
        macro = self.macro() if self.random() < 0.1 else ""
        self.variables = []
        text = f"{heads}{macro}begin {self.block()}"
        if self.random() < 0.1:
            self.variables = []
            text += f" end {self.block()}"
        return text

    def macro(self) -> str:
        """A macro of one to three parameters."""
        self.variables = ["$v"] * 3
        return f"macro m(x, $v, @m) {{ $v {self.pick(COMPOUND)} x; @m[x] = {self.integer(2)}; $v }} "

    def action(self) -> str:
        """Probes, predicate, block."""
        self.variables = []
        probes = self.pick((",", ", ")).join(
            self.pick(PROBES) for _ in range(1 if self.random() < 0.85 else 3)
        )
        if self.random() < 0.04:
            return probes
        predicate = f" /{self.integer(2)}/" if self.random() < 0.25 else ""
        return f"{probes}{predicate} {self.block()}"

    def block(self, level: int = 0) -> str:
        """Statements in braces."""
        before = len(self.variables)
        body = " ".join(self.statement(level) for _ in range(self.chance.randrange(1, 5 if level < 3 else 2)))
        del self.variables[before:]
        return "{ " + body + " }"

    def statement(self, level: int) -> str:
        """One statement."""
        self.budget -= 1
        made = self.pick(_STATEMENTS if self.budget > 0 and level < 5 else _SIMPLE)
        return made(self, level)

    # -- statements -----------------------------------------------------------------------------

    def assign(self, level: int) -> str:
        """``$x = ...``"""
        if self.variables and self.random() < 0.5:
            return f"{self.pick(self.variables)} {self.pick(COMPOUND)} {self.integer(3)};"
        name = self.pick(("$a", "$b", "$c", "$x", "$y", "$z"))
        value = self.integer(3) if self.random() < 0.7 else self.any(2)
        self.variables.append(name)
        if self.random() < 0.15:
            return f"let {name}: {self.pick(TYPES)} = {value};"
        return f"{'let ' if self.random() < 0.1 else ''}{name} = {value};"

    def store(self, level: int) -> str:
        """``@x[...] = ...``"""
        is_int = self.random() < 0.6
        place, name = self.map_of("int" if is_int else "count")
        text = (
            f"{place} {self.pick(COMPOUND)} {self.integer(3)};" if is_int else f"{place} {self.aggregate()};"
        )
        self.maps.append(name)
        return text

    def aggregate(self) -> str:
        """``= count()`` and the like."""
        value = self.integer(2)
        return "= " + self.pick((
            "count()", f"sum({value})", f"min({value})", f"max({value})", f"avg({value})", f"stats({value})",
            f"hist({value})", f"hist({value}, {self.pick('012359')})", f"lhist({value}, 0, 100, {self.pick('1257')})",
            f"tseries({value}, {self.pick(('1s', '1ms', '0'))}, 5, \"{self.pick(('sum', 'avg', 'max', 'zz'))}\")",
            f"lhist({value}, {self.pick(INTEGERS)}, {self.pick(INTEGERS)}, {self.pick(INTEGERS)})",
        ))  # fmt: skip

    def map_of(self, kind: str) -> tuple[str, str]:
        """A map with keys, and its name: by its name of one kind of values and keys mostly."""
        names = "abcdefgh" if kind == "int" else "pqrstuvw"
        name = self.pick(names) if self.random() < 0.98 else self.pick("abpq")
        return self.at(name), name

    def at(self, name: str) -> str:
        """A map with keys as that map mostly has them."""
        keys = (ord(name) - 97) % 4 if self.random() < 0.98 else self.chance.randrange(4)
        if keys == 3:
            return f"@{name}[({self.integer(1)}, {self.text(1)})]"
        return f"@{name}" + (f"[{', '.join(self.integer(1) for _ in range(keys))}]" if keys else "")

    def read(self) -> str:
        """A value of a map that was written before, if there is one."""
        return self.at(self.pick(self.maps)) if self.maps else self.pick(INTEGERS)

    def name_of(self) -> str:
        """A map's bare name; mostly of one that was written before."""
        return "@" + (self.pick(self.maps) if self.maps and self.random() < 0.98 else self.pick("abpq"))

    def increment(self, level: int) -> str:
        """``++`` and ``--``."""
        if self.variables and self.random() < 0.5:
            what = self.pick(self.variables)
        else:
            what, name = self.map_of("int")
            self.maps.append(name)
        return self.pick((f"{what}++;", f"++{what};", f"{what}--;", f"--{what};"))

    def branch(self, level: int) -> str:
        """if, else if, else."""
        text = f"if ({self.integer(2)}) {self.block(level + 1)}"
        if self.random() < 0.2:
            text += f" else if {self.integer(1)} {self.block(level + 1)}"
        return text + (f" else {self.block(level + 1)}" if self.random() < 0.4 else "")

    def loop(self, level: int) -> str:
        """while, for, unroll."""
        head = self.pick((
            "$n = 0; while ($n < 3) { $n++; %s }", "for ($i : 0..3) { %s }", f"for $k : {self.name_of()} {{ print($k); %s }}",
            "unroll(3) { %s }", f"for ($kv : {self.name_of()}) {{ print(($kv.0, $kv.1)); %s }}", "unroll($1) { %s }", "while (1) { %s break; }",
            f"for ($i : {self.integer(1)}..{self.integer(1)}) {{ if ($i > 9) {{ break; }} %s }}",
        ))  # fmt: skip
        if "$i :" in head:
            self.variables.append("$i")
        return head.replace(
            "%s", self.statement(level + 1) + self.pick(("", "", " continue;", " break;", " return;"))
        )

    def show(self, level: int) -> str:
        """print and printf."""
        if self.random() < 0.4:
            return f"print({self.pick((self.name_of(), self.any(2), self.any(3)))});"
        if self.random() < 0.2:
            return f"print({self.name_of()}, {self.pick(INTEGERS)}, {self.pick(INTEGERS)});"
        count = self.chance.randrange(4)
        form = " ".join(
            "%" + self.pick(FORMATS[:14] if self.random() < 0.9 else FORMATS) for _ in range(count)
        )
        name = "printf" if self.random() < 0.9 else self.pick(("errorf", "warnf", "debugf", "cat", "system"))
        values = "".join(f", {self.any(2)}" for _ in range(count if self.random() < 0.95 else 2))
        return f'{name}("{form}\\n"{values});'

    def other(self, level: int) -> str:
        """Calls for their effect."""
        return self.pick((
            f"clear({self.name_of()});", f"zero({self.name_of()});", f"delete({self.read()});", "exit();",
            f"delete({self.name_of()}, {self.integer(1)});", f"exit({self.integer(1)});", "time(\"%H:%M:%S %f\\n\");",
            f"join({self.any(1)});", f"_ = {self.any(2)};", f"assert({self.integer(1)}, \"m\");", "return;", "time();",
            f"static_assert({self.integer(1)}, \"m\");", f"signal({self.any(1)});", f"cat({self.pick(TEXTS)});", ";",
            f"m({self.integer(1)}, {self.pick(self.variables)}, @m);" if self.variables else "@m[1] = 1;", f"if (find({self.name_of()}, {self.integer(1)}, $f)) {{ print($f); }}",
            "fail(\"x\");" if self.random() < 0.1 else ";", "unwatch(0);", "override(1);" if self.random() < 0.1 else ";",
        ))  # fmt: skip

    # -- expressions ----------------------------------------------------------------------------

    def any(self, depth: int) -> str:
        """An expression of some type."""
        roll = self.random()
        if roll < 0.45:
            return self.integer(depth)
        if roll < 0.7:
            return self.text(depth)
        if roll < 0.8 and depth > 0:
            items = [self.any(depth - 1) for _ in range(self.chance.randrange(1, 4))]
            if self.random() < 0.3:
                return "(" + ", ".join(f"{name}={item}" for name, item in zip("xyz", items)) + ")"
            return "(" + ", ".join(items) + (",)" if len(items) == 1 else ")")
        if roll < 0.85 and depth > 0:
            return f"(({self.any(depth - 1)}, {self.any(depth - 1)}).{self.pick('0012')})"
        if roll < 0.9:
            return self.pick((
                "(struct A *)0", "((struct A *)1)->x", "((struct A *)0).name", "*(uint8 *)0", "(uint8[8])123",
                "((struct A *)8)->next->v[1]", "args", "args.prev_comm", "args.nope", "args->filename", "(E)1", "TWO",
                "(enum E)2", "(union U *)0", "*(struct A *)0", "&$a", "&@a", "(uint8[2])(uint16)5", "{ let $q = 1; $q }",
                "(string[4])\"abcdef\"", "config", "((uint8[4])1)[2]", "((uint8[4])1)[9]", "reg(\"ip\")", "(uint64)\"1\"",
                "if (1) { 2 } else { 3 }", "getopt(\"a\", 1)", "getopt(\"b\")", "typeinfo(1)",
            ))  # fmt: skip
        return self.pick((f"({self.pick(TYPES)}){self.integer(depth - 1)}", self.read(), self.read()))

    def text(self, depth: int) -> str:
        """An expression that is text, or prints as such."""
        roll = self.random()
        if roll < 0.5 or depth <= 0:
            return self.pick(TEXTS)
        if roll < 0.9:
            return self.pick(STRINGS)
        return f"({self.integer(depth - 1)} ? {self.text(depth - 1)} : {self.text(depth - 1)})"

    def integer(self, depth: int) -> str:
        """An expression that is a number, mostly."""
        roll = self.random()
        if depth <= 0 or self.budget <= 0 or roll < 0.25:
            return self.pick(INTEGERS)
        self.budget -= 1
        if roll < 0.4 and self.variables:
            return self.pick(self.variables)
        if roll < 0.5:
            return self.pick(self.words)
        if roll < 0.75:
            text = f"{self.integer(depth - 1)} {self.pick(BINARY)} {self.integer(depth - 1)}"
            return f"({text})" if self.random() < 0.8 else text
        if roll < 0.8:
            return self.pick("-~!") + self.integer(depth - 1)
        if roll < 0.85:
            return f"({self.pick(INT_TYPES)})({self.integer(depth - 1)})"
        if roll < 0.9:
            return f"({self.integer(depth - 1)} ? {self.integer(depth - 1)} : {self.integer(depth - 1)})"
        if roll < 0.95:
            return self.read()
        return self.pick((
            f"strncmp({self.text(1)}, {self.text(1)}, {self.pick(INTEGERS)})", f"strcontains({self.text(1)}, {self.text(1)})",
            f"len({self.name_of()})", f"has_key({self.name_of()}, {self.integer(1)})", f"bswap({self.integer(1)})",
            f"strlen({self.text(1)})", f"strstr({self.text(1)}, {self.text(1)})", f"memcmp({self.text(1)}, {self.text(1)}, 3)",
            f"({self.text(1)} == {self.text(1)})", f"({self.any(1)} {self.pick(BINARY)} {self.any(1)})",
            f"sizeof({self.any(1)})", f"is_str({self.any(1)})", f"strcap({self.text(1)})", "cgroupid(\"/x\")" if self.random() < 0.1 else "1", "uaddr(\"x\")",
        ))  # fmt: skip


_SIMPLE = (Grammar.assign, Grammar.store, Grammar.increment, Grammar.show, Grammar.other)
_STATEMENTS = (*_SIMPLE, *_SIMPLE[:4], Grammar.branch, Grammar.loop)

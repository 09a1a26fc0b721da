"""The language's functions and builtins, as data: the checker, the listing and the documentation read these.

``args`` has a word an argument: the kind of value it takes; ``?`` behind it: it may be left out, ``*``:
any number of them. Kinds: int (any number), bool, string (a value), text (a literal), number (an
integer literal), pointer (a pointer or number), map, any, word (a bare name), var (``$x``), type.
"""

from __future__ import annotations

from unitrace.contract.record import Record
from unitrace.contract.types import BOOL, INT64, UINT32, UINT64, Formatted, Str, Symbol, Type

__all__ = ["ACTS", "AGGREGATES", "BUILTINS", "Builtin", "FUNCTIONS", "Function", "names"]


class Function(Record):
    """``result``: the type, None where it depends on the arguments. ``plain``: lowers to an ir.Call of
    the same name. ``unsafe``: needs leave."""

    name: str
    args: tuple[str, ...]
    text: str
    result: Type | None = None
    plain: bool = False
    unsafe: bool = False

    @property
    def least(self) -> int:
        """How many arguments it must have."""
        return sum(not arg.endswith(("?", "*")) for arg in self.args)

    @property
    def most(self) -> int:
        """How many it may have."""
        return 128 if self.args and self.args[-1].endswith("*") else len(self.args)


def _f(name: str, args: str, text: str, result: Type | None = None, plain: bool = False) -> Function:
    return Function(name, tuple(args.split()), text, result, plain)


_FUNCTIONS = (
    # what a map aggregates
    _f("count", "", "how often"),
    _f("sum", "int", "the sum"),
    _f("min", "int", "the least"),
    _f("max", "int", "the greatest"),
    _f("avg", "int", "the average"),
    _f("stats", "int", "count, average and total"),
    _f("hist", "int number?", "a histogram by powers of two, each in 2**bits parts"),
    _f("lhist", "int number number number", "a histogram from min to max by steps"),
    _f("tseries", "int number number text?", "values by interval of time"),
    # what user space does
    _f("printf", "text any*", "print by a format"),
    _f("errorf", "text any*", "print an error with its place"),
    _f("warnf", "text any*", "print a warning with its place"),
    _f("debugf", "text any*", "print to the kernel's trace pipe"),
    _f("print", "any int? int?", "print a value, or a map: its greatest n entries, divided by a number"),
    _f("clear", "map", "remove all keys of a map"),
    _f("zero", "map", "set all values of a map to zero"),
    _f("delete", "map any?", "remove a key; whether it was there"),
    _f("exit", "int?", "end the trace, with an exit status"),
    _f("time", "text?", "print the time of day by a strftime format"),
    _f("cat", "text any*", "print a file's content"),
    Function("system", ("text", "any*"), "run a command", unsafe=True),
    _f("join", "any text?", "print an array of strings, with blanks or what is given between"),
    Function("signal", ("any", "word?"), "send a signal to the traced process", unsafe=True),
    Function("signal_thread", ("any",), "send a signal to the traced thread", unsafe=True),
    Function("override", ("int",), "make the traced function return a value", unsafe=True),
    Function(
        "write_user", ("pointer", "pointer", "int"), "write to the traced process's memory", unsafe=True
    ),
    _f("unwatch", "pointer", "remove a watchpoint"),
    _f("skboutput", "text pointer int int", "write a packet to a pcap file", UINT32),
    _f("assert", "bool text", "end the trace with an error where a condition doesn't hold"),
    _f("static_assert", "bool text", "refuse the program where a constant condition doesn't hold"),
    _f("fail", "text any*", "refuse the program"),
    # maps
    _f("has_key", "map any", "whether a key is there", BOOL),
    _f("find", "map any var", "whether a key is there; if so, its value is put into $x", BOOL),
    _f("len", "any", "how many keys a map or frames a stack has", INT64),
    # strings and memory
    _f("str", "any int?", "the string at an address"),
    _f("buf", "any int?", "the bytes at an address"),
    _f("path", "any number?", "the path of a struct path"),
    _f("strncmp", "string string number", "0 where the first n bytes of two strings are equal", INT64, True),
    _f("strcontains", "string string", "whether a string is in another", BOOL, True),
    _f("strstr", "string string", "where a string begins in another, or -1", INT64, True),
    _f("strlen", "string", "a string's length", UINT64, True),
    _f("strcap", "string", "how long a string can be", INT64, True),
    _f("str_concat", "string string", "two strings as one"),
    _f("memcmp", "any any int", "compares bytes", INT64, True),
    _f("ntop", "any any?", "an address as text: ntop([family,] address)", Formatted("inet", 24)),
    _f("pton", "text", "the bytes of an address written as text"),
    _f("macaddr", "any", "six bytes as a MAC address", Formatted("mac", 6)),
    _f("bswap", "int", "a number's bytes in the other order"),
    _f("strftime", "text int", "a time as text", Formatted("timestamp", 16)),
    _f("strerror", "int", "an error number's message", Formatted("strerror", 8), True),
    _f("signal_name", "int", "a signal's name", Str(16), True),
    _f("syscall_name", "int", "a system call's name", Str(32), True),
    _f("ksym", "pointer", "an address of the kernel as its symbol", Symbol("kernel"), True),
    _f("usym", "pointer", "an address of the process as its symbol", Symbol("user")),
    _f("kaddr", "text", "the address of a symbol of the kernel", UINT64, True),
    _f("percpu_kaddr", "text int?", "the address of a variable that each CPU has", UINT64, True),
    _f("uaddr", "text", "the address of a symbol of the traced program"),
    _f("kptr", "pointer", "a pointer, said to be the kernel's"),
    _f("uptr", "pointer", "a pointer, said to be the process's"),
    _f("is_err", "pointer", "whether a pointer is an error number", BOOL),
    _f("reg", "text", "a register", UINT64),
    _f("kstack", "any? any?", "the kernel's call stack: kstack([mode,] [depth])"),
    _f("ustack", "any? any?", "the process's call stack"),
    _f("dw_ustack", "any? any?", "the process's call stack, unwound by DWARF"),
    _f("cgroup_path", "int text?", "a cgroup's path", Formatted("cgroup", 16)),
    _f("cgroupid", "text", "the id of the cgroup at a path", UINT64, True),
    _f("socket_cookie", "pointer", "a socket's cookie", UINT64, True),
    _f("container_of", "any type word", "the object that a member belongs to"),
    _f("kfunc_exist", "text", "whether the kernel has a kfunc", BOOL, True),
    _f("kfunc_allowed", "text", "whether a kfunc may be called here", BOOL, True),
    # the program
    _f("getopt", "text any? text?", "an option from the command line, or its default"),
    _f("is_literal", "any", "whether an expression is a literal", BOOL),
    _f("is_str", "any", "whether an expression is a string", BOOL),
    _f("is_ptr", "any", "whether an expression is a pointer", BOOL),
    _f("is_array", "any", "whether an expression is an array", BOOL),
    _f("is_integer", "any", "whether an expression is an integer", BOOL),
    _f("is_unsigned_integer", "any", "whether an expression is an unsigned integer", BOOL),
    _f("default_str_length", "", "the longest string by default", UINT64),
    _f("nsecs", "word?", "time in ns: monotonic, boot, tai, sw_tai", UINT64),
    _f("pid", "word?", "process id: curr_ns, init", UINT32),
    _f("tid", "word?", "thread id: curr_ns, init", UINT32),
)

FUNCTIONS = {one.name: one for one in _FUNCTIONS}

AGGREGATES = frozenset(("count", "sum", "min", "max", "avg", "stats", "hist", "lhist", "tseries"))

ACTS = frozenset(
    [
        "printf",
        "errorf",
        "warnf",
        "debugf",
        "print",
        "clear",
        "zero",
        "exit",
        "time",
        "cat",
        "system",
        "join",
        "signal",
        "signal_thread",
        "override",
        "unwatch",
        "assert",
        "static_assert",
        "write_user",
    ]
)
"""Functions that are statements: they have no value."""


class Builtin(Record):
    """A word that stands for a value. ``site``: the ir.Site that it reads, "" where it is something else."""

    name: str
    text: str
    site: str = ""


_BUILTINS = (
    *(
        Builtin(name, "", name)
        for name in ("pid", "tid", "comm", "cpu", "nsecs", "uid", "gid", "cgroup", "numaid", "jiffies")
    ),
    Builtin("curtask", "the current task_struct", "curtask"),
    Builtin("rand", "a random number", "random"),
    Builtin("usermode", "whether the event came from user mode", "usermode"),
    Builtin("retval", "the value that the traced function returned", "retval"),
    Builtin("func", "the traced function", "func"),
    Builtin("probe", "the probe's full name", "probe"),
    Builtin("kstack", "the kernel's call stack", "kstack"),
    Builtin("ustack", "the process's call stack", "ustack"),
    Builtin("dw_ustack", "the process's call stack, unwound by DWARF", "ustack"),
    Builtin("args", "all the probe's arguments"),
    Builtin("ctx", "the probe's context", "ctx"),
    Builtin("elapsed", "ns since the trace began"),
    Builtin("username", "name of the current user"),
    Builtin("probetype", "the kind of probe"),
    Builtin("ncpus", "how many CPUs there are"),
    Builtin("cpid", "process id of the command under -c"),
    Builtin("has_cpid", "whether there is a command under -c"),
    Builtin("ppid", "process id of the parent"),
    Builtin("pcomm", "name of the parent process"),
    Builtin("leader_comm", "name of the process's first thread"),
    Builtin("leader_tid", "thread id of the process's first thread"),
)

BUILTINS = {one.name: one for one in _BUILTINS}


def names() -> list[str]:
    """All names that a program can use."""
    return [*BUILTINS, *FUNCTIONS, "arg0", "args", "sizeof", "offsetof"]

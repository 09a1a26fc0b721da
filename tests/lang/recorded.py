"""A machine as plain data: a few formats, names of functions and events; nothing of the real one."""

from __future__ import annotations

from unitrace.contract import ir
from unitrace.contract.errors import SpecError
from unitrace.contract.machine import Answer, Machine
from unitrace.lang import Compiled, compile_text

_OPENAT = """name: sys_enter_openat
ID: 700
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:int flags;\toffset:32;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;

print fmt: "dfd: 0x%08lx", ((unsigned long)(REC->dfd))
"""

_SWITCH = """name: sched_switch
ID: 314
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
\tfield:char next_comm[16];\toffset:40;\tsize:16;\tsigned:0;
\tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] note;\toffset:60;\tsize:4;\tsigned:0;

print fmt: "%s", REC->prev_comm
"""

ROOT = "/sys/kernel/tracing"

FILES: dict[str, str | int] = {
    f"{ROOT}/events/syscalls/sys_enter_openat/format": _OPENAT,
    f"{ROOT}/events/syscalls/sys_enter_open/format": _OPENAT.replace("openat", "open"),
    f"{ROOT}/events/sched/sched_switch/format": _SWITCH,
    f"{ROOT}/events/sched/sched_wakeup/format": _SWITCH.replace("sched_switch", "sched_wakeup"),
    f"{ROOT}/available_events": "syscalls:sys_enter_openat\nsyscalls:sys_enter_open\nsched:sched_switch\n"
    "sched:sched_wakeup\n",
    f"{ROOT}/available_filter_functions": "do_sys_open\ndo_sys_openat2\nvfs_read\nvfs_readv\nvfs_write\n"
    "tcp_sendmsg\nkernel_clone\n__kmalloc\n__kmalloc_noprof\nkvm_exit [kvm]\n",
    "/proc/mounts": f"tracefs {ROOT} tracefs rw 0 0\n",
    "/proc/self/mounts": f"tracefs {ROOT} tracefs rw 0 0\n",
    "/proc/self/mountinfo": f"25 20 0:12 / {ROOT} rw - tracefs tracefs rw\n",
}


def machine(**known: object) -> Machine:
    """A recorded machine; ``known``: facts, with dots as underscores."""
    facts = {
        "kernel.version": [6, 1],
        "kernel.release": "6.1.0",
        "kernel.arch": "x86_64",
        "tracefs": Answer(),
        "tracefs.root": ROOT,
    }
    facts.update({name.replace("_", "."): value for name, value in known.items()})
    return Machine(facts, dict(FILES), live=False)


def compiled(text: str, **options: object) -> Compiled:
    """The program compiled on the recorded machine."""
    return compile_text(text, machine(), **options)  # type: ignore[arg-type]


def body(text: str) -> tuple[ir.Stmt, ...]:
    """The statements of a begin clause with this body."""
    return compiled(f"begin {{ {text} }}").program.clauses[-1].body


def refusal(text: str, **options: object) -> SpecError:
    """The error that a program gives."""
    try:
        compiled(text, **options)
    except SpecError as error:
        return error
    raise AssertionError(f"accepted: {text}")

"""The BPF instruction set, as data (Documentation/bpf/standardization/instruction-set.rst)."""

from __future__ import annotations

import struct

__all__ = ["ALU", "CLASS_ALU32", "CLASS_ALU64", "HELPERS", "JUMP", "SIZE", "encode", "signed32"]

# classes
CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU32, CLASS_JMP, CLASS_ALU64 = 0, 1, 2, 3, 4, 5, 7

SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
MODE_IMM, MODE_MEM, MODE_ATOMIC = 0x00, 0x60, 0xC0
SOURCE_REGISTER = 0x08

ALU = {
    "+": 0x00, "-": 0x10, "*": 0x20, "/": 0x30, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70,
    "neg": 0x80, "%": 0x90, "^": 0xA0, "mov": 0xB0, "s>>": 0xC0,
}  # fmt: skip

JUMP = {
    "ja": 0x00, "==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "s>": 0x60, "s>=": 0x70,
    "call": 0x80, "exit": 0x90, "<": 0xA0, "<=": 0xB0, "s<": 0xC0, "s<=": 0xD0,
}  # fmt: skip

OPPOSITE = {
    "==": "!=", "!=": "==", ">": "<=", "<=": ">", "<": ">=", ">=": "<",
    "s>": "s<=", "s<=": "s>", "s<": "s>=", "s>=": "s<",
}  # fmt: skip

PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_FUNC = 1, 2, 4

HELPERS = {
    "map_lookup_elem": 1,
    "map_update_elem": 2,
    "map_delete_elem": 3,
    "probe_read": 4,
    "ktime_get_ns": 5,
    "trace_printk": 6,
    "get_prandom_u32": 7,
    "get_smp_processor_id": 8,
    "get_current_pid_tgid": 14,
    "get_current_uid_gid": 15,
    "get_current_comm": 16,
    "perf_event_output": 25,
    "get_current_task": 35,
    "get_numa_node_id": 42,
    "probe_read_str": 45,
    "get_socket_cookie": 46,
    "get_stack": 67,
    "get_current_cgroup_id": 80,
    "send_signal": 109,
    "probe_read_user": 112,
    "probe_read_kernel": 113,
    "probe_read_user_str": 114,
    "probe_read_kernel_str": 115,
    "send_signal_thread": 117,
    "jiffies64": 118,
    "ktime_get_boot_ns": 125,
    "ringbuf_reserve": 131,
    "ringbuf_submit": 132,
    "ringbuf_discard": 133,
    "get_current_task_btf": 158,
    "for_each_map_elem": 164,
    "get_func_ip": 173,
    "get_attach_cookie": 174,
    "loop": 181,
    "map_lookup_percpu_elem": 195,
}


def signed32(value: int) -> bool:
    """Whether ``value`` fits the signed 32 bits of an immediate."""
    return -(1 << 31) <= value < 1 << 31


def encode(op: int, dst: int, src: int, off: int, imm: int) -> bytes:
    """One instruction: op, registers, 16-bit offset, 32-bit immediate (either sign)."""
    return struct.pack("<BBhI", op, dst | src << 4, off, imm & 0xFFFFFFFF)

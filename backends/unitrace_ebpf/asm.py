"""The assembler: instructions with labels, names to be linked, and the place in the source of each."""

from __future__ import annotations

from collections.abc import Mapping

from unitrace.contract.ir import Span

from . import insn
from .insn import ALU, CLASS_ALU32, CLASS_ALU64, HELPERS, JUMP, SIZE, encode, signed32

__all__ = ["Code", "Immediate", "Label", "Row"]

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP = range(11)


class Label:
    """A place to jump to; ``Code.place`` says where it is."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = -1


Immediate = int | str | Label
Row = tuple[int, int, int, int | Label, Immediate]


class Code:
    """A program under construction.

    ``rows``: (op, dst, src, off, imm); ``off`` may be a Label, ``imm`` a name that ``link`` knows (a map's
    file descriptor, a record's size) or, of a callback's address, a Label. ``spans``: the source of each
    instruction. ``labels``: those placed. ``apart``: callbacks that wait for the end; ``starts``: where
    they are then.
    """

    __slots__ = ("apart", "labels", "rows", "span", "spans", "starts")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.spans: list[Span | None] = []
        self.span: Span | None = None
        self.labels: list[Label] = []
        self.apart: list[tuple[Label, list[Label], list[Row], list[Span | None]]] = []
        self.starts: list[Label] = []

    def _emit(self, op: int, dst: int = 0, src: int = 0, off: int | Label = 0, imm: Immediate = 0) -> None:
        self.rows.append((op, dst, src, off, imm))
        self.spans.append(self.span)

    def label(self) -> Label:
        """A label, to be placed later."""
        return Label()

    def place(self, label: Label) -> None:
        """The next instruction is what ``label`` means."""
        label.at = len(self.rows)
        self.labels.append(label)

    def so_far(self) -> tuple[int, int, int]:
        """What ``back_to`` needs to forget what comes next."""
        return len(self.rows), len(self.labels), len(self.apart)

    def back_to(self, before: tuple[int, int, int]) -> None:
        """Forget all that was emitted since."""
        rows, labels, apart = before
        del self.rows[rows:], self.spans[rows:], self.labels[labels:], self.apart[apart:]

    # --- moves and arithmetic -------------------------------------------------------------------

    def alu(self, op: str, dst: int, src: int, *, wide: bool = True) -> None:
        """``dst op= src`` (registers)."""
        self._emit((CLASS_ALU64 if wide else CLASS_ALU32) | insn.SOURCE_REGISTER | ALU[op], dst, src)

    def alui(self, op: str, dst: int, value: int | str, *, wide: bool = True) -> None:
        """``dst op= value``, which fits 32 bits, signed (or is a name)."""
        self._emit((CLASS_ALU64 if wide else CLASS_ALU32) | ALU[op], dst, imm=value)

    def mov(self, dst: int, src: int) -> None:
        if dst != src:
            self.alu("mov", dst, src)

    def const(self, dst: int, value: int) -> None:
        """Load a constant of up to 64 bits; either sign."""
        value &= (1 << 64) - 1
        narrow = value - (1 << 64) if value >> 63 else value
        if signed32(narrow):
            self.alui("mov", dst, narrow)
        elif value < 1 << 32:
            self.alui("mov", dst, value, wide=False)
        else:
            self._wide(dst, 0, value & 0xFFFFFFFF, value >> 32)

    def _wide(self, dst: int, src: int, low: Immediate, high: int) -> None:
        self._emit(insn.CLASS_LD | SIZE[8] | insn.MODE_IMM, dst, src, imm=low)
        self._emit(0, imm=high)

    def map(self, dst: int, name: str) -> None:
        """Load a map by its name."""
        self._wide(dst, insn.PSEUDO_MAP_FD, name, 0)

    def map_value(self, dst: int, name: str) -> None:
        """Load the address of an array map's first value (5.2)."""
        self._wide(dst, insn.PSEUDO_MAP_VALUE, name, 0)

    def extend(self, reg: int, bits: int, signed: bool) -> None:
        """Make the low ``bits`` of a register its value: sign- or zero-extended to 64."""
        if bits == 64:
            return
        if signed:
            self.alui("<<", reg, 64 - bits)
            self.alui("s>>", reg, 64 - bits)
        elif bits == 32:
            self.alu("mov", reg, reg, wide=False)
        else:
            self.alui("&", reg, (1 << bits) - 1)

    def swap(self, reg: int, bits: int) -> None:
        """Reverse the bytes of the low 16, 32 or 64 bits, the rest being zero (BPF_END, BPF_TO_BE)."""
        self._emit(CLASS_ALU32 | 0xD8, reg, imm=bits)

    # --- memory -----------------------------------------------------------------------------------

    def load(self, dst: int, base: int, off: int, size: int) -> None:
        """``dst = *(unsigned of size *)(base + off)``."""
        self._emit(insn.CLASS_LDX | SIZE[size] | insn.MODE_MEM, dst, base, off)

    def store(self, base: int, off: int, src: int, size: int) -> None:
        self._emit(insn.CLASS_STX | SIZE[size] | insn.MODE_MEM, base, src, off)

    def storei(self, base: int, off: int, value: int | str, size: int) -> None:
        """Store a constant that fits 32 bits, signed."""
        self._emit(insn.CLASS_ST | SIZE[size] | insn.MODE_MEM, base, 0, off, value)

    def add_memory(self, base: int, off: int, src: int, *, atomic: bool, scratch: int) -> None:
        """``*(u64 *)(base + off) += src``; ``scratch`` is clobbered unless atomic (BPF_XADD)."""
        if atomic:
            self._emit(insn.CLASS_STX | SIZE[8] | insn.MODE_ATOMIC, base, src, off)
        else:
            self.load(scratch, base, off, 8)
            self.alu("+", scratch, src)
            self.store(base, off, scratch, 8)

    # --- control ----------------------------------------------------------------------------------

    def jump(self, to: Label) -> None:
        self._emit(insn.CLASS_JMP | JUMP["ja"], off=to)

    def jump_if(self, op: str, left: int, right: int, to: Label) -> None:
        """Jump where ``left op right`` holds (registers, 64 bits)."""
        self._emit(insn.CLASS_JMP | insn.SOURCE_REGISTER | JUMP[op], left, right, to)

    def jump_ifi(self, op: str, left: int, value: int, to: Label) -> None:
        """Jump where ``left op value`` holds; the value fits 32 bits, signed (and is sign-extended)."""
        self._emit(insn.CLASS_JMP | JUMP[op], left, 0, to, value)

    def call(self, helper: str) -> None:
        """Call a helper: R1-R5 in and lost, R0 out."""
        self._emit(insn.CLASS_JMP | JUMP["call"], imm=HELPERS[helper])

    def exit(self) -> None:
        self._emit(insn.CLASS_JMP | JUMP["exit"])

    # --- the end ----------------------------------------------------------------------------------

    def names(self, name: str) -> bool:
        """Whether ``name`` is one of those that ``link`` must know."""
        return any(row[4] == name for row in self.rows)

    def rename(self, name: str, to: str) -> None:
        """Another name for what ``name`` stood for."""
        self.rows = [(*row[:4], to) if row[4] == name else row for row in self.rows]

    def callback(self, dst: int, start: Label) -> None:
        """Load the address of a function of ours (5.13)."""
        self._wide(dst, insn.PSEUDO_FUNC, start, 0)

    def here(self) -> tuple[int, int]:
        """Where what comes next begins, for ``take_apart``."""
        return len(self.rows), len(self.labels)

    def take_apart(self, start: Label, since: tuple[int, int], frame: int, instead: int) -> None:
        """Make what was emitted since a function of its own, which ``gather`` puts behind the program. In it,
        register ``instead`` stands for ``frame``."""
        first, placed = since

        def other(reg: int) -> int:
            return instead if reg == frame else reg

        rows = [
            (op, other(dst), src if op & 7 == insn.CLASS_LD else other(src), off, imm)
            for op, dst, src, off, imm in self.rows[first:]
        ]
        inside = self.labels[placed:]
        del self.labels[placed:]
        for label in inside:
            label.at -= first
        self.apart.append((start, inside, rows, self.spans[first:]))
        del self.rows[first:]
        del self.spans[first:]

    def gather(self) -> None:
        """Put the callbacks behind the program."""
        for start, inside, rows, spans in self.apart:
            base = len(self.rows)
            start.at = base
            for label in inside:
                label.at += base
            self.labels += [start, *inside]
            self.starts.append(start)
            self.rows += rows
            self.spans += spans
        self.apart.clear()

    def prune(self) -> None:
        """Drop what no path reaches: the verifier takes no dead code."""
        rows = self.rows
        reached = bytearray(len(rows) + 1)
        waiting = [0]
        while waiting:
            at = waiting.pop()
            while at < len(rows) and not reached[at]:
                reached[at] = 1
                op, _, _, off, imm = rows[at]
                if isinstance(imm, Label):
                    waiting.append(imm.at)
                if op == insn.CLASS_LD | SIZE[8] | insn.MODE_IMM:  # two slots
                    at += 1
                    reached[at] = 1
                elif op == insn.CLASS_JMP | JUMP["exit"]:
                    break
                elif isinstance(off, Label):
                    if op == insn.CLASS_JMP | JUMP["ja"]:
                        at = off.at
                        continue
                    waiting.append(off.at)
                at += 1
        if sum(reached) == len(rows):
            return
        to, kept = [], 0
        for one in reached:
            to.append(kept)
            kept += one
        self.starts = [start for start in self.starts if reached[start.at]]
        labels = {one for row in rows for one in (row[3], row[4]) if isinstance(one, Label)}
        self.spans = [span for span, one in zip(self.spans, reached) if one]
        self.rows = [row for row, one in zip(rows, reached) if one]
        for label in labels:
            label.at = to[label.at]

    def link(self, names: Mapping[str, int]) -> bytes:
        """The program's bytes: labels become distances, names their numbers. ValueError where a jump
        is too far for 16 bits."""
        out = bytearray()
        for at, (op, dst, src, off, imm) in enumerate(self.rows):
            distance = off.at - at - 1 if isinstance(off, Label) else off
            if not -32768 <= distance < 32768:
                raise ValueError(f"jump over {distance} instructions")
            if isinstance(imm, Label):
                imm = imm.at - at - 1
            out += encode(op, dst, src, distance, names[imm] if isinstance(imm, str) else imm)
        return bytes(out)

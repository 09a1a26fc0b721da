"""Programs as text: instructions as the kernel's verifier writes them, the source's lines above those made of
them."""

from __future__ import annotations

from collections.abc import Iterator

from unitrace.contract.backend import describe
from unitrace.contract.offer import Offer

from . import insn
from .asm import Code, Immediate, Label, Row
from .offer import Plan

__all__ = ["listing"]

_ALU = {number: name for name, number in insn.ALU.items()}
_JUMP = {number: name for name, number in insn.JUMP.items()}
_SIZE = {number: 8 * size for size, number in insn.SIZE.items()}
_HELPER = {number: name for name, number in insn.HELPERS.items()}


def listing(offer: Offer) -> Iterator[str]:
    """Each program once, under the probes that it hangs on."""
    seen: dict[int, int] = {}
    source = offer.request.source.splitlines()
    for share in offer.shares:
        plan = share.plan
        assert isinstance(plan, Plan)
        compiled = plan.compiled
        head = f"{describe(share.clause.probe)}, by {share.how}"
        if id(compiled) in seen:
            yield f"{head}: the program of clause {seen[id(compiled)]}"
            continue
        seen[id(compiled)] = share.clause.ordinal
        what = "runs whole" if plan.kept else "sends its events"
        yield f"{head}: clause {share.clause.ordinal} {what}, {len(compiled.code.rows)} instructions"
        yield from _rows(compiled.code, source)


def _rows(code: Code, source: list[str]) -> Iterator[str]:
    targets = {one.at for row in code.rows for one in row[3:] if isinstance(one, Label)}
    line, skip = 0, False
    for at, (row, span) in enumerate(zip(code.rows, code.spans)):
        if skip:
            skip = False
            continue
        if span is not None and span.line != line and span.line <= len(source):
            line = span.line
            yield f"; {source[line - 1].strip()}"
        skip = row[0] == insn.CLASS_LD | insn.SIZE[8] | insn.MODE_IMM
        high = code.rows[at + 1][4] if skip else 0
        yield f"{'>' if at in targets else ' '}{at:5}: {_text(at, row, high)}"


def _text(at: int, row: Row, high: Immediate) -> str:
    op, dst, src, off, imm = row
    kind, size = op & 7, _SIZE.get(op & 0x18, 0)
    place = off.at if isinstance(off, Label) else at + 1 + off
    if kind == insn.CLASS_LD:
        if isinstance(imm, Label) or isinstance(high, Label):
            return f"r{dst} = the function at {imm.at if isinstance(imm, Label) else high}"
        if src:
            return f"r{dst} = {imm}" + (" (its value)" if src == insn.PSEUDO_MAP_VALUE else "")
        return f"r{dst} = {int(imm) | int(high) << 32:#x}"
    memory = off if isinstance(off, int) else 0
    if kind == insn.CLASS_LDX:
        return f"r{dst} = *(u{size} *)(r{src} {memory:+})"
    if kind in (insn.CLASS_ST, insn.CLASS_STX):
        value = f"r{src}" if kind == insn.CLASS_STX else imm
        if op & 0xE0 == insn.MODE_ATOMIC:
            return f"lock *(u{size} *)(r{dst} {memory:+}) += r{src}"
        return f"*(u{size} *)(r{dst} {memory:+}) = {value}"
    by = f"r{src}" if op & insn.SOURCE_REGISTER else imm
    if kind == insn.CLASS_JMP:
        name = _JUMP.get(op & 0xF0, "?")
        if name == "call":
            return f"call {_HELPER.get(imm, imm) if isinstance(imm, int) else imm}"
        if name in ("exit", "ja"):
            return "exit" if name == "exit" else f"goto {place}"
        return f"if r{dst} {name} {by} goto {place}"
    name, reg = _ALU.get(op & 0xF0, "swap"), "w" if kind == insn.CLASS_ALU32 else "r"
    if name == "mov":
        return f"{reg}{dst} = {by}"
    if name == "neg":
        return f"{reg}{dst} = -{reg}{dst}"
    if name == "swap":
        return f"r{dst} = be{imm} r{dst}"
    return f"{reg}{dst} {name}= {by}"

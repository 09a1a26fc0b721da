"""Inputs that are wrong: by words exchanged, by bytes, by size and by depth."""

from __future__ import annotations

import re
from random import Random

from .grammar import BINARY, INTEGERS, PROBES, STRINGS, TEXTS, TYPES, WORDS

__all__ = ["bytes_of_any_kind", "exchanged", "huge", "nested"]

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|[$@]\w*|\d\w*|\s+|.', re.DOTALL)
_SPARE = (*BINARY, *INTEGERS, *PROBES[-12:], *STRINGS, *TEXTS, *TYPES, *WORDS, *"{}()[];,.:?=@$#!~&|<>/\\'\"`\n",
          "if", "else", "while", "for", "unroll", "let", "macro", "struct", "enum", "union", "typedef", "config", "import",
          "fn", "return", "break", "continue", "sizeof", "offsetof", "args", "..", "->", "++", "--", "/*", "*/", "//", "#!",
          "$0", "$99999999999", "@@", "0x", "1e99", "08", "1__0", "9s", "begin", "__attribute__", "count()", "hist(1)")  # fmt: skip
_BYTES = bytes(range(256)) + b'{}()[];"/\\@$' * 8


def exchanged(chance: Random, text: str) -> str:
    """``text`` with a few of its words removed, doubled, exchanged, or replaced by others."""
    words = _WORD.findall(text)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at, how = chance.randrange(len(words)), chance.random()
        if how < 0.25:
            words[at] = ""
        elif how < 0.4:
            words.insert(at, words[chance.randrange(len(words))])
        elif how < 0.55:
            other = chance.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif how < 0.6:
            del words[at + 1 :]
        else:
            words[at] = chance.choice(_SPARE)
    return "".join(words)


def bytes_of_any_kind(chance: Random, text: str) -> bytes:
    """Bytes: of chance alone, or ``text`` with some of its bytes changed; not always UTF-8."""
    if chance.random() < 0.2:
        return bytes(chance.choices(_BYTES, k=chance.choice((0, 1, 2, 5, 20, 100))))
    data = bytearray(text.encode("utf-8", "surrogateescape"))
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(data) + 1)
        if chance.random() < 0.5:
            data[at:at] = bytes((chance.choice(_BYTES),))
        else:
            data[at : at + chance.randrange(4)] = bytes((chance.choice(_BYTES),))
    return bytes(data)


def huge(chance: Random) -> str:
    """Numbers, strings, names, formats and lists that are too long."""
    size = chance.choice((20, 21, 40, 41, 64, 65, 200, 1025, 5000))
    digits = "".join(chance.choices("0123456789", k=size))
    return chance.choice((
        f"begin {{ print({digits}); }}", f"begin {{ print(0x{digits}); }}", f"begin {{ print(1e{digits}); }}",
        f"begin {{ print({digits}s); }}", f'begin {{ print("{digits}"); }}', f"begin {{ @{'n' * size} = 1; }}",
        f"begin {{ @x[{', '.join(digits)}] = 1; }}", f"begin {{ print(({', '.join(digits)})); }}",
        f'begin {{ printf("{"%d " * size}"{", 1" * size}); }}', f"begin {{ printf(\"%{digits}d\", 1); }}",
        f"begin {{ $x = (uint8[{digits}])1; }}", f"begin {{ let $x: string[{digits}]; }}", f"kprobe:{'f' * size} {{ }}",
        f"begin {{ print(${digits}); }}", f"interval:s:{digits} {{ }}", f"profile:hz:{digits} {{ }}",
        f"struct A {{ int x[{digits}]; }} begin {{ print(sizeof(struct A)); }}", "begin { @ = 1; }" * min(size, 64),
        f"kprobe:vfs_read+{digits} {{ }}", f"config = {{ max_strlen={digits} }} begin {{ }}", f"begin {{ exit({digits}); }}",
        f"begin {{ @ = lhist(1, 0, {digits}, 1); }}", f"begin {{ @ = hist(1, {digits}); }}", f"begin {{ unroll({digits}) {{ }} }}",
        f"begin {{ print(((1, 2)).{digits}); }}", f"let @a = hash({digits}); begin {{ @a[1] = 1; }}", "\n" * size + "begin {",
        f"begin {{ for ($i : 0..{digits}) {{ break; }} }}", f"begin {{ print(arg{digits}); }}", f"enum {{ A = {digits} }}; begin {{ print(A); }}",
        f"begin {{ print(1 << {digits[:18]}); print(1 >> {digits[:18]}); }}", f"begin {{ print(str(0, {digits[:19]})); }}",
        f'begin {{ print(strftime("%{digits}Y%f%", {digits[:19]})); }}', f"begin {{ print(buf(\"a\", {digits[:19]})); }}",
        f"begin {{ print(kstack({digits[:19]})); }}", f'begin {{ print(strncmp("a", "b", {digits[:19]})); }}',
        f"begin {{ @ = tseries(1, {digits[:19]}, {digits[:6]}); }}", f'begin {{ print(pton("{digits}")); }}',
    ))  # fmt: skip


def nested(chance: Random) -> str:
    """Brackets, blocks, operators and the like, deep in one another."""
    deep = chance.choice((5, 20, 21, 50, 99, 100, 101, 300, 2000))
    left, middle, right = chance.choice((
        ("begin { print(", "1", "); }"), ("begin { $x = ", "1", "; }"), ("begin { @[", "1", "] = 1; }"),
        ("begin /", "1", "/ { }"), ("begin { if (", "1", ") { } }"), ("begin { ", "$x = 1;", " }"),
        ("begin { ", "@++;", " }"), ("kprobe:vfs_read { ", "print(pid);", " }"),
    ))  # fmt: skip
    if left.endswith("{ "):
        one, other = chance.choice((
            ("if (1) { ", " }"), ("while (1) { ", " break; }"), ("for ($i : 0..2) { ", " }"), ("unroll (2) { ", " }"),
            ("{ ", " }"), ("if (pid) { } else { ", " }"), ("if (pid) { } else if (pid) { ", " }"),
        ))  # fmt: skip
        if one.startswith("unroll"):
            deep = min(deep, 8)  # each level doubles the work: slow, not wrong
        elif one.startswith("for"):
            deep = min(deep, 12) if chance.random() < 0.9 else deep
    else:
        one, other = chance.choice((
            ("(", ")"), ("-", ""), ("!", ""), ("~", ""), ("(1, ", ")"), ("(uint8)", ""), ("1 + ", ""), ("", " + 1"), ("1 ? ", " : 2"),
            ("(1 ? 2 : ", ")"), ("{ ", " }"), ("strlen(", ")"), ("@a[", "]"), ("sizeof(", ")"), ("*", ""), ("(a=", ")"),
            ("1 ? 2 : ", ""), ("", "[0]"), ("", ".0"), ("", "->x"), ("++", ""), ("if (1) { ", " } else { 2 }"), ("1 && ", ""),
        ))  # fmt: skip
    if chance.random() < 0.1:
        return left + one * deep + middle  # never closed
    return left + one * deep + middle + other * deep + right

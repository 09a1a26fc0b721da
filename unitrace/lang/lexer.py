"""Words of the language: one compiled expression cuts them, one at a time, where the parser asks.

Probes are not made of these words (``uprobe:/bin/a-b:c``), so the parser reads them by ``probe``.
"""

from __future__ import annotations

import re

from .source import Source

__all__ = ["Lexer", "decode_number", "decode_string"]

_LAYOUT = r"(?:[ \t\r\n\f\v]+|//[^\n]*|/\*.*?\*/)*"
_TOKEN = re.compile(
    f"{_LAYOUT}(?:"
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>[0-9][0-9A-Za-z_]*)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<var>\$[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<map>@(?:[A-Za-z_][A-Za-z0-9_]*)?)"
    r"|(?P<positional>\$(?:[0-9]+|\#))"
    r"|(?P<op><<=|>>=|\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.()\[\]{}\#])"
    r"|(?P<end>\Z))",
    re.DOTALL,
)
_SKIP = re.compile(_LAYOUT, re.DOTALL)

_PATHS = frozenset(("uprobe", "u", "uretprobe", "ur", "usdt", "U", "iter", "it"))
"""Probe types whose targets may hold a slash."""


class Lexer:
    """A cursor over the text. ``kind``, ``value``, ``start`` and ``end`` are those of the word under it."""

    __slots__ = ("end", "kind", "last_end", "source", "start", "text", "value")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.kind = "end"
        self.value = ""
        self.start = self.end = self.last_end = 0
        self.seek(0)

    def next(self) -> None:
        """Go to the next word. Raises SpecError where there is none."""
        found = _TOKEN.match(self.text, self.end)
        self.last_end = self.end
        if found is None:
            self._refuse()
            return
        self.kind = found.lastgroup or "end"
        group = found.lastindex or 0
        self.start, self.end = found.span(group)
        self.value = found[group]
        if self.value == "/" and self.text.startswith("*", self.end):
            raise self.source.error("syntax: unterminated comment", self.start, self.end + 1)

    def seek(self, offset: int) -> None:
        """Go to the word at or after ``offset``."""
        self.end = offset
        self.next()

    def skip(self, offset: int) -> int:
        """Where the next word after ``offset`` begins."""
        found = _SKIP.match(self.text, offset)
        return found.end() if found else offset

    def peek(self) -> str:
        """The first character of the next word, "" at the end."""
        at = self.skip(self.end)
        return self.text[at : at + 1]

    def _refuse(self) -> None:
        at = self.skip(self.end)
        bad = self.text[at]
        # move on, so that a parser that goes on after the error meets something else
        self.kind, self.start, self.end, self.value = "bad", at, at + 1, bad
        if bad == '"':
            stop = self.text.find("\n", at)
            self.end = len(self.text) if stop < 0 else stop
            raise self.source.error("syntax: unterminated string", at, self.end)
        if bad == "$":
            raise self.source.error("syntax: expected identifier after '$'", at, at + 1)
        raise self.source.error(f"syntax: unexpected character {bad!r}", at, at + 1)

    def probe(self) -> tuple[str, int, int]:
        """The attach point that begins at the word under the cursor: text, start, end. The cursor then
        stands on the word after it."""
        text, start = self.text, self.start
        at, size = start, len(text)
        while at < size:
            c = text[at]
            if c in "{,;" or c.isspace():
                break
            if c == '"':
                at = self._quoted(at)
                continue
            if c == "/" and at > start:
                kind = text[start:at].partition(":")[0].rpartition("=")[2]
                if kind not in _PATHS or ":" not in text[start:at]:
                    break
            at += 1
        self.seek(at)
        return text[start:at], start, at

    def _quoted(self, at: int) -> int:
        start = at
        at += 1
        while at < len(self.text) and self.text[at] != '"':
            at += 2 if self.text[at] == "\\" else 1
        if at >= len(self.text):
            raise self.source.error("syntax: unterminated string", start, start + 1)
        return at + 1


# (These are left to re to compile and to keep: few programs need all.)
_NUMBER = (
    r"(?:(?P<hex>0[xX](?P<digits>[0-9a-fA-F_]*))|(?P<mantissa>[0-9][0-9_]*?)_*(?:[eE](?P<power>[0-9][0-9_]*))?)"
    r"(?P<suffix>ns|us|ms|[smhd]|[uU](?:[lL][lL]?)?|[lL][lL]?[uU]?|)"
)
_UNITS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip


def decode_number(text: str) -> int:
    """The value of an integer literal: decimal, octal, hexadecimal, ``1e6``, ``1_000``, C suffixes, and
    durations in ns. ValueError with the reason, as a message."""
    found = re.fullmatch(_NUMBER, text)
    if found is None:
        plain = re.match(r"0[xX][0-9a-fA-F_]*|[0-9][0-9_]*(?:[eE][0-9]+)?", text)
        rest = text[plain.end() :] if plain else text
        raise ValueError(f"invalid integer suffix '{rest}'" if rest else f"invalid integer: {text}")
    body = text[: found.start("suffix")]
    if body.endswith("_"):
        raise ValueError("trailing underscore in integer literal")
    suffix = found["suffix"]
    if found["hex"]:
        if not found["digits"].replace("_", ""):
            raise ValueError(f"invalid integer: {text}")
        value = int(found["digits"].replace("_", ""), 16)
    else:
        digits = found["mantissa"].replace("_", "")
        if len(digits) > 40:
            raise ValueError(f"integer out of range: {text[:20]}...")
        if found["power"]:
            power = int(found["power"].replace("_", "")[:4])
            if power > 16:
                raise ValueError(f"exponent will overflow integer range: {power}")
            if len(digits) > 1 and int(digits) > 9:
                raise ValueError(f"coefficient part of scientific literal must be 1-9: {digits}")
            value = int(digits) * 10**power
        elif len(digits) > 1 and digits[0] == "0":
            if not set(digits) <= set("01234567"):
                raise ValueError(f"invalid octal integer: {text}")
            value = int(digits, 8)
        else:
            value = int(digits)
    value *= _UNITS.get(suffix, 1)
    if value >= 1 << 64:
        raise ValueError(f"integer out of range: {text[:40]}")
    return value


_PLAIN = {"n": b"\n", "t": b"\t", "r": b"\r", '"': b'"', "\\": b"\\", "a": b"\a", "b": b"\b", "f": b"\f",
          "v": b"\v", "e": b"\x1b"}  # fmt: skip
_ESCAPE = r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|((?s:.)))"


def decode_string(text: str) -> bytes:
    """The bytes of a string literal, quotes included in ``text``. ValueError with the reason."""
    body = text[1:-1]
    if "\\" not in body:
        return body.encode("utf-8", "surrogateescape")
    out, at = [], 0
    for found in re.finditer(_ESCAPE, body):
        out.append(body[at : found.start()].encode("utf-8", "surrogateescape"))
        octal, hexadecimal, other = found.groups()
        if octal:
            if int(octal, 8) > 255:
                raise ValueError(f"octal escape sequence out of range '\\{octal}'")
            out.append(bytes((int(octal, 8),)))
        elif hexadecimal:
            out.append(bytes((int(hexadecimal, 16),)))
        elif other in _PLAIN:
            out.append(_PLAIN[other])
        elif other in "xX":
            raise ValueError("invalid hex escape sequence")
        else:
            raise ValueError(f"invalid escape character '\\{other}'")
        at = found.end()
    out.append(body[at:].encode("utf-8", "surrogateescape"))
    return b"".join(out)

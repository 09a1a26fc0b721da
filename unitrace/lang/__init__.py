"""The front end: bpftrace's language, from text to the contract's IR."""

from __future__ import annotations

from .compiler import Compiled, compile_text
from .parser import parse

__all__ = ["Compiled", "compile_text", "parse"]

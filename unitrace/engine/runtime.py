"""What running clauses share: where records go, warnings, clocks, and our own process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from unitrace.contract.ir import Clause, MapDecl, Span
from unitrace.contract.model import Snapshot
from unitrace.output.records import Message, Out

from .maps import FULL, Store
from .own import Own

if TYPE_CHECKING:
    from unitrace.contract.backend import Attachment, KernelReader

__all__ = ["Exit", "Runtime"]

DIVIDED = (
    "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the result."
)
OUTSIDE = "Array access out of bounds. This can lead to unexpected results."


class Exit(Exception):
    """exit(): thrown by a clause, caught by the engine at that very event."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Runtime:
    """``emit`` takes every record; ``stores``: the maps of user space; ``kept``: who has the kernel's.

    ``reader``: who reads the kernel for clauses that user space fires (engine.own).

    ``to_wall``: nanoseconds from CLOCK_MONOTONIC to CLOCK_REALTIME. A warning is shown the first time at
    each place; ``repeated`` says at the end how often it came again. ``lost``: what clauses couldn't have,
    by cause."""

    def __init__(
        self,
        emit: Callable[[Out], None],
        maps: Iterable[MapDecl] = (),
        kept: Mapping[str, Attachment] | None = None,
        config: Iterable[tuple[str, object]] = (),
        unsafe: bool = False,
        reader: Callable[[], KernelReader] | None = None,
    ) -> None:
        self.emit = emit
        self.unsafe = unsafe
        self.config = dict(config)
        self.kept = kept or {}
        self.stores = {decl.name: self._store(decl) for decl in maps}
        self.own = Own(reader)
        self.started = time.monotonic_ns()
        self.to_wall = time.time_ns() - self.started  # one for the run: differences stay exact
        self.lost: dict[str, int] = {}
        self._lost: dict[str, object] = {}
        self._until = float("inf")
        self._full: dict[str, str] = {}
        self._warned: dict[tuple[str, object], list[object]] = {}

    def _store(self, decl: MapDecl) -> Store:
        """The map, in user space or as seen from there."""
        attachment = self.kept.get(decl.name)
        if attachment is None:
            return Store(decl, self.full)
        from .kept import KeptStore

        return KeptStore(decl, self.full, attachment)  # type: ignore[arg-type]

    def setting(self, name: str, default: int) -> int:
        """A number of the program's config block, or of the environment (BPFTRACE_<NAME>)."""
        value = self.config.get(name, os.environ.get(f"BPFTRACE_{name.upper()}", default))
        try:
            return int(value)  # type: ignore[call-overload, no-any-return]
        except (TypeError, ValueError):
            return default

    def flag(self, name: str, default: bool) -> bool:
        """A switch of the program's config block."""
        value = self.config.get(name, default)
        return value not in (0, False, "0", "false", b"0", b"false")

    def content(self, name: str) -> Callable[[], Snapshot]:
        """What reads map ``name`` for print(): our own, or a backend's."""
        return self.stores[name].shown

    def emptier(self, name: str, how: str) -> Callable[[], None]:
        """What does ``how`` ("clear" or "zero") to map ``name``."""
        attachment = self.kept.get(name)
        if attachment is not None:
            return lambda: getattr(attachment, how)(name)
        store = self.stores[name]
        return store.clear if how == "clear" else store.zero

    def warn(self, text: str, span: Span | None, place: object, count: int = 1) -> None:
        """A runtime warning at ``place`` (any key), shown once and counted."""
        seen = self._warned.get((text, place))
        if seen is not None:
            seen[1] += count  # type: ignore[operator]
            return
        self._warned[text, place] = [span, count - 1]
        self.emit(Message("warning", text, span))

    def repeated(self) -> None:
        """Emit how often warnings came again."""
        for (text, _), (span, again) in self._warned.items():
            if again:
                first = text.partition("\n")[0]
                self.emit(Message("warning", f"{first} ({again} more times)", span))  # type: ignore[arg-type]
        self._warned.clear()

    def full(self, store: Store, times: int) -> None:
        """A map had no room for a new key, ``times`` times."""
        text = self._full.get(store.decl.name)
        if text is None:
            text = FULL.format("@" + store.decl.name.lstrip("@"))
            text += "\nAdditional Info - helper: map_update_elem, retcode: -7"
            self._full[store.decl.name] = text
        self.warn(text, None, store.decl.name, times)

    def hurry(self) -> None:
        """The user wants it to end: from half a second on, what takes long is left out. Safe in a signal
        handler."""
        self._until = min(self._until, time.monotonic() + 0.5)

    @property
    def late(self) -> bool:
        """Whether what takes long is to be left out."""
        return time.monotonic() > self._until

    def lose(self, cause: str, what: object = None) -> None:
        """Count a loss: once, however often in a row ``what`` was lost is asked for."""
        if what is None or self._lost.get(cause) != what:
            self._lost[cause] = what
            self.lost[cause] = self.lost.get(cause, 0) + 1

    def zero_division(self, clause: Clause) -> Callable[[], int]:
        """What stands for a quotient by zero in ``clause``: 1, and a warning."""

        def divided() -> int:
            self.warn(DIVIDED, clause.span, clause.ordinal)
            return 1

        return divided

    def out_of_bounds(self, clause: Clause) -> Callable[[], None]:
        """What is called when an index leaves its array."""
        return lambda: self.warn(OUTSIDE, clause.span, clause.ordinal)

    @staticmethod
    def strftime(form: bytes, stamp: int) -> bytes:
        """Local time ``stamp`` (ns since the epoch) by strftime(3)'s rules; %f: microseconds."""
        seconds, rest = divmod(stamp, 1_000_000_000)
        text = form.decode("utf-8", "surrogateescape").replace("%f", f"{rest // 1000:06d}")
        return time.strftime(text, time.localtime(seconds)).encode("utf-8", "surrogateescape")

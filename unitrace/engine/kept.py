"""A map that lives in the kernel, as clauses see it that user space fires."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from unitrace.contract.ir import MapDecl
from unitrace.contract.model import Snapshot

from .maps import Store
from .values import zero

if TYPE_CHECKING:
    from unitrace.contract.backend import Holder

__all__ = ["KeptStore"]


class KeptStore(Store):
    """A Store whose ``data`` is in the kernel; each access is a system call."""

    __slots__ = ()

    def __init__(self, decl: MapDecl, full: Callable[[Store, int], None], attachment: Holder) -> None:
        super().__init__(decl, full)
        self.data = _Data(self, attachment)  # type: ignore[assignment]

    def remove(self, key: Any) -> bool:
        data: Any = self.data
        return bool(data.discard(key))

    def document(self, state: Any) -> Any:
        return state  # as a snapshot has it already

    def snapshot(self) -> Snapshot:
        data: Any = self.data
        content: Snapshot = data.snapshot()
        return content

    def shown(self) -> Snapshot:
        content = self.snapshot()
        return content if content or self.decl.key else {(): zero(self.decl.value)}


class _Data:
    """As much of a dict as the engine uses. Keys are as a Store's, values as a snapshot's."""

    __slots__ = ("_attachment", "_name", "_store")

    def __init__(self, store: KeptStore, attachment: Holder) -> None:
        self._store = store
        self._name = store.decl.name
        self._attachment = attachment

    def _parts(self, key: Any) -> tuple[Any, ...]:
        parts: tuple[Any, ...] = self._store.parts(key)
        return parts

    def get(self, key: Any, default: Any = None) -> Any:
        value = self._attachment.lookup(self._name, self._parts(key))
        return default if value is None else value

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: Any) -> bool:
        return self.get(key) is not None

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._attachment.store(self._name, self._parts(key), value):
            self._store.dropped += 1
            self._store.full(self._store, 1)

    def pop(self, key: Any, default: Any = None) -> Any:
        value = self.get(key, default)
        return value if self.discard(key) else default

    def discard(self, key: Any) -> bool:
        """Remove a key; whether it was there."""
        return self._attachment.remove(self._name, self._parts(key))

    def clear(self) -> None:
        self._attachment.clear(self._name)

    def snapshot(self) -> Snapshot:
        return self._attachment.snapshot(self._name)

    def items(self) -> list[tuple[Any, Any]]:
        one = len(self._store.decl.key) == 1
        content = self.snapshot()
        return [(key[0] if one else key, value) for key, value in content.items()]

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in self.items()])

    def __len__(self) -> int:
        return len(self.items())

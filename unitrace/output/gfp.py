"""%gr: the flags of a memory allocation by name (include/linux/gfp_types.h of 6.12)."""

from __future__ import annotations

__all__ = ["flags"]

_BITS = {
    name: 1 << bit
    for bit, name in enumerate((
        "DMA", "HIGHMEM", "DMA32", "MOVABLE", "RECLAIMABLE", "HIGH", "IO", "FS", "ZERO", "UNUSED",
        "DIRECT_RECLAIM", "KSWAPD_RECLAIM", "WRITE", "NOWARN", "RETRY_MAYFAIL", "NOFAIL", "NORETRY",
        "MEMALLOC", "COMP", "NOMEMALLOC", "HARDWALL", "THISNODE", "ACCOUNT", "ZEROTAGS", "SKIP_ZERO",
        "SKIP_KASAN", "NO_OBJ_EXT",
    ))
}  # fmt: skip


def _of(*names: str) -> int:
    return sum(_BITS[name] for name in names)


_RECLAIM = ("DIRECT_RECLAIM", "KSWAPD_RECLAIM")
_KERNEL = _of(*_RECLAIM, "IO", "FS")
_USER = _KERNEL | _of("HARDWALL")
_HIGHUSER = _USER | _of("HIGHMEM")
_MOVABLE = _HIGHUSER | _of("MOVABLE", "SKIP_KASAN")
_LIGHT = (_MOVABLE | _of("COMP", "NOMEMALLOC", "NOWARN")) & ~_of(*_RECLAIM)
# the combinations first, the widest before those that are part of it, as the kernel's own table has them
_NAMES = {
    "GFP_TRANSHUGE": _LIGHT | _of("DIRECT_RECLAIM"),
    "GFP_TRANSHUGE_LIGHT": _LIGHT,
    "GFP_HIGHUSER_MOVABLE": _MOVABLE,
    "GFP_HIGHUSER": _HIGHUSER,
    "GFP_USER": _USER,
    "GFP_KERNEL_ACCOUNT": _KERNEL | _of("ACCOUNT"),
    "GFP_KERNEL": _KERNEL,
    "GFP_NOFS": _of(*_RECLAIM, "IO"),
    "GFP_ATOMIC": _of("HIGH", "KSWAPD_RECLAIM"),
    "GFP_NOIO": _of(*_RECLAIM),
    "GFP_NOWAIT": _of("KSWAPD_RECLAIM", "NOWARN"),
    "GFP_DMA": _of("DMA"),
    "__GFP_HIGHMEM": _of("HIGHMEM"),
    "GFP_DMA32": _of("DMA32"),
    # MOVABLE and RECLAIMABLE have no name of their own, as bpftrace has it
    **{f"__GFP_{name}": bit for name, bit in _BITS.items() if bit >= _BITS["HIGH"] and name != "UNUSED"},
}


def flags(number: int) -> bytes:
    """The names of the flags in ``number``, with | between; what has no name in hexadecimal."""
    if not number:
        return b"0"
    found = []
    for name, bits in _NAMES.items():
        if number & bits == bits:
            found.append(name)
            number &= ~bits
    if number:
        found.append(f"{number:#x}")
    return "|".join(found).encode()

"""Statements whose output unitrace and bpftrace must agree on, to the byte.

``@m``, ``$v`` and ``$w`` (also with digits behind) are made unique to each snippet, so that many fit into one program.
Maps of several keys have values of 64 bits: bpftrace 0.27 orders others by more than their own bytes; and no two values are equal, as their order is chance.
"""

from __future__ import annotations

import re

__all__ = ["SNIPPETS", "program"]

SNIPPETS = (
    # --- printf ---
    r'printf("%d %i %u %d\n", 1, -1, 7, 9223372036854775807);',
    r'printf("%x|%X|%o|%#x|%#o|%08x\n", 255, 255, 8, 255, 8, 48879);',
    r'printf("%10s|%-10s|%s|%3s\n", "abc", "abc", "", "longer");',
    r'printf("%c%c%c %%\n", 65, 98, 0x21);',
    r'printf("%hhd %hd %d %ld %lld\n", 300, 70000, 5, -5, -6);',
    r'printf("%hhx %hx %x %lx %llx %jx\n", -1, -1, -1, -1, -1, -1);',
    r'printf("%hhu %hu %u %lu %llu\n", -1, -1, (uint32)-1, -1, -1);',
    r'printf("%p %p\n", 0, 0xdeadbeef);',
    r'printf("%d %s\n", true, true); printf("%s %d\n", false, false);',
    r'printf("%s %s\n", (1, "a"), (1, (2, 3)));',
    r'printf("%s %s\n", 5, -5);',
    r'printf("%r|%rx|%rh\n", buf("a\x01z", 3), buf("a\x01z", 3), buf("a\x01z", 3));',
    r'printf("no arguments\n"); printf("tab\there \"quoted\" back\\slash\n");',
    r'printf("\x41\102\n");',
    r'printf("%d\n", (uint8)255); printf("%d\n", (int8)255); printf("%u\n", (int8)255);',
    r'printf("%lu %ld\n", (uint64)18446744073709551615, (uint64)18446744073709551615);',
    r'printf("%.3s|%5.2s|\n", "abcdef", "abcdef");',
    r'$v = -3; printf("%x %u %d\n", $v, $v, $v);',
    r'$v = (uint32)4294967295; printf("%d %u %x\n", $v, $v, $v);',
    r'printf("%gr|%gr|%gr|%5gr|%-9gr|\n", 0, 0xcc0, 0x10000001, 1, 1);',
    r'printf("%gr %gr %gr %gr\n", 0x7fffff, 0x3fffffff, 0x142dca, 0x1c20ca);',
    # --- literals and casts ---
    r"print((1_000_000, 0x1f, 017, 1e6, 5ms, 2us, 1s, 1m, 1h, 1d));",
    r"print((9223372036854775807, 18446744073709551615, -9223372036854775808));",
    r"print(((uint8)300, (int8)200, (uint16)70000, (int16)40000, (uint32)-1, (int32)3000000000, (uint64)-1));",
    r"print(((int64)(int8)-1, (uint64)(int8)-1, (uint64)(uint8)-1, (int32)(uint16)-1));",
    r"print((sizeof(1), sizeof(200), sizeof(70000), sizeof(3000000000), sizeof((int8)1), sizeof((1, 2))));",
    r"print((sizeof(uint8), sizeof(int16), sizeof(uint32), sizeof(int64), sizeof((uint64)1)));",
    r"print(((bool)0, (bool)1, (bool)77, (bool)-1));",
    r"print((int64)true); print((uint8)false);",
    r"print((int32[2])5000000000); print((uint8[8])72623859790382856); print((uint16[2])65537);",
    r'print((uint8[4])"abc");',
    r"print((5 == 5, 5 != 5, 5 < 6, 5 > 6, 5 <= 5, 5 >= 6));",
    # --- arithmetic ---
    r"print((7 + 3, 7 - 10, 7 * -3, 7 / 2, 7 % 3, -7 / 2, -7 % 3, 7 / -2));",
    r"print((6 & 3, 6 | 3, 6 ^ 3, ~6, ~0, 1 << 4, 256 >> 4, -16 >> 2, 1 << 63));",
    r"$v = 250; $v += 10; print($v); $v -= 300; print($v); $v *= 3; print($v);",
    r"$v = (uint8)250; $v2 = $v + (uint8)10; print($v2); print(sizeof($v2));",
    r"$v = 100; $v /= 7; print($v); $v %= 5; print($v); $v <<= 3; print($v); $v >>= 1; print($v);",
    r"$v = 12; $v &= 10; print($v); $v |= 3; print($v); $v ^= 255; print($v);",
    r"$v = 5; print($v++); print($v); print(++$v); print($v--); print(--$v);",
    r"$v = (uint64)10; $v2 = (uint64)3; print(($v / $v2, $v % $v2, $v - $v2, $v2 - $v));",
    r"$v = (int64)10; $v2 = (int64)3; print(($v + $v2, $v * $v2, $v - $v2, $v2 - $v, $v ^ $v2));",
    r"$v = (uint64)1; print(($v << 63, $v << 10, ($v << 63) >> 63));",
    r"$v = (int8)-1; print(($v == 255, $v == -1, (uint8)$v == 255, $v < 1, $v > 1));",
    r"$v = (uint64)18446744073709551615; print(($v > 1, $v == 18446744073709551615));",
    r"$v = (int32)-5; $v2 = (uint32)5; print(($v < $v2, $v > $v2, $v + $v2, $v * $v2));",
    r"$v = 3; print(($v > 2 && $v < 4, $v > 4 || $v == 3, !$v, !($v == 4)));",
    r"print((1 + 2 * 3, (1 + 2) * 3, 10 - 4 - 3, 2 << 1 + 1, 1 | 2 ^ 3 & 4, 7 & 3 == 3));",
    r"print(1 ? 2 : 3); print(0 ? 2 : 3); $v = 0; print($v ? 10 : 20); print(5 ?: 6); print($v ?: 6);",
    r'$v = 5; print($v > 3 ? "big" : "small"); print($v > 9 ? "big" : "small");',
    # --- strings ---
    r'print("text"); print(""); print("a\tb"); print("é");',
    r'$v = "abc"; print($v == "abc"); print($v != "abc"); print($v == "abd"); print("a" == "a");',
    r'$v = "longer"; $v = "s"; print($v);',
    r'print((strlen("hello"), strlen("")));',
    r'print((strcontains("haystack", "st"), strcontains("haystack", "x"), strcontains("a", "")));',
    r'print(str("literal")); print(str("literal", 4));',
    r'print(buf("hello", 5)); print(buf("\x00\xff~", 3));',
    r'print(buf(pton("127.0.0.1"), 4));',
    r'print(ntop(0x0100007f)); print(ntop(2, 0x0100007f)); print(ntop(pton("127.0.0.1")));',
    r'print(ntop(pton("::1"))); print(ntop(pton("2001:db8::ff00:42:8329")));',
    r"print(bswap((uint16)0x1234)); print(bswap((uint32)0x12345678)); print(bswap((uint64)1)); "
    r"print(bswap((uint8)7));",
    # --- tuples and records ---
    r'$v = (1, "two", (3, -4)); print($v); print($v.0); print($v.1); print($v.2); print($v.2.1);',
    r"print((1,)); print((1, true, false)); print(((1, 2), (3, (4, 5))));",
    r'$v = (a=1, b="x", c=(5, 6)); print($v); print($v.a); print($v.b); print($v.c.1);',
    r'$v = (1, "a"); $v2 = (1, "a"); print($v == $v2); print($v != $v2); print($v == (2, "a"));',
    r'$v = (1, "short"); $v = (70000, "much longer"); print($v); $v = (1, "s"); print($v);',
    # --- maps ---
    r"@m = 5; print(@m); clear(@m);",
    r"@m[1] = (int64)2; @m[3] = (int64)4; print(@m); print(@m[1]); print(len(@m)); clear(@m);",
    r'@m[1, "a"] = (int64)2; @m[1, "b"] = (int64)3; print(@m[1, "a"]); print(@m); clear(@m);',
    r'@m["x"] = (1, 2); print(@m["x"]); print(@m["x"].1); print(@m); clear(@m);',
    r"@m[(1, 2)] = 3; print(@m[1, 2]); print(@m); clear(@m);",
    r"@m[1, (2, 3)] = 4; print(@m); clear(@m);",
    r"@m[1] = 1; @m[2] = 2; print(delete(@m, 1)); print(delete(@m, 7)); print(@m); clear(@m);",
    r"@m[1] = 1; print(has_key(@m, 1)); print(has_key(@m, 2)); clear(@m);",
    r'@m["a"] = 1; if (@m["a"]) { printf("there\n"); } if (@m["b"]) { printf("not\n"); } clear(@m);',
    r"@m[1]++; @m[1]++; @m[2]--; print(@m[1]); print(@m[2]); clear(@m);",
    r"@m[-1] = (int64)3; @m[-2] = (int64)1; @m[5] = (int64)2; print(@m); clear(@m);",
    r"@m[(uint64)-1] = 1; print(@m); clear(@m);",
    r"@m = true; print(@m); clear(@m);",
    r"@m[3] = 30; @m[1] = 10; @m[2] = 20; for ($v : @m) { @m2 = sum($v.1 + $v.0); } print(@m2); "
    r"clear(@m); clear(@m2);",
    # --- aggregations ---
    r"@m = sum(5); @m = sum(-8); print(@m); clear(@m);",
    r"@m = sum((uint64)5); @m = sum((uint64)7); print(@m); clear(@m);",
    r"@m = min(5); @m = min(3); @m = min(9); print(@m); clear(@m);",
    r"@m = max(5); @m = max(9); @m = max(3); print(@m); clear(@m);",
    r"@m = min(-5); @m = min(3); print(@m); @m2 = max(-5); @m2 = max(-9); print(@m2); clear(@m); clear(@m2);",
    r"@m = avg(5); @m = avg(10); print(@m); @m2 = avg(-10); @m2 = avg(-1); print(@m2); clear(@m); clear(@m2);",
    r"@m = stats(5); @m = stats(10); print(@m); @m2 = stats(-7); print(@m2); clear(@m); clear(@m2);",
    r"@m[1] = stats(5); @m[2] = stats(100); print(@m); clear(@m);",
    r"@m[1] = avg(5); @m[2] = avg(100); @m[2] = avg(50); print(@m); clear(@m);",
    r'@m["a"] = count(); @m["b"] = count(); @m["b"] = count(); print(@m); print(@m, 1); clear(@m);',
    r'@m["a"] = sum(100); @m["b"] = sum(900); @m["c"] = sum(500); print(@m, 2); print(@m, 2, 10); clear(@m);',
    r'@m = count(); if (@m > 0) { printf("more than none\n"); } clear(@m);',
    r"@m = count(); zero(@m); print(@m); clear(@m);",
    r"@m[7] = count(); zero(@m); print(@m); clear(@m);",
    # --- histograms ---
    r"@m = hist(0); @m = hist(1); @m = hist(2); @m = hist(3); @m = hist(100); print(@m); clear(@m);",
    r"@m = hist(-5); @m = hist(5); print(@m); clear(@m);",
    r"@m = hist(1024); @m = hist(1048576); @m = hist(5000000000); print(@m); clear(@m);",
    r"@m = hist(18446744073709551615); @m = hist(9223372036854775807); print(@m); clear(@m);",
    r"@m = hist(100, 2); @m = hist(110, 2); @m = hist(7, 2); print(@m); clear(@m);",
    r"@m = hist(1, 5); @m = hist(63, 5); @m = hist(64, 5); @m = hist(65, 5); print(@m); clear(@m);",
    r'@m["a"] = hist(5); @m["b"] = hist(50); @m["b"] = hist(51); print(@m); clear(@m);',
    r"@m = lhist(5, 0, 100, 10); @m = lhist(55, 0, 100, 10); @m = lhist(56, 0, 100, 10); print(@m); clear(@m);",
    r"@m = lhist(-1, 0, 10, 2); @m = lhist(10, 0, 10, 2); @m = lhist(3, 0, 10, 2); print(@m); clear(@m);",
    r"@m = lhist(5000, 0, 10240, 1024); @m = lhist(1024, 0, 10240, 1024); print(@m); clear(@m);",
    r"@m[1] = lhist(5, 0, 10, 1); @m[1] = lhist(5, 0, 10, 1); @m[2] = lhist(7, 0, 10, 1); print(@m); clear(@m);",
    r"@m = hist(5); zero(@m); print(@m); clear(@m);",
    # --- control flow ---
    r"$v = 0; while ($v < 5) { $v++; if ($v == 2) { continue; } if ($v == 4) { break; } print($v); }",
    r'unroll(3) { printf("again\n"); }',
    r'$v = 7; if ($v > 9) { print("a"); } else if ($v > 5) { print("b"); } else { print("c"); }',
    r"let $v = 5; let $v2: uint64 = 6; let $v3; $v3 = 7; print(($v, $v2, $v3));",
    r"$v = { let $v2 = 3; $v2 * $v2 }; print($v);",
    r"$v = if (1 > 0) { 5 } else { 6 }; print($v);",
    r"@m[1] = 2; @m[2] = 3; $v = 0; for ($v2 : @m) { $v += $v2.1; } print($v); clear(@m);",
    # --- async and by value ---
    r"@m[1] = 1; print(@m[1]); @m[1] = 2; print(@m[1]); clear(@m);",
    # --- types ---
    r'print((is_str("a"), is_integer(1), is_ptr(1), is_literal(5), is_unsigned_integer(1)));',
)


def program(snippets: list[tuple[int, str]]) -> str:
    """One begin probe that runs numbered snippets, each after a line with its number."""
    lines = ["config = { print_maps_on_exit=0 }", "begin {"]
    for number, text in snippets:
        own = re.sub(r"@m(\d*)\b", rf"@m{number}_\1", re.sub(r"\$([vw])(\d*)\b", rf"$\g<1>{number}_\2", text))
        lines += [f'printf("<{number}>\\n");', own]
    return "\n".join([*lines, "}"]) + "\n"

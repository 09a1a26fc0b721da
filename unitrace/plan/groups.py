"""Which clauses must run together, and which maps the kernel may keep."""

from __future__ import annotations

from unitrace.contract.ir import Act, Clause, ForEach, MapDelete, MapGet, MapSet, MapUpdate, Program
from unitrace.contract.offer import maps_used, statements, walk
from unitrace.contract.probes import BY_NAME

__all__ = ["by_engine", "components", "keepable", "maps_used", "resident", "statements"]


def by_engine(clause: Clause) -> bool:
    """Whether user space itself fires the clause's probe (begin, interval, ...)."""
    return BY_NAME[clause.probe.kind].by == "engine"


def keepable(program: Program) -> frozenset[str]:
    """The maps that only aggregate: written by MapUpdate at kernel probes alone, read by nobody, and
    at most printed, cleared or zeroed as a whole."""
    kept = {decl.name for decl in program.maps if not decl.evicts}
    for clause in program.clauses:
        for expr in walk((clause.predicate, clause.body)):
            if isinstance(expr, MapGet):
                kept.discard(expr.map)
        for stmt in statements(clause.body):
            if isinstance(stmt, (MapSet, MapDelete, ForEach)):
                kept.discard(stmt.map)
            elif isinstance(stmt, MapUpdate):
                if by_engine(clause):
                    kept.discard(stmt.map)
            elif isinstance(stmt, Act) and stmt.map and stmt.name not in ("print", "clear", "zero"):
                kept.discard(stmt.map)
    return frozenset(kept)


def resident(program: Program) -> frozenset[str]:
    """The maps that may live in the kernel, whoever sets, reads and deletes their values: all but those
    that user space aggregates into."""
    kept = {decl.name for decl in program.maps}
    for clause in program.clauses:
        if by_engine(clause):
            updates = (stmt.map for stmt in statements(clause.body) if isinstance(stmt, MapUpdate))
            kept.difference_update(updates)
    return frozenset(kept)


def components(clauses: tuple[Clause, ...]) -> list[tuple[Clause, ...]]:
    """The clauses in groups that share no map with each other, each in the program's order."""
    groups: list[tuple[set[str], list[Clause]]] = []
    for clause in clauses:
        names, members = set(maps_used(clause)), [clause]
        apart = []
        for other_names, other in groups:
            if names & other_names:
                names |= other_names
                members = other + members
            else:
                apart.append((other_names, other))
        groups = [*apart, (names, members)]
    ordered = [tuple(sorted(members, key=lambda c: c.ordinal)) for _, members in groups]
    return sorted(ordered, key=lambda group: group[0].ordinal)

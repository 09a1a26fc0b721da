"""The compiler: the contract's IR to BPF instructions, in layers that each know the one below.

frame (memory) -> base (what all share) -> sites -> memory -> strings -> scalars -> values (tuples, arrays)
-> calls -> aggregates -> tables (maps that are set) -> statements -> loops -> sends (records for user
space) -> program. layouts says how values lie in memory, stacks how call stacks do.
"""

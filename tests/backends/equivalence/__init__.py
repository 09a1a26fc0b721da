"""Clauses by chance, run by the kernel and by the engine: equal, or there is a fault."""

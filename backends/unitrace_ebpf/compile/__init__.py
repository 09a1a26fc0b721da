"""The compiler: the contract's IR to BPF instructions, in layers that each know the one below.

frame (stack) -> base (what all share) -> sites -> memory -> strings -> scalars -> statements -> program.
"""

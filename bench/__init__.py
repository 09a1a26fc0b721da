"""Benchmarks: unitrace beside its peers, on the same load, in the same run."""

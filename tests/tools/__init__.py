"""The tools that people run every day, side by side: two tracers, one workload, the same answer."""

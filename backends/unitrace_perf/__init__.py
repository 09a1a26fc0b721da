"""perf_event: tracepoints, kprobes and uprobes through perf_event_open(2) and its mmap rings."""

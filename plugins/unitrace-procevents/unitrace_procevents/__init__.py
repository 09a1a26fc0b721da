"""unitrace on the kernel's process connector."""

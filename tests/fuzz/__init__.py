"""A fuzzer by grammar: whatever text comes in, only errors meant for the user may come out."""

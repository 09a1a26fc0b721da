"""Counting events: ``unitrace stat``."""

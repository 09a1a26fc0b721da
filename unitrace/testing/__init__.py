"""The conformance kit: a backend's author subclasses ``BackendConformance`` and has the whole suite."""

from __future__ import annotations

from unitrace.testing.conformance import BackendConformance

__all__ = ["BackendConformance"]

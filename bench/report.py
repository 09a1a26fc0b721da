"""Tables of results as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from bench.harness import Metric, Table
from bench.measure import Case, median, ratio


def base_case(table: Table, base: str) -> Case | None:
    """The row that the others are compared with; the first that worked, if `base` isn't there."""
    working = [case for case in table.cases if any(case.rounds) and case.name != "untraced"]
    named = [case for case in working if case.name == base]
    return next(iter(named or working), None)


def cell(case: Case, base: Case | None, metric: Metric) -> str:
    """A median, and how it compares: `12.3 (0.45x)`."""
    value = median(case, metric.name)
    if value is None:
        return "-"
    text = f"{value:,.{metric.digits}f}"
    quotient = ratio(case, base, metric.name) if base and metric.ratio else None
    return text if quotient is None else f"{text} ({quotient:.2f}x)"


def markdown(table: Table, base: str) -> str:
    """One table; failures are rows too, with their reason."""
    compared = base_case(table, base)
    beside = f" Ratios: to {compared.name}, paired by round." if compared else ""
    rounds = max((len(case.rounds) for case in table.cases), default=0)
    lines = [
        f"### {table.title}",
        "",
        f"Medians of {rounds} interleaved rounds.{beside}",
        "",
        "| | " + " | ".join(metric.title for metric in table.metrics) + " |",
        "|---" + "|---:" * len(table.metrics) + "|",
    ]
    for case in table.cases:
        if not any(case.rounds):
            cells = [f"failed: {case.error.replace('|', '/')}", *[""] * (len(table.metrics) - 1)]
        else:
            cells = [cell(case, compared, metric) for metric in table.metrics]
        lines.append(f"| {case.name} | " + " | ".join(cells) + " |")
    lines += [
        f"\n{case.name}: measured in {sum(map(bool, case.rounds))} of {len(case.rounds)} rounds; {case.error}"
        for case in table.cases
        if case.error and any(case.rounds)
    ]
    return "\n".join(lines) + "\n"


def row(case: Case, base: Case | None, metrics: Sequence[Metric]) -> dict[str, object]:
    """One row as data."""
    return {
        "tool": case.name,
        "error": case.error or None,
        "rounds": case.rounds,
        "metrics": {
            metric.name: {
                "median": median(case, metric.name),
                "ratio": ratio(case, base, metric.name) if base and metric.ratio else None,
            }
            for metric in metrics
        },
    }


def as_json(tables: Sequence[Table], base: str, versions: dict[str, str]) -> dict[str, object]:
    """All tables as data, with what is needed to judge them."""
    return {
        "machine": {
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg(),
        },
        "versions": versions,
        "tables": [
            {
                "section": table.section,
                "title": table.title,
                "base": compared.name if (compared := base_case(table, base)) else None,
                "columns": {metric.name: metric.title for metric in table.metrics},
                "rows": [row(case, compared, table.metrics) for case in table.cases],
            }
            for table in tables
        ],
    }

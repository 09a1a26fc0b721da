"""The page of the tables: each run makes, or replaces, the section of its kernel and its tracers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.sections import page, sections

from .catalogue import CASES

__all__ = ["Table", "line", "write"]

HEAD = """# bpftrace's tools, beside bpftrace

The 39 tools of bpftrace's package, unmodified, each run by several tracers **at the same time**, beside a workload
made for it (tests/tools/). Compared is what they print about the workload, with what the first of them prints: whole
lines, modulo times and latencies; of tools that print only distributions, their shape.

| | |
|---|---|
| equal | the same lines |
| nothing | neither printed anything: a tool that leaves out the probes that this kernel hasn't |
| not here | the tool names a probe, or a member of a struct, that this kernel hasn't |
| no workload | the machine can't run the workload, so nothing was compared |
| refused | the tracer says that it can't, and why |
| alone | the first tracer failed; this one ran |
| different, failed, hangs | what they say: faults |

Tables are made by the run itself, each section by one:

    python -m tests.kernels run --mem 2048 --share docs 6.12 -- \\
        python -m tests.tools DIRECTORY --peer BPFTRACE --write docs/tools.md

DIRECTORY is where the `.bt` files are. On kernels where bpftrace doesn't run, or for the other backends, leave
`--peer` out: `--backends ebpf,ftrace,perf` compares each with the first. `--without bpf` has bpf(2) refused by a
seccomp filter, and `--without btf` hides the kernel's BTF, for all but the first, which says what is right.
"""


class Table:
    """``title``: what kernel, which tracers; ``facts``: what exactly ran, and when; ``rows``: a tool, each
    tracer's verdict, how many lines were compared, and a note."""

    def __init__(self, title: str, facts: str, tracers: Sequence[str]) -> None:
        self.title, self.facts, self.tracers = title, facts, [*tracers]
        self.rows: list[list[str]] = []

    def head(self) -> str:
        """The section's body, down to the table's first row."""
        columns = ["tool", *self.tracers, "lines", ""]
        rule = "|" + "---|" * len(columns)
        return f"{self.facts}\n\n{line(columns)}\n{rule}\n"

    def counts(self) -> str:
        """A line a tracer: how many of its verdicts are what."""
        text = ""
        for at, name in enumerate(self.tracers, 1):
            counts = Counter(row[at] for row in self.rows).most_common()
            text += f"- {name}: {', '.join(f'{number} {word}' for word, number in counts)}\n"
        return text

    def body(self) -> str:
        """The section without its title."""
        return self.head() + "".join(f"{line(row)}\n" for row in self.rows) + f"\n{self.counts()}"


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write(path: str, table: Table) -> None:
    """Put the table into the page, in place of the section of its title. Of one with the same facts, rows of tools
    that didn't run this time are kept."""
    file = Path(path)
    found = sections(file.read_text()) if file.exists() else {}
    before = found.get(table.title, "")
    if table.facts in before:
        table.rows = _merged(before, table.rows)
    found[table.title] = table.body()
    file.write_text(page(HEAD, found))


def _merged(section: str, rows: list[list[str]]) -> list[list[str]]:
    """The rows of a section, those that are in ``rows`` too replaced; in the catalogue's order."""
    found = [one[2:-2].split(" | ") for one in section.splitlines() if one.startswith("| ")][1:]
    kept = {row[0]: [cell.replace("\\|", "|") for cell in row] for row in found}
    by_tool = {**kept, **{row[0]: row for row in rows}}
    return sorted(by_tool.values(), key=lambda row: [*CASES].index(row[0]))

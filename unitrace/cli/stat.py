"""``unitrace stat``: count events of a command, of processes or of CPUs."""

from __future__ import annotations

import signal
import sys
import time
from typing import IO, Any

import click

from unitrace.contract.errors import UsageError
from unitrace.kernel import cpus
from unitrace.kernel.counters import Event
from unitrace.stat.counting import Counting, Place
from unitrace.stat.formula import DURATION, Formula
from unitrace.stat.names import DEFAULT, parse
from unitrace.stat.run import Command, Totals, threads_of
from unitrace.stat.show import (
    Row,
    csv_line,
    csv_measure,
    json_line,
    json_measure,
    mean,
    metric,
    text_line,
    text_measure,
)
from unitrace.stat.vendor import Definition, learn, metrics

__all__ = ["command"]

LEAST_MS = 10
"""The shortest interval: reading the counters is work too."""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": False},
    options_metavar="[OPTIONS]",
)
@click.option("-e", "--event", "events", multiple=True, metavar="EV,EV|{GROUP}", help="What to count.")
@click.option("-M", "--metrics", multiple=True, metavar="NAME,...", help="Metrics, as perf names them.")
@click.option("-a", "--all-cpus", "everywhere", is_flag=True, help="Everything on all CPUs.")
@click.option("-p", "--pid", "pids", metavar="PID,...", help="These processes.")
@click.option("-C", "--cpu", "cpu_list", metavar="LIST", help="These CPUs alone (0-2,5).")
@click.option("-I", "--interval-print", "interval", type=int, metavar="MS", help="What came, each MS.")
@click.option("-r", "--repeat", type=click.IntRange(1, 10000), default=1, metavar="N", help="Run it N times.")
@click.option("--per-core", is_flag=True, help="A count for each core (with -a or -C).")
@click.option("-i", "--no-inherit", is_flag=True, help="Not what the command starts.")
@click.option("-x", "--field-separator", "separator", metavar="SEP", help="Fields with SEP between.")
@click.option("-j", "--json-output", "as_json", is_flag=True, help="JSON lines.")
@click.option("-o", "--output", "path", metavar="FILE", help="To FILE, not standard error.")
@click.option("--timeout", type=int, metavar="MS", help="Stop after MS.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[--] CMD...")
def command(argv: tuple[str, ...], path: str | None, **options: Any) -> int:
    """Count events of a command, of processes or of CPUs.

    Without -e: task-clock, context switches, migrations, faults, cycles, instructions, branches and their
    misses. What this machine doesn't count is "<not supported>"; a count that shared the hardware is scaled,
    and says so.
    """
    if path is None:
        return _Stat(argv, sys.stderr, **options).run()
    with open(path, "w", encoding="utf-8") as file:
        return _Stat(argv, file, **options).run()


class _Stat:
    """One call of the command."""

    def __init__(self, argv: tuple[str, ...], out: IO[str], **options: Any) -> None:
        self.argv, self.out, self.options = argv, out, options
        self.measures = _measures(",".join(options["metrics"]))
        events = ",".join(options["events"])
        self.groups = parse(events or DEFAULT) if events or not self.measures else []
        self.groups += _measured(self.measures, {event.name for group in self.groups for event in group})
        self.by_cpu: bool = bool(options["everywhere"] or options["cpu_list"])
        if options["per_core"] and not self.by_cpu:
            raise UsageError("--per-core counts on CPUs: it needs -a or -C")
        if not argv and not self.by_cpu and not options["pids"]:
            raise UsageError("what shall be counted? A command, -p PID, or -a")
        if options["interval"] is not None and options["interval"] < LEAST_MS:
            raise UsageError(f"-I takes {LEAST_MS} ms or more")
        self.stopped = False

    def run(self) -> int:
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        runs: list[list[Row]] = []
        elapsed = 0.0
        status = 0
        for _ in range(self.options["repeat"]):
            rows, seconds, status = self._once()
            runs.append(rows)
            elapsed += seconds
            if self.stopped:
                break
        if self.options["interval"] is None:
            rows = [mean(same) for same in zip(*runs)]
            self._show(rows, elapsed / len(runs), [], {}, heading=True, times=len(runs))
        return status

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = True

    def _once(self) -> tuple[list[Row], float, int]:
        child = Command(self.argv) if self.argv else None
        try:
            places = self._places(child)
            inherit = not self.by_cpu and not self.options["no_inherit"]
            on_exec = child is not None and not self.by_cpu and not self.options["pids"]
            with Counting(self.groups, places, inherit=inherit, on_exec=on_exec) as counting:
                if not on_exec:
                    counting.start()
                begun = time.monotonic()
                if child is not None:
                    child.release()
                self._wait(counting, child, begun)
                seconds = time.monotonic() - begun
                counting.stop()
                return self._rows(counting, Totals(counting.read())), seconds, child.status if child else 0
        finally:
            if child is not None:
                child.close()

    def _places(self, child: Command | None) -> list[Place]:
        if self.by_cpu:
            return [(-1, cpu) for cpu in _cpus(self.options["cpu_list"])]
        if self.options["pids"]:
            return [(thread, -1) for thread in threads_of(self.options["pids"])]
        assert child is not None
        return [(child.pid, -1)]

    def _wait(self, counting: Counting, child: Command | None, begun: float) -> None:
        interval, timeout = self.options["interval"], self.options["timeout"]
        until = begun + timeout / 1000 if timeout else None
        due = begun + interval / 1000 if interval else None
        before = Totals([])
        while not self.stopped and not (child and child.ended(0.05 if due is until is None else 0.001)):
            now = time.monotonic()
            if until is not None and now >= until:
                break
            if not child:
                if self.options["pids"] and not threads_of(self.options["pids"], gone=True):
                    break
                time.sleep(0.005)
            if due is not None and now >= due:
                before = self._interval(counting, before, now - begun, interval / 1000)
                due += interval / 1000
        if interval:
            self._interval(counting, before, time.monotonic() - begun, interval / 1000)

    def _interval(self, counting: Counting, before: Totals, at: float, seconds: float) -> Totals:
        now = Totals(counting.read())
        rows = self._rows(counting, now.minus(before))
        self._show(rows, seconds, [f"{at:.9f}"], {"interval": round(at, 9)}, heading=False)
        return now

    def _rows(self, counting: Counting, totals: Totals) -> list[Row]:
        rows = []
        if not self.options["per_core"]:
            for number, event in enumerate(counting.events):
                rows.append(Row(event, totals.all(number), number in counting.absent))
            return rows
        for core in sorted({cpus.core(cpu) for _, cpu in counting.places}):
            here = [cpu for _, cpu in counting.places if cpus.core(cpu) == core]
            label = f"S{core[0]}-C{core[1]} {len(here):>2} "
            for number, event in enumerate(counting.events):
                rows.append(Row(event, totals.on(number, here), number in counting.absent, label))
        return rows

    def _show(
        self,
        rows: list[Row],
        seconds: float,
        before: list[str],
        known: dict[str, object],
        *,
        heading: bool,
        times: int = 1,
    ) -> None:
        out, separator = self.out, self.options["separator"]
        if heading and not separator and not self.options["as_json"]:
            pids = self.options["pids"]
            what = " ".join(self.argv) or (f"process {pids}" if pids else "CPUs")
            again = f" ({times} runs)" if times > 1 else ""
            out.write(f"\n Counts of {what!r}{again}:\n\n")
        groups: dict[str, dict[str, Row]] = {}
        for row in rows:
            groups.setdefault(row.label, {})[row.event.name] = row
        for row in rows:
            meaning = metric(row, groups[row.label], seconds)
            core = row.label.split()
            if self.options["as_json"]:
                more = {"core": core[0], "aggregate-number": int(core[1])} if core else {}
                line = json_line(row, meaning, {**known, **more})
            elif separator:
                line = csv_line(row, meaning, separator, [*before, *core])
            else:
                line = "".join(f"{one:>15} " for one in before) + text_line(row, meaning)
            out.write(line + "\n")
        for label, by_name in (groups or {"": {}}).items():
            self._show_measures(label, by_name, seconds, before, known)
        if heading and not separator and not self.options["as_json"]:
            out.write(f"\n{seconds:18.9f} seconds elapsed\n\n")
        out.flush()

    def _show_measures(
        self,
        label: str,
        rows: dict[str, Row],
        seconds: float,
        before: list[str],
        known: dict[str, object],
    ) -> None:
        counts = {name: row.value for name, row in rows.items() if not row.absent and row.reading.running}
        separator, core = self.options["separator"], label.split()
        for one, formula in self.measures:
            value = one.scale * formula.value(counts, seconds)
            if self.options["as_json"]:
                more = {"core": core[0], "aggregate-number": int(core[1])} if core else {}
                line = json_measure(value, one.unit, one.name, {**known, **more})
            elif separator:
                line = csv_measure(value, one.unit, one.name, separator, [*before, *core])
            else:
                line = "".join(f"{at:>15} " for at in before) + text_measure(value, one.unit, one.name, label)
            self.out.write(line + "\n")


def _measures(listed: str) -> list[tuple[Definition, Formula]]:
    """The metrics of -M, each with its formula; what their events are is asked for at once."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if not names:
        return []
    found = [(one, Formula(one.formula)) for one in metrics(names)]
    learn([name for _, formula in found for name in formula.events])
    return found


def _measured(measures: list[tuple[Definition, Formula]], counted: set[str]) -> list[list[Event]]:
    """The events that metrics need and that aren't counted yet; one that this machine doesn't know is left
    out, and the metric isn't supported."""
    found: list[list[Event]] = []
    for name in dict.fromkeys(name for _, formula in measures for name in formula.events):
        if name not in counted and name != DURATION:
            try:
                found += parse(name)
            except UsageError:
                continue
    return found


def _cpus(listed: str | None) -> list[int]:
    if listed is None:
        return cpus.online()
    try:
        wanted = cpus.parse_list(listed)
    except ValueError:
        raise UsageError(f"-C takes a list of CPUs, not {listed!r}") from None
    missing = sorted(set(wanted) - set(cpus.online()))
    if missing or not wanted:
        raise UsageError(f"-C {listed}: CPU {missing[0] if missing else '?'} isn't online")
    return wanted

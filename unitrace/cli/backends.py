"""``unitrace backends``: what this machine offers, and for everything missing: why, and the remedy."""

from __future__ import annotations

from typing import Any

import click

from unitrace.contract.backend import Support
from unitrace.contract.machine import Answer, Machine
from unitrace.plugins import Plugins

__all__ = ["command", "surveyed"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="As data: all facts and every backend's survey.")
@click.option("--save", metavar="FILE", help="Save this machine, to plan for it elsewhere.")
@click.option("--load", metavar="FILE", help="Show a saved machine instead of this one.")
def command(as_json: bool, save: str | None, load: str | None) -> int:
    """Show what each backend can do on this machine, and why not where it can't."""
    plugins = Plugins()
    machine = Machine.load(load) if load else Machine()
    surveys = {one.name: (one.title, one.survey(machine)) for one in plugins.backends()}
    if save:
        machine.save(save)
    if as_json:
        import json

        click.echo(json.dumps(_data(machine, surveys), indent=1))
        return 0
    for name, (title, lines) in surveys.items():
        click.echo(f"{name}: {title}")
        for line in lines:
            click.echo(_line(line))
    for failed in plugins.failures():
        click.echo(f"{failed.entry.name}: failed to load: {failed.failure}")
    return 0


def surveyed() -> Machine:
    """This machine, with every backend's facts registered."""
    machine = Machine()
    for backend in Plugins().backends():
        backend.survey(machine)
    return machine


def _line(support: Support) -> str:
    if support.answer:
        return f"  {support.thing:<28} yes{f'  ({support.how})' if support.how else ''}"
    answer = support.answer
    remedy = f"; {answer.remedy}" if answer.remedy else ""
    return f"  {support.thing:<28} no   {answer.reason}{remedy}"


def _data(machine: Machine, surveys: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Answer):
            return {"works": bool(value), **{name: getattr(value, name) for name in value._fields}}
        return value

    return {
        "facts": {name: plain(value) for name, value in machine.survey().items()},
        "backends": {
            name: {
                "title": title,
                "support": [{"thing": one.thing, "how": one.how, **plain(one.answer)} for one in lines],
            }
            for name, (title, lines) in surveys.items()
        },
    }

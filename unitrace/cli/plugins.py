"""``unitrace plugins``: what is loaded, from where, which version, and what failed to load."""

from __future__ import annotations

import click

from unitrace.plugins import Plugins

__all__ = ["command"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="As data.")
def command(as_json: bool) -> int:
    """List the plugins of this installation; status 1 where one failed to load."""
    plugins = Plugins()
    plugins.check()
    loaded = [plugins.load(name) for name in plugins.names()]
    if as_json:
        import json

        rows = [
            {
                "name": one.entry.name,
                "module": one.entry.module,
                "distribution": one.entry.dist,
                "version": one.entry.version,
                "path": one.entry.path,
                "title": getattr(one.backend, "title", None),
                "failure": one.failure or None,
            }
            for one in loaded
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        for one in loaded:
            entry = one.entry
            state = f"failed to load: {one.failure}" if one.failure else one.backend.title
            click.echo(
                f"{entry.name:<12} {entry.dist} {entry.version} ({entry.module}, {entry.path}): {state}"
            )
        if not loaded:
            click.echo("no plugins: is unitrace installed? (pip install .)", err=True)
    return 1 if any(one.failure for one in loaded) or not loaded else 0

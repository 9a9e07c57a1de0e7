"""`ipfs-logs completion`: print the script for shell completion of verbs, options and subsystems."""

from __future__ import annotations

import sys

import click

from ipfs_log_handlers.cli.common import Place, verb

__all__ = ["command"]

_VARIABLE = "_IPFS_LOGS_COMPLETE"
"""The variable with which the shell asks for completions."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verb
def command(place: Place, shell: str) -> int:  # noqa: ARG001 - every verb has a place
    """Print a script with which the shell completes verbs, options and subsystems.

    For bash put this into ~/.bashrc, for zsh into ~/.zshrc: eval "$(ipfs-logs completion bash)". For fish run:
    ipfs-logs completion fish > ~/.config/fish/completions/ipfs-logs.fish
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101 - click knows all three shells
    made = completion(click.get_current_context().find_root().command, {}, "ipfs-logs", _VARIABLE)
    sys.stdout.write(made.source_template % made.source_vars())
    return 0

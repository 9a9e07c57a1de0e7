"""ipfs-logs: verbs over the library, one module each, imported when they are called.

Stdout is data and nothing else; what went wrong is one line on stderr, and without a verb the help stands there. Exit
codes: 0 done, 1 no record, 2 usage or configuration, 3 verification failed, 4 not shipped or a store out of reach, 5
batches missing, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

__all__ = ["main"]

VERBS: Final = {
    "status": "counters and health of each subsystem",
    "ls": "batches, oldest first",
    "cat": "records in log order, verified before they are printed",
    "log": "archived files and directories, and their versions",
    "verify": "check the whole chain of each log",
    "archive": "keep files and directories as batches of their own",
    "ship": "seal what waits and ship it to the stores",
    "doctor": "look for what keeps logs from being kept or shipped",
    "keys": "show the verifier key, or begin a new log",
}
"""Each verb and what it does, so that `--help` imports none of them."""

_NO_ARGUMENTS: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Carries the whole help; before 8.2 click prints that by itself, on stdout, and is content."""


class _Verbs(click.Group):
    """A group whose commands are imported when they are called, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found: click.Command = importlib.import_module(f"ipfs_log_handlers.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; of one that is not there, say which may be meant."""
        if args[0] not in VERBS and not ctx.resilient_parsing:
            import difflib  # only for who misspells

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            ctx.fail(
                f"no verb {args[0]!r}"
                + (f". Did you mean {near[0]!r}?" if near else f"; there are: {', '.join(VERBS)}")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run, as a program (which ends here) or inside one."""
        if not standalone_mode:
            return self._run(*args, **extra)
        code = self._code(*args, **extra)
        try:
            sys.stdout.flush()
        except OSError:
            _forget_stdout()
        sys.exit(code)

    def _run(self, *args: Any, **extra: Any) -> Any:
        run: Any = super().main
        return run(*args, standalone_mode=False, **extra)

    def _code(self, *args: Any, **extra: Any) -> int:
        from ipfs_log_handlers.errors import LogStoreError

        try:
            found = self._run(*args, **extra)
        except _NO_ARGUMENTS as error:
            click.echo(error.format_message(), err=True)
            return 2
        except click.ClickException as error:
            return _complain(error.format_message(), 2)
        except (click.Abort, KeyboardInterrupt):
            return 130
        except BrokenPipeError:
            _forget_stdout()
            return 0
        except LogStoreError as error:
            return _complain(str(error), _code_of(error))
        except OSError as error:
            return _complain(str(error), 2)
        return found if isinstance(found, int) else 0

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a closed pipe ends it here, before click makes an exit code of its own of it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _forget_stdout()
            return 0


def _code_of(error: Exception) -> int:
    from ipfs_log_handlers.errors import StoreError, VerificationError

    if isinstance(error, VerificationError):
        return 3
    return 4 if isinstance(error, StoreError) else 2


def _complain(message: str, code: int) -> int:
    from ipfs_log_handlers.cli.output import complain

    complain(message)
    return code


def _forget_stdout() -> None:
    """Nobody reads any more: what is still buffered goes nowhere, without a word at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 no record, 2 usage or configuration, 3 verification failed, 4 not shipped or "
    "store out of reach, 5 partial, 130 interrupted.",
)
@click.option("--home", metavar="DIR", help="The home; default: IPFS_LOGS_HOME, else the only one there is.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), help="Default: text on a terminal, else json.")
@click.version_option(package_name="ipfs_log_handlers", prog_name="ipfs-logs")
@click.pass_context
def main(ctx: click.Context, home: str | None, output: str | None) -> None:
    """Logs that are kept for good: list, read, verify and ship them.

    With -o json each verb prints JSON Lines, one object per thing.
    """
    ctx.obj = {"home": home, "output": output}

"""Run the command line `ipfs-logs`. Each verb has one module, which is imported when the verb is called.

Stdout has only data; an error is one line on stderr. Without a verb the help is printed on stderr. Exit codes:
0 done, 1 no record, 2 usage or configuration, 3 verification failed, 4 not shipped or a store out of reach, 5 batches
missing, 130 interrupted.
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
    "show": "one batch with its place in the chain, or one record",
    "cat": "records in log order, verified before they are printed",
    "query": "records by time, level, logger, text and field, merged by time",
    "tail": "the newest records, then each new record",
    "hist": "counts over time, as bars",
    "top": "the most frequent values of a field",
    "sql": "answers to SQL, or a prompt for it",
    "export": "write records to a file: JSON Lines, CSV, Parquet, Arrow; or whole logs: CAR, tiles",
    "versions": "archived files and directories, and their versions",
    "verify": "check the whole chain of each log",
    "prove": "write a bundle that proves one record, and reveals no other",
    "check": "check such a bundle, without a home and without a network",
    "archive": "store files and directories as batches of their own",
    "ship": "seal all waiting records and ship them to the stores",
    "snapshot": "one CID for a whole log, to pin it on another node",
    "import": "verify CAR files with logs of other homes, and keep them in this home",
    "mirror": "copy the logs of other homes into this one, verified, and keep up with them",
    "publish": "let the name of the home lead to what is shipped",
    "doctor": "find out why records are not stored or not shipped",
    "hold": "legal holds: forbid to give up records, as a signed act",
    "retention": "give up old payloads everywhere: the plan, and its application",
    "keys": "show the verifier key, change or move the key, or begin a new log",
    "serve": "show the records in a browser, with their proofs; metrics",
    "mcp": "answer agents over the Model Context Protocol, read-only",
    "completion": "print the script for shell completion of verbs and options",
}
"""Each verb with its description; `--help` needs no import of a verb."""
_ALIASES: Final = {"log": "versions"}
"""Former names of verbs, which still work."""
_OTHER_WORDS: Final = {
    **dict.fromkeys(("search", "grep", "find", "select", "filter"), "query"),
    **dict.fromkeys(("follow", "watch"), "tail"),
    **dict.fromkeys(("list", "batches"), "ls"),
    **dict.fromkeys(("read", "print", "records", "get"), "cat"),
    "audit": "verify",
    "proof": "prove",
    **dict.fromkeys(("replicate", "clone", "pull"), "mirror"),
    **dict.fromkeys(("upload", "push", "sync", "send"), "ship"),
    **dict.fromkeys(("repair", "fix", "fsck"), "doctor"),
    **dict.fromkeys(("count", "stats"), "status"),
    **dict.fromkeys(("store", "add"), "archive"),
    **dict.fromkeys(("web", "browse", "explorer", "ui", "server"), "serve"),
    "help": "--help",
}
"""Words that other programs have for a verb of this one."""

_NO_ARGUMENTS: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""The error whose message is the whole help; click before 8.2 prints the help itself, on stdout."""


class _Interrupted(BaseException):
    """Signal that Ctrl-C was pressed while a verb ran."""


class _Verbs(click.Group):
    """Import commands when they are called, and print an error as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = _ALIASES.get(cmd_name, cmd_name)
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"ipfs_log_handlers.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; for an unknown verb, name the most similar one."""
        if args[0] not in VERBS and args[0] not in _ALIASES and not ctx.resilient_parsing:
            import difflib  # only needed for a misspelt verb

            meant = _OTHER_WORDS.get(args[0])
            near = [meant] if meant else difflib.get_close_matches(args[0], VERBS, n=1)
            ctx.fail(
                f"no verb {args[0]!r}"
                + (f". Did you mean {near[0]!r}?" if near else f"; the verbs are: {', '.join(VERBS)}")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line; in standalone mode the process ends here."""
        if not standalone_mode:
            return self._run(*args, **extra)
        try:
            code = self._code(*args, **extra)
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = _interrupted()
            _forget_stdout()
        except OSError:
            _forget_stdout()
        sys.exit(code)

    def _run(self, *args: Any, **extra: Any) -> Any:
        run: Any = super().main
        return run(*args, standalone_mode=False, **extra)

    def _code(self, *args: Any, **extra: Any) -> int:
        from ipfs_log_handlers.errors import LogStoreError

        try:
            result = self._run(*args, **extra)
        except _NO_ARGUMENTS as error:
            click.echo(error.format_message(), err=True)
            return 2
        except click.NoSuchOption as error:
            return _complain(_unknown_option(error), 2)
        except click.ClickException as error:
            return _complain(error.format_message(), 2)
        except (click.Abort, KeyboardInterrupt, _Interrupted):
            return _interrupted()
        except BrokenPipeError:
            _forget_stdout()
            return 0
        except LogStoreError as error:
            return _complain(str(error), _code_of(error))
        except OSError as error:
            from ipfs_log_handlers.api import explain_os_error

            return _complain(explain_os_error(error), 2)
        return result if isinstance(result, int) else 0

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; handle a closed pipe and Ctrl-C here, because click chooses another exit code for them."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Interrupted from error
        except BrokenPipeError:
            _forget_stdout()
            return 0


def _unknown_option(error: click.NoSuchOption) -> str:
    """Describe an unknown option of a verb: name the most similar option, or list all options."""
    import difflib

    ctx = error.ctx
    if ctx is None:
        return error.format_message()
    verb = " ".join(ctx.command_path.split()[1:])
    names = [name for parameter in ctx.command.get_params(ctx) for name in parameter.opts if name.startswith("--")]
    near = difflib.get_close_matches(error.option_name.lstrip("-"), [name[2:] for name in names], n=1)
    if error.option_name in ("-f", "--follow") and verb in VERBS:
        known = "`tail` follows without an option." if verb == "tail" else "Did you mean 'ipfs-logs tail'?"
    elif error.option_name in ("--json", "--text"):
        known = f"Did you mean '-o {error.option_name[2:]}'?"
    else:
        known = f"Did you mean '--{near[0]}'?" if near else f"The options are: {', '.join(names)}"
    return f"no option {error.option_name!r}{f' for {verb}' if verb else ''}. {known}"


def _code_of(error: Exception) -> int:
    from ipfs_log_handlers.errors import NoIdentityError, StoreError, VerificationError

    if isinstance(error, VerificationError):
        return 3
    if isinstance(error, NoIdentityError):
        return 5
    return 4 if isinstance(error, StoreError) else 2


def _complain(message: str, code: int) -> int:
    from ipfs_log_handlers.cli.output import complain

    complain(message)
    return code


def _interrupted() -> int:
    from ipfs_log_handlers.cli.output import remark_interrupt

    remark_interrupt("interrupted")
    return 130


def _forget_stdout() -> None:
    """Discard buffered output: its reader has ended, and flushing at exit would print an error."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 no record, 2 usage or configuration, 3 verification failed, 4 not shipped or "
    "a store out of reach, 5 batches missing or encrypted to others, 130 interrupted.",
)
@click.option("--home", metavar="DIR", help="The home directory; default: IPFS_LOGS_HOME, else your only home.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    help="Form of the output; default: text on a terminal, else json.",
)
@click.version_option(package_name="ipfs_log_handlers", prog_name="ipfs-logs")
@click.pass_context
def main(ctx: click.Context, home: str | None, output: str | None) -> None:
    """List, read, verify and ship tamper-evident logs.

    With -o json each verb prints JSON Lines: one object for each batch, record, subsystem or log.
    """
    ctx.obj = {"home": home, "output": output}

"""`alidade weights pull|list|verify` on the command line."""

import json as json_text
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.errors import ClientError
from client.exit_codes import Exit, exit_code

if TYPE_CHECKING:
    from client.output import Output
    from client.weights import Entry, ShowBytes
    from contracts.weights import Licence

weights = typer.Typer(help="Weights of networks: fetch, list and check them.", no_args_is_help=True)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Features, matchers or weights; all if none is named.")
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where they are kept, else ALIDADE_WEIGHTS__FOLDER, else .alidade/weights."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on standard output.")]


@weights.command("pull")
def pull_weights(
    names: Names = None,
    *,
    folder: Folder = None,
    accept_non_commercial: Annotated[
        bool,
        typer.Option(
            "--accept-non-commercial", help="Agree to licences that forbid commercial use without being asked."
        ),
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", metavar="URL", help="Fetch from here: files lie below it as in the folder."),
    ] = None,
    json: Json = False,
) -> None:
    """Fetch weights that are missing or wrong. Shows licences, and asks where they forbid commercial use."""
    from client.weights import folder_or_default, pull  # noqa: PLC0415

    ask = _agrees_to_all if accept_non_commercial else _asks
    with _explained(json) as output, ExitStack() as bars:

        def show(name: str) -> "ShowBytes":
            bars.close()
            bar: AbstractContextManager[ShowBytes] = output.transfer("fetch", name)
            return bars.enter_context(bar)

        found = pull(folder_or_default(folder), names or (), ask, show, mirror)
        bars.close()
        _say(found, json)


@weights.command("list")
def list_weights(names: Names = None, *, folder: Folder = None, json: Json = False) -> None:
    """Show what there is, what it is for, where it comes from, its licence, and what of it is here."""
    from client.weights import entries, folder_or_default  # noqa: PLC0415

    with _explained(json):
        _say(entries(folder_or_default(folder), names or ()), json)


@weights.command("verify")
def verify_weights(names: Names = None, *, folder: Folder = None, json: Json = False) -> None:
    """Check the files that are here; exit code 1 if one is not what it should be."""
    from client.weights import folder_or_default, verify  # noqa: PLC0415
    from contracts.weights import FileState  # noqa: PLC0415

    with _explained(json):
        found = verify(folder_or_default(folder), names or ())
        _say(found, json)
    if any(entry.state is FileState.WRONG for entry in found):
        raise typer.Exit(Exit.JOB_FAILED)


def _agrees_to_all(_licence: "Licence", _names: Sequence[str]) -> bool:
    return True


def _asks(licence: "Licence", names: Sequence[str]) -> bool:
    """Without a terminal nobody can agree."""
    typer.echo(f"{', '.join(names)}: {licence.name}\n{licence.url}", err=True)
    if not sys.stdin.isatty():
        return False
    return typer.confirm("Do you agree to use these weights only as this licence allows?", err=True)


def _say(found: "Sequence[Entry]", as_json: bool) -> None:
    for entry in found:
        licence = entry.weights.licence
        if as_json:
            fields = {
                "event": "weights",
                "name": entry.weights.name,
                "file": entry.file.name,
                "state": entry.state.value,
                "serves": list(entry.weights.serves),
                "source": entry.file.url,
                "digest": entry.file.digest,
                "licence": licence.name,
                "commercial": licence.commercial,
                "path": str(entry.path),
            }
            typer.echo(json_text.dumps(fields))
        else:
            typer.echo(f"{entry.weights.name}: {entry.state}")
            typer.echo(f"  for {', '.join(entry.weights.serves)}")
            typer.echo(f"  {entry.path}")
            typer.echo(f"  from {entry.file.url}")
            typer.echo(f"  licence: {licence.name}, {licence.url}")


@contextmanager
def _explained(json: bool) -> "Iterator[Output]":
    """Errors become a sentence and an exit code."""
    from client.output import JsonOutput, TerminalOutput  # noqa: PLC0415

    output: Output = JsonOutput() if json else TerminalOutput()
    try:
        yield output
    except ClientError as error:
        output.error(error.code, error.message)
        raise typer.Exit(exit_code(error)) from None

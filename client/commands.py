"""The `alidade` command. What a command needs is imported when it runs, so that `--help` comes at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.connection import DEFAULT_STATE, KEY_VARIABLE, URL_VARIABLE, find_connection
from client.errors import ClientError, FileUnusable
from client.exit_codes import EXPLAINED, Exit, exit_code
from client.weights_commands import weights

if TYPE_CHECKING:
    from client.api import Alidade
    from client.models import Update
    from client.output import Output
    from client.submission import Submission
    from contracts.jobs import JobKind

app = typer.Typer(
    name="alidade",
    help="Turns captures, laser scans, photographs and views into models: submit, watch, download; and runs the whole system "
    "on one machine.",
    epilog=EXPLAINED,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help="Who may come in.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(weights, name="weights")


class Kind(StrEnum):
    """What can be submitted. The words of `contracts.jobs.JobKind`, which is not imported for `--help`."""

    CAPTURE = "capture"
    BUILDING = "building"
    OBJECT = "object"
    SCENE = "scene"


Url = Annotated[str | None, typer.Option("--url", help=f"The server, else {URL_VARIABLE}, else what `up` has left.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help=f"Else {KEY_VARIABLE}, else what `up` has left.")]
State = Annotated[Path, typer.Option("--state", help="State folder of `alidade up`.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on standard output.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="File, or an existing folder.", show_default="this folder")]
HERE = Path()


@app.command()
def submit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A capture's or photographs' ZIP, a point cloud, or a folder of six views and depth renders.",
            show_default=False,
        ),
    ],
    *,
    kind: Annotated[Kind | None, typer.Option(help="What it is, where the files do not tell.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be given many times.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Of a point cloud: YAML with its settings.")] = None,
    cameras: Annotated[Path | None, typer.Option(help="Of an object: JSON with its cameras.")] = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Stay until the job ends.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the result goes, file or folder; implies --watch.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Upload something and start a job on it."""
    from client.kinds import recognise  # noqa: PLC0415
    from client.settings_flags import SETTINGS, parse_settings  # noqa: PLC0415
    from client.submission import Submission  # noqa: PLC0415
    from contracts.jobs import JobKind  # noqa: PLC0415

    # What is wrong on this side is said first, whatever the server.
    with _explained(json):
        _require(path)
        found = JobKind(kind) if kind else recognise(path)
        asked = Submission(found, path, parse_settings(settings or (), SETTINGS[found]), config, cameras)
    with _session(json, url, api_key, state) as (output, alidade):
        # A wrong key is found out before gigabytes are sent.
        alidade.jobs()
        job_id = _submit(output, alidade, asked)
        output.started(job_id)
        if watch_it or out is not None:
            _watch_to_the_end(output, alidade, job_id)
        if out is not None:
            _download(output, alidade, job_id, out, found)


@app.command()
def watch(
    job_id: JobId,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the result goes, file or folder.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Follow a job to its end."""
    with _session(json, url, api_key, state) as (output, alidade):
        last = _watch_to_the_end(output, alidade, job_id)
        if out is not None:
            _download(output, alidade, job_id, out, last.kind)


@app.command()
def jobs(*, url: Url = None, api_key: ApiKey = None, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """List your captures' jobs, most recent first."""
    with _session(json, url, api_key, state) as (output, alidade):
        output.jobs(alidade.jobs())


@app.command()
def status(
    job_id: JobId, *, url: Url = None, api_key: ApiKey = None, state: State = DEFAULT_STATE, json: Json = False
) -> None:
    """Show where a job is, with its settings and warnings."""
    with _session(json, url, api_key, state) as (output, alidade):
        output.status(alidade.status(job_id))


@app.command()
def logs(
    job_id: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job ends.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Print what a job says."""
    with _session(json, url, api_key, state) as (output, alidade):
        said = _say_new_lines(output, alidade, job_id, 0)
        if follow:
            with _runs_on(output, job_id):
                for _ in alidade.watch(job_id, on_notice=output.notice):
                    said = _say_new_lines(output, alidade, job_id, said)


@app.command()
def cancel(
    job_id: JobId, *, url: Url = None, api_key: ApiKey = None, state: State = DEFAULT_STATE, json: Json = False
) -> None:
    """Stop a job."""
    with _session(json, url, api_key, state) as (output, alidade):
        alidade.cancel(job_id)
        output.cancelled(job_id)


@app.command()
def download(
    job_id: JobId,
    *,
    out: Out = HERE,
    url: Url = None,
    api_key: ApiKey = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Fetch a job's result. An incomplete download is taken up where it stopped."""
    with _session(json, url, api_key, state) as (output, alidade):
        _download(output, alidade, job_id, out, alidade.present(job_id).kind)


@app.command()
def doctor(*, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Check what this machine lacks for running everything, and say how to mend it."""
    from client.doctor import main  # noqa: PLC0415

    raise typer.Exit(main(state, json_lines=json))


@keys.command("add")
def add_key(
    *,
    owner: Annotated[str, typer.Option(help="Whose key it is; jobs belong to this name.", show_default=False)],
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Make an API key. Run it where the server runs; running services notice by themselves."""
    from client.access_keys import add  # noqa: PLC0415

    with _explained(json) as output:
        output.key(owner, add(state, owner))


@app.command()
def up(
    *,
    state: Annotated[Path, typer.Option(help="Where everything is kept.")] = DEFAULT_STATE,
    host: Annotated[str, typer.Option(help="Address of the gateway.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")] = 8000,
    remap_port: Annotated[int, typer.Option(min=0, max=65535, help="The ReMap API's own port; 0 likewise.")] = 5000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many jobs are computed at the same time.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON line with url, api_key, username, password.")] = False,
) -> None:
    """Run the whole system on this machine until Ctrl-C."""
    from deploy.local.up import UpOptions, main  # noqa: PLC0415

    options = UpOptions(state=state, host=host, port=port, remap_port=remap_port, sfm_workers=workers, json=json)
    with _explained(json):
        try:
            code = main(options)
        except OSError as error:
            raise FileUnusable(f"{error.filename or state} cannot be used: {error.strerror}.") from None
    raise typer.Exit(code)


@contextmanager
def _explained(json: bool) -> Iterator["Output"]:
    """Errors become a sentence and an exit code."""
    from client.output import JsonOutput, TerminalOutput  # noqa: PLC0415

    output: Output = JsonOutput() if json else TerminalOutput()
    try:
        yield output
    except ClientError as error:
        output.error(error.code, error.message)
        raise typer.Exit(exit_code(error)) from None


@contextmanager
def _session(json: bool, url: str | None, api_key: str | None, state: Path) -> Iterator[tuple["Output", "Alidade"]]:
    from client.api import Alidade  # noqa: PLC0415

    with _explained(json) as output:
        found = find_connection(url, api_key, state)
        with Alidade(found.url, found.api_key) as alidade:
            yield output, alidade


def _require(path: Path) -> None:
    if not path.exists():
        raise FileUnusable(f"{path} is not there.")


def _submit(output: "Output", alidade: "Alidade", asked: "Submission") -> str:
    """Send everything, and start the job. Returns its id."""
    with output.transfer("upload", asked.path.name) as show:
        return asked.send(alidade, show, output.uploaded)


def _watch_to_the_end(output: "Output", alidade: "Alidade", job_id: str) -> "Update":
    """The last update. Raises typer.Exit unless the job completes."""
    last: Update | None = None
    with _runs_on(output, job_id), output.watching(job_id) as show:
        for last in alidade.watch(job_id, on_notice=output.notice):
            show(last)
    assert last is not None
    output.ended(last)
    match last.status.value:
        case "completed":
            return last
        case "cancelled":
            raise typer.Exit(Exit.CANCELLED)
        case _:
            raise typer.Exit(Exit.JOB_FAILED)


@contextmanager
def _runs_on(output: "Output", job_id: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the job."""
    try:
        yield
    except KeyboardInterrupt:
        output.notice(
            f"The job runs on. Watch it again with `alidade watch {job_id}`, stop it with `alidade cancel {job_id}`."
        )
        raise typer.Exit(Exit.INTERRUPTED) from None


def _download(output: "Output", alidade: "Alidade", job_id: str, out: Path, kind: "JobKind") -> None:
    try:
        with output.transfer("download", job_id) as show:
            done = alidade.download(job_id, out, show, kind=kind)
    except KeyboardInterrupt:
        output.notice(f"What has come is kept. Go on with `alidade download {job_id} --out {out}`.")
        raise typer.Exit(Exit.INTERRUPTED) from None
    output.downloaded(done)


def _say_new_lines(output: "Output", alidade: "Alidade", job_id: str, said: int) -> int:
    lines = alidade.logs(job_id)
    for line in lines[said:]:
        output.log_line(line)
    return len(lines)

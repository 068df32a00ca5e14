"""The ``mitral`` command. Every verb is thin: it reads arguments, calls one function, prints.

Heavy imports are inside the verbs, so that ``mitral --help`` answers at once. Results go to stdout
(one JSON value with ``--json``), everything else to stderr. Exit codes: 0 ok, 1 unexpected, 2 usage,
3 configuration, 4 data or integrity, 5 conflict, 6 some points failed, 7 over a limit, 130 interrupted,
143 terminated.
"""

import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from .messages import Console, as_json, printable

HELP = """Decode neural populations: what can be read out, when, from how many neurons, and in which animals.

Start with 'mitral demo'. Then, on recordings of your own:

  mitral ingest arrays my_recording/ --store lab

  mitral ls --store lab

  mitral run examples/odor_identity_demo.toml --store lab

  mitral app --store lab

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration, 4 data or integrity, 5 conflict, 6 some points failed,
7 over a limit, 130 interrupted, 143 terminated.
"""

app = typer.Typer(help=HELP, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)

StoreOption = Annotated[
    Path, typer.Option("--store", help="Folder of the lab store.", envvar="MITRAL_STORE", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, for programs.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of the linear algebra libraries.")]
FolderOption = Annotated[Path, typer.Option("--folder", help="Where the demo lab and its report go.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="HTML report; the default is NAME.html here.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides the file, as validation.n_folds=10.")
]
ReaderOption = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="NAME=VALUE", help="For the reader, as animal=m1.")
]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on this machine.")]
AddressOption = Annotated[str, typer.Option("--address", help="Of this machine only: the explorer has no login yet.")]
DEFAULT_STORE = Path("lab")
MOST_COLUMNS = 200  # of one session or result, to show


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mitral {__version__}")
        raise typer.Exit()


@app.callback()
def _mitral(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(folder: FolderOption = Path("mitral-demo"), as_json: JsonOption = False, threads: ThreadsOption = 1) -> None:
    """Simulate a lab, decode its odors.

    Makes recordings of five mice, stores them, decodes odor identity in each, and writes a report.

    Example: mitral demo --folder my-demo
    """
    from .demo import run_demo

    console = Console(as_json)
    with console.progress() as progress:
        outcome, tables, lines = run_demo(folder, threads=threads, progress=progress, say=console.say)
    console.result(outcome, tables=tables, lines=lines)


@app.command()
def fetch(
    source: Annotated[str, typer.Argument(help="A published data set, for example iurilli2017.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the files; the default is ./SOURCE.")] = None,
    from_folder: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder instead of the network.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a published data set.

    Every file is checked against its sha256; what is there already and right is not downloaded again.

    Example: mitral fetch iurilli2017 --to iurilli2017
    """
    from .verbs import fetch_files

    console = Console(as_json)
    with console.progress() as progress:
        outcome, lines = fetch_files(source, to or Path(source), from_folder, progress=progress, say=console.say)
    console.result(outcome, lines=lines)


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="The format or data set: arrays, nwb, iurilli2017.")],
    path: Annotated[Path, typer.Argument(help="The file or folder to read.")],
    store: StoreOption = DEFAULT_STORE,
    option: ReaderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read recordings into a store.

    Each recording becomes a checked session. Where there is no store yet, one is made.

    Example: mitral ingest arrays my_recording/ --store lab
    """
    from .verbs import ingest_sessions

    console = Console(as_json)
    with console.progress() as progress:
        outcome, lines = ingest_sessions(source, path, store, option or [], progress=progress, say=console.say)
    console.result(outcome, lines=lines)


@app.command("ls")
def ls(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List sessions and results.

    Example: mitral ls --store lab --json
    """
    from .verbs import list_store

    console = Console(as_json)
    outcome, tables, lines = list_store(store)
    console.result(outcome, tables=tables, lines=lines)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Id of a session, or name of a result.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show one session or result.

    Says what it holds and where it came from.

    Example: mitral show mouse-1 --store lab
    """
    from .verbs import show_entry

    console = Console(as_json)
    outcome, tables = show_entry(store, name)
    console.result(outcome, tables=tables, most_rows=MOST_COLUMNS)


@app.command()
def verify(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check that nothing is damaged.

    Reads every stored byte and compares it with its sha256.

    Example: mitral verify --store lab
    """
    from .verbs import verify_store

    console = Console(as_json)
    with console.progress() as progress:
        outcome, lines = verify_store(store, progress=progress)
    console.result(outcome, lines=lines)
    if outcome["problems"]:
        raise typer.Exit(4)


@app.command("run")
def run_config(
    config: Annotated[Path, typer.Argument(help="TOML file that says what to decode.")],
    store: StoreOption = DEFAULT_STORE,
    report: ReportFile = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
) -> None:
    """Decode as a file describes.

    Saves the results in the store and writes a report. What has been computed before is not computed again.

    Example: mitral run examples/odor_identity_demo.toml --store lab
    """
    from .runs import run_file

    console = Console(as_json)
    with console.progress() as progress:
        outcome, tables, lines = run_file(config, store, report, set_ or [], threads=threads, progress=progress)
    console.result(outcome, tables=tables, lines=lines)


@app.command("app")
def explore(
    store: StoreOption = DEFAULT_STORE,
    port: PortOption = 8501,
    address: AddressOption = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Open the explorer in a browser.

    Example: mitral app --store lab
    """
    import subprocess

    from ..datasets.store import Store
    from .explorer.launch import app_command, app_environment

    Store(store)
    command, url = app_command(store, port=port, address=address), f"http://{address}:{port}"
    console = Console(as_json)
    console.say("Ctrl-C stops it")
    console.result({"store": str(store), "url": url}, lines=[f"Explorer of {store}: {url}"])
    raise typer.Exit(subprocess.call(command, env=app_environment(store), stdout=sys.stderr))


STOPS = {
    128 + signal.SIGINT: "interrupted; nothing was half-written. The same command goes on where this one stopped",
    128 + signal.SIGTERM: "terminated; nothing was half-written. The same command goes on where this one stopped",
}


def main() -> None:
    """Run the command and turn errors and signals into messages and exit codes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs ignore some
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a name must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        raise SystemExit(app(sys.argv[1:] or ["--help"], prog_name="mitral", standalone_mode=False))
    except SystemExit as stop:
        if stop.code not in STOPS:
            raise
        _fail(STOPS[stop.code], "Interrupted", stop.code)
    except Exception as error:
        _explain(error)


def _stop(number: int, frame: Any) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    raise SystemExit(128 + number)


def _explain(error: Exception) -> NoReturn:
    """A message and an exit code instead of a traceback."""
    if os.environ.get("MITRAL_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    kind, words = type(error).__name__, " ".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "mitral"
        _fail(f"{error.format_message().rstrip('.')}. See: {command} --help", kind, error.exit_code)
    if hasattr(error, "exit_code"):  # raised on purpose (datasets.errors, not imported here: it would load xarray)
        _fail(words, kind, error.exit_code)
    if isinstance(error, MemoryError):
        _fail(f"not enough memory: {words}. Use wider bins, a shorter window or fewer sessions", kind, 7)
    _fail(f"unexpected {kind}: {words}. Set MITRAL_DEBUG=1 for the traceback, and please report it", kind, 1)


def _fail(message: str, kind: str, code: int) -> NoReturn:
    if "--json" in sys.argv:
        print(as_json({"error": {"type": kind, "message": message, "exit_code": code}}), flush=True)
    print(f"mitral: {printable(message)}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()

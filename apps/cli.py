"""The ``mitral`` command. Every verb is thin: it reads arguments, calls one function, prints.

Heavy imports are inside the verbs, so that ``mitral --help`` answers at once. Results go to stdout
(one JSON value with ``--json``), everything else to stderr. Exit codes: 0 ok, 1 unexpected, 2 usage,
3 configuration, 4 data or integrity, 5 conflict, 6 some points failed, 7 over a limit, 130 interrupted,
143 terminated.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from ..datasets.errors import MitralError
from .messages import Console

HELP = """Decode neural populations: what can be read out, when, from how many neurons, and in which animals.

Start with 'mitral demo'. Then, on recordings of your own:

  mitral ingest arrays my_recording/ --store lab

  mitral ls --store lab

  mitral run examples/odor_identity_demo.toml --store lab

  mitral app --store lab

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration, 4 data or integrity, 5 conflict, 6 some points failed,
7 over a limit, 130 interrupted, 143 terminated.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)

StoreOption = Annotated[
    Path, typer.Option("--store", help="Folder of the lab store.", envvar="MITRAL_STORE", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, for programs.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of the linear algebra libraries.")]
DEFAULT_STORE = Path("lab")


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
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo lab and its report go.")] = Path("mitral-demo"),
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
) -> None:
    """Simulate a lab of five mice, store it, decode odor identity, write a report.

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
    """Download a published data set and check every file against its sha256.

    Example: mitral fetch iurilli2017 --to iurilli2017
    """
    from ..datasets.sources.fetch import fetch as fetch_files

    console = Console(as_json)
    folder = to or Path(source)
    with console.progress() as progress:
        files = fetch_files(source, folder, from_folder=from_folder, progress=progress)
    console.result(
        {"source": source, "folder": str(folder), "files": [[str(name), str(status)] for name, status in files]},
        lines=[f"{status:>10}  {name}" for name, status in files]
        + [f"Next: mitral ingest {source} {folder} --store lab"],
    )


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="The format or data set: arrays, nwb, iurilli2017.")],
    path: Annotated[Path, typer.Argument(help="The file or folder to read.")],
    store: StoreOption = DEFAULT_STORE,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE for the reader, for example set=aPCx_15.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read recordings into the store; each becomes a checked session. Makes the store if there is none.

    Example: mitral ingest iurilli2017 iurilli2017/ --store lab
    """
    from .verbs import ingest_sessions

    console = Console(as_json)
    with console.progress() as progress:
        outcome, lines = ingest_sessions(source, path, store, option or [], progress=progress, say=console.say)
    console.result(outcome, lines=lines)


@app.command("ls")
def ls(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the sessions and results of a store.

    Example: mitral ls --store lab --json
    """
    from .verbs import list_store

    console = Console(as_json)
    outcome, tables = list_store(store)
    console.result(outcome, tables=tables)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Id of a session, or name of a result.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show one session or result: what it holds, where it came from.

    Example: mitral show mouse-1 --store lab
    """
    from .verbs import show_entry

    console = Console(as_json)
    outcome, tables = show_entry(store, name)
    console.result(outcome, tables=tables)


@app.command()
def verify(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check every stored byte against its sha256.

    Example: mitral verify --store lab
    """
    from .verbs import verify_store

    console = Console(as_json)
    with console.progress() as progress:
        outcome = verify_store(store, progress=progress)
    console.result(outcome, lines=[*outcome["problems"], outcome["summary"]])
    if outcome["problems"]:
        raise typer.Exit(4)


@app.command("run")
def run_config(
    config: Annotated[Path, typer.Argument(help="TOML file that says what to decode.")],
    store: StoreOption = DEFAULT_STORE,
    report: Annotated[Path | None, typer.Option("--report", help="HTML report; the default is NAME.html here.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE overrides the file.")] = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
) -> None:
    """Decode what a configuration describes, save the results, write a report.

    Example: mitral run examples/odor_identity_demo.toml --store lab --set validation.n_permutations=1000
    """
    from .verbs import run_file

    console = Console(as_json)
    with console.progress() as progress:
        outcome, tables, lines = run_file(config, store, report, set_ or [], threads=threads, progress=progress)
    console.result(outcome, tables=tables, lines=lines)


@app.command("app")
def explore(
    store: StoreOption = DEFAULT_STORE,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on this machine.")] = 8501,
    address: Annotated[str, typer.Option("--address", help="Loopback only: the explorer has no login yet.")] = "127.0.0.1",
) -> None:
    """Open the explorer in the browser.

    Example: mitral app --store lab
    """
    import subprocess

    from ..datasets.store import Store
    from .explorer.launch import app_command

    Store(store)
    command = app_command(store, port=port, address=address)
    Console(False).say(f"Explorer of {store} at http://{address}:{port} (Ctrl-C stops it)")
    raise typer.Exit(subprocess.call(command, env=os.environ | {"MITRAL_STORE": str(store.resolve())}))


def _terminated(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command and turn errors into messages and exit codes."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(standalone_mode=True)
    except MitralError as error:
        _fail(str(error), type(error).__name__, error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was half-written", "KeyboardInterrupt", 130)
    except Exception as error:  # the last resort: say what happened, keep the traceback for a report
        if os.environ.get("MITRAL_DEBUG"):
            raise
        text = f"unexpected {type(error).__name__}: {error}. Set MITRAL_DEBUG=1 for the traceback, and please report it."
        _fail(text, type(error).__name__, 1)


def _fail(message: str, kind: str, code: int) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps({"error": {"type": kind, "message": message, "exit_code": code}}))
    print(f"mitral: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()

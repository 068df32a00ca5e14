#!/usr/bin/env python3
"""Install mitral into .venv and run it: ``python3 run.py demo | test | app | bench``.

    demo   simulate a lab of five mice, decode odors, write a report
    test   run the tests (further arguments go to pytest)
    app    browse a store (further arguments go to ``mitral app``)
    bench  run the benchmarks, or those that are named

Standard library only. Nothing outside this folder is changed; delete .venv to start afresh.
Not here: what the verbs do; this file only makes the environment that they need.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "mitral-installed.txt"  # what made .venv, and what is installed in it
OLDEST = (3, 11)
NEEDS = {"demo": "core", "test": "all", "app": "core", "bench": "all"}
LEAKS = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")  # would reach past .venv


def main(arguments):
    """Make what the verb needs, then become the command that does it; return the exit code of a failure."""
    if sys.version_info[:2] < OLDEST:
        return fail(
            "mitral needs Python {}.{} or newer, this is Python {} ({}). ".format(
                *OLDEST, sys.version.split()[0], sys.executable
            )
            + "Install a newer one and run it by name, for instance: python3.11 run.py demo"
        )
    if os.name != "posix":
        return fail("mitral runs on Linux and macOS; on Windows, run this inside WSL.")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb not in NEEDS:
        return fail(f"unknown verb {verb!r}: expected one of {', '.join(NEEDS)}, as in: python3 run.py demo", code=2)
    environment = {name: value for name, value in os.environ.items() if name not in LEAKS}
    code = install(NEEDS[verb], environment)
    if code:
        return code
    if verb == "bench":
        return bench(rest, environment)
    command = [str(VENV / "bin" / "mitral"), verb]
    if verb == "test":
        os.chdir(ROOT)
        workers = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
        command = [str(PYTHON), "-P", "-m", "pytest", *workers]  # -P: the folders of the root are no modules
        environment.setdefault("OMP_NUM_THREADS", "1")  # a worker a core, and one thread in each
    sys.stdout.flush()
    os.execve(command[0], command + rest, environment)  # exit codes and signals are now the command's own


def install(extent, environment):
    """Bring .venv to ``extent`` ("core" or "all"), or leave it when nothing changed; return an exit code."""
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    inputs = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    made_by = f"{ROOT} with Python {sys.version_info[0]}.{sys.version_info[1]}"
    stamp = STAMP.read_text(encoding="utf-8").splitlines() if STAMP.exists() else []
    if stamp[:1] == [made_by] and PYTHON.exists():
        if stamp[1:] in ([inputs, extent], [inputs, "all"]):
            return 0
    elif stamp or not (PYTHON.exists() and (VENV / "bin" / "pip").exists()):
        code = make_venv(environment, clear=bool(stamp))  # only what this file made is thrown away
        if code:
            return code
        STAMP.write_text(f"{made_by}\n", encoding="utf-8")
    print(f"mitral: installing {extent} into {VENV}", flush=True)
    print(f"mitral: download {download_size(extent)}; less what is already here", flush=True)
    target = str(ROOT) if extent == "core" else f"{ROOT}[all]"
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    code = subprocess.call([*pip, "-c", str(ROOT / "constraints.txt"), "-e", target], env=environment)
    if code:
        return fail(
            "pip could not install; its own message stands above. Without a network, or behind a proxy, pip finds no "
            "packages: connect, or set HTTPS_PROXY or PIP_INDEX_URL for pip. Then run this again; "
            "what is already downloaded is kept.",
            code=code,
        )
    STAMP.write_text(f"{made_by}\n{inputs}\n{extent}\n", encoding="utf-8")
    return 0


def make_venv(environment, *, clear):
    """Make .venv with the Python that runs this file; return an exit code."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        return fail(
            f"this Python ({sys.executable}) comes without its module {missing[0]!r}, which makes .venv. "
            "On Debian and Ubuntu, as root: apt install python3-venv. Then run this again."
        )
    print(f"mitral: making {VENV} with Python {sys.version.split()[0]}", flush=True)
    command = [sys.executable, "-m", "venv", *(["--clear"] if clear else []), str(VENV)]
    code = subprocess.call(command, env=environment)
    return fail(f"{' '.join(command)} did not succeed; its own message stands above.", code=code) if code else 0


def download_size(extent):
    """The measured download size that constraints.txt states for "core" or "all"."""
    start = f"# download of {extent}: "
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next((line[len(start):] for line in lines if line.startswith(start)), "size not measured")


def bench(names, environment):
    """Run the named benchmarks, or all; return the first exit code that is not 0."""
    scripts = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py")) if path.stem != "__init__"}
    unknown = [name for name in names if name not in scripts]
    if unknown:
        return fail(f"no benchmark {unknown[0]!r}; there are: {', '.join(scripts) or 'none'}", code=2)
    codes = []
    for name in names or scripts:
        print(f"mitral: benchmark {name}", flush=True)
        codes.append(subprocess.call([str(PYTHON), str(scripts[name])], env=environment))
    return next((code for code in codes if code), 0)


def fail(message, *, code=1):
    """Say on stderr what is wrong and what to do; return the exit code."""
    print(f"mitral: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nmitral: stopped; run the same command to go on.", file=sys.stderr)
        sys.exit(130)

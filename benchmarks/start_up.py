"""How long a newcomer waits: ``import mitral`` and ``mitral --help``, beside what Python itself takes.

    python3 run.py bench start_up

Whole processes on a warm disk, medians of ten; held to 0.1 s for the import alone and 0.7 s for the help.
"""

import statistics
import subprocess
import sys
import time

REPEATS = 10
JOBS = {
    "python, nothing imported": ["-c", "pass"],
    "import mitral": ["-c", "import mitral"],
    "mitral --help": ["-c", "import sys; sys.argv = ['mitral', '--help']; from mitral.apps.cli import main; main()"],
}
LIMITS_S = {"import mitral": 0.1, "mitral --help": 0.7}


def seconds(arguments: list[str]) -> float:
    """Median wall time of a process."""
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    measured = {job: seconds(arguments) for job, arguments in JOBS.items()}
    bare = measured["python, nothing imported"]
    print("| job | median | without Python's own start | held to | of the limit |")
    print("|---|---|---|---|---|")
    for job, limit in LIMITS_S.items():
        own = measured[job] - bare
        counted = own if job == "import mitral" else measured[job]
        print(f"| {job} | {measured[job]:.3f} s | {own:.3f} s | {limit} s | {counted / limit:.0%} |")


if __name__ == "__main__":
    main()

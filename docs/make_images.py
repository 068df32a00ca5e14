"""Make the pictures of the documentation from a real run of the demo: ``python docs/make_images.py``."""

import tempfile
from pathlib import Path

from mitral.apps.demo import demo_config, run_demo
from mitral.apps.figures import save_figure
from mitral.apps.pipeline import run
from mitral.datasets import Store

IMAGES = Path(__file__).resolve().parent / "images"


def main() -> None:
    """Run the demo in a temporary folder and draw its study and the trajectories of one mouse."""
    with tempfile.TemporaryDirectory() as name:
        run_demo(Path(name), threads=1, progress=lambda what, done, total: print(what), say=print)
        outcome = run(demo_config(), Store(Path(name) / "lab"))
        print(save_figure("accuracy", outcome.study, IMAGES / "demo_accuracy.svg", width_mm=180))


if __name__ == "__main__":
    main()

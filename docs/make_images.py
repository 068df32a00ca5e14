"""Make the pictures of the documentation from real runs: ``python docs/make_images.py``.

Pictures of real recordings need them: the folder that ``MITRAL_DATA`` names, or ``../shared/data``; else they are left
as they are, saying so.
"""

import csv
import os
import tempfile
from pathlib import Path

import numpy as np
import scipy.io
import xarray as xr
from sklearn.pipeline import make_pipeline

from mitral.apps.demo import demo_config, run_demo
from mitral.apps.figures import save_figure
from mitral.apps.pipeline import run
from mitral.datasets import Store, bin_spikes, make_folds, read_sessions, simulate_olfactory_lab
from mitral.datasets.preprocess import SquareRoot
from mitral.decode import (
    cross_validate_over_time,
    fit_saturation,
    generalise_over_time,
    make_decoder,
    make_reducer,
    mean_curve,
    neuron_dropping,
    reduce,
    separation_over_time,
    with_null_over_time,
)

IMAGES = Path(__file__).resolve().parent / "images"


def main() -> None:
    """Draw every picture whose data are there."""
    demo()
    trajectories()
    decoding()
    data = Path(os.environ.get("MITRAL_DATA", IMAGES.parents[2] / "shared" / "data"))
    real = {
        piriform: "olfactory/iurilli_2017",
        bees: "olfactory/gmocion_bee",
        track: "ziv_hippocampus_7mice/real/Full data set/CA1",
    }
    for draw, folder in real.items():
        if (data / folder).is_dir():
            draw(data / folder)
        else:
            print(f"no {data / folder}: pictures of {draw.__name__} are left as they are")


def demo() -> None:
    """Run the demo in a temporary folder and draw its study."""
    with tempfile.TemporaryDirectory() as name:
        run_demo(Path(name), threads=1, progress=lambda what, done, total: print(what), say=print)
        outcome = run(demo_config(), Store(Path(name) / "lab"))
        print(save_figure("accuracy", outcome.study, IMAGES / "demo_accuracy.svg", width_mm=180))


def trajectories() -> None:
    """Principal components of a simulated mouse, and how far its odors are apart."""
    session = simulate_olfactory_lab(random_state=0, n_animals=1).sessions["mouse-1"]
    activity = bin_spikes(session, event="inhalation_onset", window_s=(-0.2, 0.6), bin_width_s=0.05)
    paths = reduce(activity, make_pipeline(SquareRoot(), make_reducer("pca", n_latents=3)))
    print(save_figure("trajectories", paths, IMAGES / "simulated_trajectories.svg", width_mm=180))
    result = separation_over_time(paths, "odor", n_permutations=200, random_state=0, within="block")
    print(save_figure("over_time", result, IMAGES / "simulated_separation.svg"))


def decoding() -> None:
    """Three simulated mice: when the odor of one can be decoded, for how long the code holds, from how many units."""
    lab = simulate_olfactory_lab(
        random_state=0, n_animals=3, n_units=(40, 60), n_blocks=8, strength=0.5, concentrations=(0.01, 0.1)
    )
    decoder, curves = make_decoder("pooled_lda"), []
    for name, session in lab.sessions.items():
        whole = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.5), bin_width_s=0.5)
        folds = make_folds(whole, target="odor", n_folds=4, random_state=0, group="block")
        given = {"n_units": (2, 5, 10, 20, 40), "n_repeats": 10, "random_state": 0}
        curves.append(neuron_dropping(whole, "odor", decoder, folds, **given))
        if name == "mouse-1":
            activity = bin_spikes(session, event="inhalation_onset", window_s=(-0.2, 0.6), bin_width_s=0.05)
            result = cross_validate_over_time(activity, "odor", decoder, folds)
            result = with_null_over_time(result, activity, decoder, folds, n_permutations=200, random_state=0)
            print(save_figure("over_time", result, IMAGES / "decoding_over_time.svg"))
            general = generalise_over_time(activity, "odor", decoder, folds)
            print(save_figure("generalisation", general, IMAGES / "decoding_generalisation.svg"))
    curve = fit_saturation(mean_curve(curves, random_state=0), random_state=0)
    print(save_figure("curve", curve, IMAGES / "decoding_units.svg"))


def piriform(folder: Path) -> None:
    """Distances between 15 odors in each experiment of Iurilli & Datta 2017, and the trajectories of one."""
    found = {}
    for session in read_sessions("iurilli2017", folder, set="aPCx_15"):
        activity = bin_spikes(session, event="inhalation_onset", window_s=(-0.5, 1.0), bin_width_s=0.1)
        n_latents = min(5, activity.sizes["unit"])
        paths = reduce(activity, make_pipeline(SquareRoot(), make_reducer("pca", n_latents=n_latents)))
        name = session.attrs["session"].removeprefix("iurilli2017-aPCx_15-")
        found[f"experiment {name}"] = separation_over_time(paths, "odor", n_permutations=200, random_state=0)
    print(save_figure("over_time", found, IMAGES / "piriform_separation.svg", width_mm=180))


def bees(folder: Path) -> None:
    """Mean glomerular trajectories of all bees by dose, in the principal components of the mean."""
    mean = np.nanmean([_bee(path) for path in sorted(folder.glob("*_*.csv"))], axis=0)
    activity = xr.DataArray(
        mean,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(mean)),
            "time": (np.arange(80) + 0.5) / 8 - 2,
            "unit": [f"glomerulus {unit}" for unit in range(mean.shape[2])],
            "dose": ("trial", np.arange(len(mean))),
        },
        attrs={"session": "31 bees", "animal": "31 bees", "event": "odor_onset", "bin_width_s": 0.125, "units": "dF/F"},
    )
    paths = reduce(activity, make_reducer("pca", n_latents=1))
    print(save_figure("trajectories", paths, IMAGES / "bee_doses.svg", color="dose"))


def track(folder: Path) -> None:
    """Laps of a mouse on a track, in the principal components of its mean events at each place."""
    events = scipy.io.loadmat(folder / "C6M4_spike_train.mat")["spike_train"][0, 0, 0]
    position = scipy.io.loadmat(folder / "C6M4_stimulus_trace.mat")["stimulus_trace"][0, 0, 0].ravel().astype(int)
    lap = np.cumsum(np.r_[0, np.abs(np.diff(position)) > 8])
    places = np.unique(position)
    runs = [[(lap == k) & (position == place) for place in places] for k in range(lap.max() + 1)]
    whole = [run for run in runs if all(here.any() for here in run)]
    activity = xr.DataArray(
        [[(events[here] > 0).mean(axis=0) for here in run] for run in whole],
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(whole)),
            "time": ("time", places - float(places[0]), {"units": "place bins"}),
            "unit": [f"cell {cell}" for cell in range(events.shape[1])],
            "laps": ("trial", np.where(np.arange(len(whole)) % 2, "odd", "even")),
        },
        attrs={"session": "C6M4", "animal": "C6M4", "event": "start_of_the_track", "bin_width_s": 1.0}
        | {"units": "events per frame"},
    )
    paths = reduce(activity, make_reducer("pca", n_latents=3))
    print(save_figure("trajectories", paths, IMAGES / "track_trajectories.svg", color="laps", width_mm=180))


def _bee(path: Path) -> np.ndarray:
    """(dose, frame, glomerulus) of the part without drug; blank cells are NaN."""
    rows = [row for row in csv.reader(path.read_text(encoding="utf-8").splitlines()) if row[2] == "SAL"]
    units = sorted({row[0] for row in rows})
    values = np.full((10, 80, len(units)), np.nan)
    for unit, dose, _, *frames in rows:
        values[int(dose), :, units.index(unit)] = [float(v) if v else np.nan for v in frames]
    return values


if __name__ == "__main__":
    main()

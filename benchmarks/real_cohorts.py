"""Cohorts of real animals as activities, read from their files: for ``transfer_real.py`` and nothing else.

The folder is that of the environment variable MITRAL_DATA, or ``../shared/data`` beside the checkout.
"""

import os
from pathlib import Path

import numpy as np
import scipy.io
import xarray as xr

from mitral.datasets import bin_spikes
from mitral.datasets.sources.iurilli2017 import read_iurilli2017

ROOT = Path(os.environ.get("MITRAL_DATA") or Path(__file__).resolve().parent.parent.parent / "shared" / "data")
Cohort = dict[str, xr.DataArray]


def activity_of(
    values: np.ndarray, labels: np.ndarray, *, session: str, animal: str, time: np.ndarray | None = None
) -> xr.DataArray:
    """An activity (trial, time, unit) with the column ``condition``."""
    time = np.arange(values.shape[1], dtype=float) if time is None else time
    return xr.DataArray(
        values,
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(values)), "time": time,
            "unit": [f"{session}-{u}" for u in range(values.shape[2])], "condition": ("trial", labels),
        },
        attrs={"session": session, "animal": animal, "event": "stimulus", "bin_width_s": 1.0, "units": "a.u."},
    )  # fmt: skip


def burton() -> Cohort:
    """Eight bulbs of four mice: 185 odors, averages over trials of 103 to 142 glomeruli."""
    file = scipy.io.loadmat(ROOT / "olfactory/burton_2022/odormappingdata_simple_05_2022.mat")
    names = np.array([str(np.ravel(name)[0]) for name in file["odornameslist"].ravel()])
    odors = np.array([not any(word in name for word in ("empty", "triglyceride")) for name in names])
    found = {key.split("_")[1][3:]: file[key].T for key in file if key.startswith("respmatrix")}
    return {
        bulb: activity_of(X[odors][:, None], names[odors], session=bulb, animal=bulb[:3]) for bulb, X in found.items()
    }


def chae() -> Cohort:
    """Ten hemibulbs of five mice: 57 odors, averages over trials of 65 to 116 glomeruli."""
    folder = ROOT / "olfactory/chae_2019/glomerular_data/glomerular_responses/glomerular_responses__main"
    cohort = {}
    for path in sorted(folder.glob("*/*/*_responses.mat")):
        (X,) = (value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__"))
        animal = path.parts[-3].removeprefix("animal_#")
        session = f"{animal}-{path.parts[-2].split('_')[0]}"
        labels = np.array([f"odor-{k:02d}" for k in range(len(X))])
        cohort[session] = activity_of(-np.asarray(X, float)[:, None], labels, session=session, animal=animal)
    return cohort


def bees(*, first_block: bool) -> Cohort:
    """Named glomeruli of bees: ten concentrations, mean of every second of the odor.

    ``first_block``: one trial of each concentration of all bees; else both trials of the seven untreated bees.
    """
    cohort = {}
    for path in sorted((ROOT / "olfactory/gmocion_bee").glob("*_*.csv")):
        if path.stem.startswith("SAL") or first_block:
            rows = [line.split(",") for line in path.read_text().split()]
            frames = np.array([[float(word or "nan") for word in row[3:83]] for row in rows])
            step, glomerulus = (np.array([int(row[k]) for row in rows]) for k in (1, 0))
            names, seen = np.unique(glomerulus), np.zeros((10, 11), int)
            X = np.full((20, 4, len(names)), np.nan)
            for row, (s, g) in enumerate(zip(step, np.searchsorted(names, glomerulus), strict=True)):
                X[2 * s + seen[s, g]][:, g] = frames[row, 16:48].reshape(4, 8).mean(axis=1)
                seen[s, g] += 1
            kept = np.arange(0, 20, 2) if first_block else np.arange(20)
            if np.isfinite(X[kept]).all():
                labels = np.repeat(np.arange(10), 2)[kept]
                cohort[path.stem] = activity_of(X[kept], labels, session=path.stem, animal=path.stem)
    return cohort


def gratings() -> Cohort:
    """Seven mice, primary visual cortex: 8 directions of 16 trials, mean of every half second of the stimulus."""
    cohort = {}
    for path in sorted((ROOT / "other/v1_gratings_7mice").glob("*.npz")):
        with np.load(path) as file:
            dff, t, direction = file["dff"], file["t"], file["direction"]
        bins = [(t >= start) & (t < start + 0.5) for start in (0.0, 0.5, 1.0, 1.5)]
        X = np.stack([dff[:, :, here].mean(axis=2).T for here in bins], axis=1)
        name = path.stem.split("_")[0]
        cohort[name] = activity_of(X, direction, session=name, animal=name)
    return cohort


def iurilli(*, fewest_units: int = 10) -> Cohort:
    """Experiments in piriform cortex: 15 odors of 10 trials, spikes of the first second, square root."""
    cohort = {}
    for session in read_iurilli2017(ROOT / "olfactory/iurilli_2017", set="aPCx_15"):
        if session.sizes["unit"] >= fewest_units:
            counts = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=0.5)
            name = session.attrs["session"]
            labels = counts["odor"].to_numpy()
            cohort[name] = activity_of(np.sqrt(counts.to_numpy()), labels, session=name, animal=name)
    return cohort


def burton_trials(*, n_odors: int = 20, n_trials: int = 8, random_state: int = 0) -> Cohort:
    """Semi-real: trials around the tuning of four left bulbs, with noise of twice the spread of each glomerulus."""
    rng = np.random.default_rng(random_state)
    whole = {name: activity for name, activity in burton().items() if name.endswith("L")}
    odors = rng.permutation(next(iter(whole.values()))["condition"].to_numpy())[:n_odors]
    cohort = {}
    for name, activity in whole.items():
        X = activity.to_numpy()[np.isin(activity["condition"].to_numpy(), odors)]
        labels = np.repeat(activity["condition"].to_numpy()[np.isin(activity["condition"].to_numpy(), odors)], n_trials)
        trials = np.repeat(X, n_trials, axis=0)
        trials = trials + 2.0 * X.std(axis=0) * rng.normal(size=trials.shape)
        cohort[name] = activity_of(trials, labels, session=name, animal=name)
    return cohort


def images() -> Cohort:
    """Patterns of 92 images in a monkey and four humans, as far as their published dissimilarities tell (20 axes)."""
    folder = ROOT / "kriegeskorte92_rdms"
    squares = {}
    for entry in scipy.io.loadmat(folder / "Kriegeskorte_Neuron2008_supplementalData.mat")["RDMs_mIT_hIT_fig1"].ravel():
        if str(entry["name"][0]).startswith("mIT"):
            square = np.zeros((92, 92))
            square[np.triu_indices(92, 1)] = entry["RDM"].ravel()
            squares["monkey"] = square + square.T
    humans = scipy.io.loadmat(folder / "92_brainRDMs.mat")["RDMs"][0]
    for human in range(4):
        squares[f"human-{human + 1}"] = np.mean([humans[human, s]["RDM"] for s in range(2)], axis=0)
    cohort = {}
    for name, square in squares.items():
        gram = -0.5 * np.asarray(square, float)
        gram = gram - gram.mean(axis=0) - gram.mean(axis=1, keepdims=True) + gram.mean()
        values, vectors = np.linalg.eigh(gram)
        X = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :20]
        cohort[name] = activity_of(X[:, None], np.arange(92), session=name, animal=name)
    return cohort


def worms() -> dict[str, dict[str, np.ndarray]]:
    """Seven worms: traces (n_samples, n_units) of all units and of the 32 named in all, velocity, and reversals."""
    import h5py

    folder = ROOT / "flavell_worms_9"
    with h5py.File(folder / "NeuroPAL_labels_dict.jld2", "r") as file:
        labels = _decoded(file, file["NeuroPAL_labels"][()])["dict_match_dict"]
    found = {}
    for path in sorted((folder / "swf702_with_id").glob("*.h5")):
        name = path.name.removesuffix("-data.h5")
        with h5py.File(path, "r") as file:
            traces, velocity = file["gcamp/trace_array"][:], file["behavior/velocity"][:]
            reversal = file["behavior/reversal_vec"][:].astype(int)
        sure = {
            int(key) - 1: entry["label"]
            for key, entry in labels[name]["1"].items()
            if entry["confidence"] >= 3 and int(key) <= traces.shape[1]
        }
        found[name] = {"traces": traces, "velocity": velocity, "reversal": reversal, "label": sure}
    common = sorted(set.intersection(*(set(worm["label"].values()) for worm in found.values())))
    for worm in found.values():
        position = {label: unit for unit, label in worm.pop("label").items()}
        traces = worm["traces"] = (worm["traces"] - worm["traces"].mean(axis=0)) / worm["traces"].std(axis=0)
        worm["named"] = traces[:, [position[label] for label in common]]
    return found


def _decoded(file, value):
    """A value of a Julia file: references are followed, lists of pairs become dicts."""
    import h5py

    if isinstance(value, h5py.Reference):
        return _decoded(file, file[value][()]) if value else None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.void) and value.dtype.names == ("first", "second"):
        return _decoded(file, value["first"]), _decoded(file, value["second"])
    if isinstance(value, np.void) and value.dtype.names:
        return {name: _decoded(file, value[name]) for name in value.dtype.names}
    if isinstance(value, np.ndarray) and (value.dtype == object or value.dtype.names):
        found = [_decoded(file, entry) for entry in value.ravel()]
        is_dict = found and all(isinstance(e, tuple) and len(e) == 2 and isinstance(e[0], str | int) for e in found)
        return dict(found) if is_dict else found
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value

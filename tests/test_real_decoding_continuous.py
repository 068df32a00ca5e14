"""Position, gratings, communication subspaces and unknown odors: figures of real recordings, from the raw files.

The references are scripts beside the recordings that share no code with mitral, and Semedo et al. 2019.
Tolerances are stated with their reason. Recordings that are not here are skipped.
"""

import numpy as np
import pytest
import scipy.io
import xarray as xr
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter, gaussian_filter1d, median_filter
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from mitral.datasets import bin_spikes, make_folds
from mitral.datasets.folds import folds_from_splitter
from mitral.datasets.pool import pseudo_population
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.datasets.sources.iurilli2017 import read_iurilli2017
from mitral.decode import cross_validate, make_decoder
from mitral.decode.continuous import cross_validate_continuous, cut_at
from mitral.decode.decoders.poisson_bayes import poisson_posterior
from mitral.decode.decoders.reduced_rank import ReducedRankRegression
from mitral.decode.open_set import cross_validate_open_set


def labelled(values, target, *, bin_width_s):
    """A recording (n_bins, n_units) and its target (n_bins,) as one long trial."""
    time = (np.arange(len(values)) + 0.5) * bin_width_s
    activity = xr.DataArray(
        values[None],
        dims=("trial", "time", "unit"),
        coords={"trial": [0], "time": time, "unit": [f"u{u}" for u in range(values.shape[1])]},
        attrs={"session": "s", "animal": "m", "event": "start", "bin_width_s": bin_width_s, "units": ""},
    )
    coords = {"trial": [0], "time": time}
    return activity, xr.DataArray(np.asarray(target, float)[None], dims=("trial", "time"), coords=coords)


def folds_by(number, n_folds):
    """Each fold tests the trials with its number."""
    sides = np.where(np.asarray(number) == np.arange(n_folds)[:, None], 2, 1).astype(np.int8)
    coords = {"trial": np.arange(sides.shape[1]), "fold": np.arange(n_folds)}
    return xr.DataArray(sides, dims=("fold", "trial"), coords=coords)


def all_tested(result):
    """Predictions and truth (n_bins,) of all test bins, each of which was tested once."""
    said = np.nanmax(np.where(np.isnan(result["prediction"]), -np.inf, result["prediction"]), axis=0)
    known = np.isfinite(result["target"].values) & np.isfinite(said)
    return said[known], result["target"].values[known]


# ---- Sheintuch & Ziv: position of mice on a track, calcium events of CA1 and CA3 ----

ZIV = {
    "CA1": {"C5M1": 1.78, "C6M3": 0.98, "C6M4": 1.17},
    "CA3": {"C14M4": 1.51, "C15M2": 1.22, "C24M3": 2.37, "C24M4": 2.25},
}
MICE = [(area, mouse) for area in ZIV for mouse in ZIV[area]]
SMOOTHED_BINS = 5


def ziv_recordings(data_folder, area, mouse):
    """(events, position bin) of the 16 recordings of a mouse: 2 tracks, 4 sessions, 2 directions."""
    folder = data_folder("ziv_hippocampus_7mice/real/Full data set") / area
    events = scipy.io.loadmat(folder / f"{mouse}_spike_train.mat")["spike_train"]
    position = scipy.io.loadmat(folder / f"{mouse}_stimulus_trace.mat")["stimulus_trace"]
    for where in np.ndindex(events.shape):
        yield (events[where] > 0).astype(float), position[where].ravel()


def mean_absolute_error(events, position, estimator):
    """In bins of position, over five contiguous blocks that are held out in turn."""
    activity, target = labelled(events, position, bin_width_s=0.05)
    starts = np.cumsum([0, *(len(part) for part in np.array_split(position, 5)[:-1])])
    result = cross_validate_continuous(*cut_at(activity, target, starts), estimator, folds_by(range(5), 5))
    said, truth = all_tested(result)
    return np.abs(said - truth).mean()


@pytest.mark.parametrize(("area", "mouse"), MICE)
def test_the_position_of_seven_mice_is_decoded_as_by_the_reference(data_folder, area, mouse):
    """Poisson Bayes on events smoothed over five bins: the reference's mean absolute error, mean of 16 recordings.

    Each event stands in five bins, so a prior of one bin weighs five. The reference adds 0.001 to every rate instead,
    which moves single recordings by up to 9 % and the mean of a mouse by up to 7 %. Chance is about 7.3 bins.
    """
    decoder = make_decoder("poisson_bayes", prior_trials=SMOOTHED_BINS)
    window = np.ones(SMOOTHED_BINS)
    errors = []
    for events, position in ziv_recordings(data_folder, area, mouse):
        smoothed = np.apply_along_axis(np.convolve, 0, events, window, "same")
        errors.append(mean_absolute_error(smoothed, position, decoder))
    assert len(errors) == 16
    assert_allclose(np.mean(errors), ZIV[area][mouse], rtol=0.08)


@pytest.mark.parametrize(("area", "mouse"), MICE)
def test_where_a_mouse_was_and_will_be_replaces_smoothing(data_folder, area, mouse):
    """The state-space decoder on single events, forward-backward: below the reference's error with smoothing.

    Measured 1.57, 0.85, 0.97, 1.30, 0.96, 1.48 and 2.03 bins: 10 to 38 % less.
    """
    decoder = make_decoder("state_space_position", is_causal=False)
    errors = [mean_absolute_error(*recording, decoder) for recording in ziv_recordings(data_folder, area, mouse)]
    assert np.mean(errors) < 0.95 * ZIV[area][mouse]


# ---- Pat-Map: visual cortex and CA1 ----


def patmap(data_folder, folder, name):
    """Binary activity (n_bins, n_units) and a number a bin, of MATLAB files that are HDF5 and transposed."""
    h5py = pytest.importorskip("h5py")
    path = data_folder("patmap_ca1_v1") / folder
    with h5py.File(path / f"{name}_data.mat") as data, h5py.File(path / f"{name}_udf.mat") as udf:
        labels = udf["udf"][()]
        return data["data"][()].T.astype(float), labels.argmax(axis=0) if len(labels) > 1 else labels.ravel()


def test_gratings_are_decoded_in_every_presentation(data_folder):
    """56 presentations of 4 orientations to mouse visual cortex, mean over frames: all right, as by the reference."""
    values, label = patmap(data_folder, "drifting_gratings", "visual_cortex")
    number = np.cumsum(np.r_[0, np.diff(label) != 0])
    assert number[-1] + 1 == 56
    shown = np.array([values[number == k].mean(axis=0) for k in range(56)])
    activity, _ = labelled(shown[:1], [0], bin_width_s=1.0)
    activity = xr.DataArray(
        shown[:, None],
        dims=activity.dims,
        coords={
            "trial": np.arange(56),
            "time": [0.5],
            "unit": activity["unit"],
            "orientation": ("trial", [int(label[number == k][0]) for k in range(56)]),
        },
        attrs=activity.attrs,
    )
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    folds = folds_from_splitter(activity, splitter, target="orientation")
    for name in ("logistic", "poisson_bayes"):
        assert cross_validate(activity, "orientation", make_decoder(name), folds).attrs["score_mean"] == 1.0


def position_on_laps(data_folder, smooth):
    """CA1 activity and one of ten positions, cut into 30 laps, and five folds of whole laps."""
    values, position = patmap(data_folder, "spatial_reward", "spatial_reward")
    starts = np.flatnonzero(np.r_[True, np.diff(position) < -5])
    assert len(starts) == 30
    values = gaussian_filter1d(values, 3, axis=0) if smooth else values
    return *cut_at(*labelled(values, position, bin_width_s=0.1), starts), folds_by(np.arange(30) % 5, 5)


def test_the_position_on_held_out_laps_is_decoded_as_by_the_reference(data_folder):
    """Logistic regression of smoothed activity: accuracy 0.739 and error 0.84 bins, to the last digit given."""
    activity, target, folds = position_on_laps(data_folder, smooth=True)
    said, truth = all_tested(
        cross_validate_continuous(activity, target, LogisticRegression(C=1.0, max_iter=300), folds)
    )
    assert_allclose(np.mean(said == truth), 0.739, atol=0.001)
    assert_allclose(np.abs(said - truth).mean(), 0.84, atol=0.005)


def test_a_state_space_decoder_needs_no_smoothing(data_folder):
    """On the binary activity itself: causal no worse than the reference, with the whole lap better by a tenth."""
    activity, target, folds = position_on_laps(data_folder, smooth=False)
    errors = []
    for is_causal in (True, False):
        decoder = make_decoder("state_space_position", is_causal=is_causal)
        said, truth = all_tested(cross_validate_continuous(activity, target, decoder, folds))
        errors.append(np.abs(said - truth).mean())
    assert errors[0] < 0.84 and errors[1] < 0.9 * 0.84


# ---- Semedo et al. 2019: V1 to V1, and V1 to V2 ----


def test_v1_tells_v2_in_fewer_dimensions_than_v1(data_folder):
    """Five predictive dimensions within V1, two to V2 (the paper's result), and the reference's performance by rank.

    The one-standard-error rule depends on how trials are shuffled into folds: of 100 shuffles 58 gave five dimensions
    and 42 six for V1, all two for V2. The commonest of 40 is held to the paper. A performance moves by under 0.001.
    """
    sample = scipy.io.loadmat(data_folder("semedo_v1v2/sample_data.mat"))
    reference = {"Y_V1": [0.0795, 0.0953, 0.1047, 0.1128, 0.1167], "Y_V2": [0.1066, 0.1253, 0.1271, 0.1273, 0.1271]}
    for area, n_dimensions in (("Y_V1", 5), ("Y_V2", 2)):
        fits = [ReducedRankRegression(alpha=0.0, random_state=s).fit(sample["X"], sample[area]) for s in range(40)]
        ranks = np.bincount([fit.rank_ for fit in fits])
        assert ranks.argmax() == n_dimensions and set(np.flatnonzero(ranks)) <= {n_dimensions, n_dimensions + 1}
        performance = np.mean([1 - fit.inner_error_[:5] for fit in fits], axis=0)
        assert_allclose(performance, reference[area], atol=0.001)


# ---- nelpy: position of a rat in two dimensions ----


def nelpy_track(data_folder):
    """Counts (n_bins, n_units) in bins of 0.5 s and position (n_bins, 2) in pixels, the first 15 minutes, moving."""
    folder = data_folder("nelpy_rat_hippocampus/linear-track")
    tetrodes = scipy.io.loadmat(folder / "spikes.mat")["spikes"][0, 0][0, 0][0]
    units = [unit["time"].ravel()[0].ravel() for tetrode in tetrodes for unit in tetrode.ravel() if unit.size]
    raw = (folder / "trajectory.videoPositionTracking").read_bytes()
    start = raw.index(b"<End settings>\n") + 15
    kind = np.dtype([("t", "<u4"), ("x", "<u2"), ("y", "<u2"), ("x2", "<u2"), ("y2", "<u2")])
    video = np.sort(np.frombuffer(raw[start:], kind), order="t", kind="stable")  # one timestamp runs backwards
    t = video["t"] / 30_000.0
    edges = np.arange(t[0], t[-1], 0.5)
    centre = (edges[:-1] + edges[1:]) / 2
    place = np.column_stack([np.interp(centre, t, median_filter(video[axis].astype(float), 31)) for axis in "xy"])
    smooth = np.column_stack([np.convolve(column, np.ones(5) / 5, "same") for column in place.T])
    speed = np.hypot(*np.gradient(smooth, 0.5, axis=0).T)
    moving = (speed > 40) & (centre - centre[0] < 900)
    moving[:5] = False
    kept = [unit for unit in units if 100 < len(unit) < 5 * (t[-1] - t[0])]  # a unit of 461,464 spikes is hash
    return np.column_stack([np.histogram(unit, edges)[0] for unit in kept])[moving], place[moving]


def test_the_position_of_a_rat_in_two_dimensions(data_folder):
    """Poisson Bayes on a grid of 24 x 24, rate maps smoothed, ten contiguous blocks: median error 39 pixels, not 132.

    The grid is laid over the moving bins alone, not over the whole recording: 15 % of tolerance.
    """
    counts, place = nelpy_track(data_folder)
    edges = [np.linspace(low, high + 1e-6, 25) for low, high in zip(place.min(axis=0), place.max(axis=0), strict=True)]
    centres = np.stack(np.meshgrid(*[(e[:-1] + e[1:]) / 2 for e in edges], indexing="ij"), axis=2)
    distance, control = [], []
    for block in np.array_split(np.arange(len(counts)), 10):
        train = np.setdiff1d(np.arange(len(counts)), block)
        occupancy = gaussian_filter(np.histogram2d(*place[train].T, edges)[0], 1.0)
        visited = occupancy > 0.3
        maps = [
            gaussian_filter(np.histogram2d(*place[train].T, edges, weights=unit)[0], 1.0)[visited] / occupancy[visited]
            for unit in counts[train].T
        ]
        seen = block[counts[block].sum(axis=1) > 0]
        posterior = poisson_posterior(counts[seen], np.array(maps).T + 1e-3)
        said = centres[visited][posterior.argmax(axis=1)]
        distance += np.linalg.norm(said - place[seen], axis=1).tolist()
        shuffled = np.random.default_rng(0).permutation(said)
        control += np.linalg.norm(shuffled - place[seen], axis=1).tolist()
    assert_allclose(np.median(distance), 39, rtol=0.15)
    assert np.median(control) > 2.5 * np.median(distance)


# ---- Iurilli & Datta 2017: odors that were never trained ----


@pytest.mark.slow
def test_odors_that_were_never_trained_are_told_from_known_ones(data_folder):
    """199 units of piriform cortex pooled, 10 odors known and 5 held out whole: AUROC at least 0.80 (0.815 measured).

    The mean over six draws of the five odors, which differ by 0.03 to 0.04 (standard error 0.015). The rate of false
    alarms was set to 0.05: of 600 known test trials it has a standard error of 0.009.
    """
    cohort = {
        session.attrs["session"]: bin_spikes(
            session, event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=1.0
        )
        for session in read_iurilli2017(data_folder("olfactory/iurilli_2017"), set="aPCx_15")
    }  # fmt: skip
    estimator = make_pipeline(SquareRoot(), Flatten(), make_decoder("lda"))
    found = []
    for seed in range(6):
        folds = {
            name: make_folds(activity, target="odor", n_folds=10, random_state=seed)
            for name, activity in cohort.items()
        }
        pooled, sides = pseudo_population(cohort, folds, target="odor", random_state=seed)
        odors = np.unique(pooled["odor"])
        unknown = np.random.default_rng(seed).choice(odors, 5, replace=False).tolist()
        result = cross_validate_open_set(pooled, "odor", estimator, sides, unknown=unknown, random_state=seed)
        found.append([result.attrs[name] for name in ("score_mean", "false_alarms", "detections")])
    auroc, false_alarms, detections = np.mean(found, axis=0)
    assert auroc >= 0.80
    assert false_alarms < 0.05 + 3 * 0.009
    assert detections > 3 * false_alarms

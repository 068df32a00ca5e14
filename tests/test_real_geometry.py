"""Published and independently measured figures of real recordings, reached from the raw files.

Each test says where its figure comes from: a paper, its authors' results, or a reference script that shares no
code with mitral. Tolerances are stated with their reason. Recordings that are not here are skipped.
"""

import csv
import gzip
import struct
from functools import partial

import numpy as np
import pytest
import scipy.io
import xarray as xr
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from mitral.datasets import bin_spikes
from mitral.datasets.folds import TEST, TRAIN, folds_from_splitter, permute_labels
from mitral.datasets.preprocess import Flatten, SquareRoot
from mitral.datasets.sources.iurilli2017 import read_iurilli2017
from mitral.decode import cross_validate, make_decoder
from mitral.decode.conditions import column_dichotomies, label_conditions, pool_conditions
from mitral.decode.curves import learning_curve, neuron_dropping, pooled_curve
from mitral.decode.dissimilarity import compare_dissimilarity, crossnobis, make_dissimilarity, noise_ceiling
from mitral.decode.geometry import cross_condition_generalisation
from mitral.decode.geometry_nulls import with_geometry_null
from mitral.decode.information import joint_counts, mutual_information, skaggs_information
from mitral.decode.pooled import cross_validate_pooled
from mitral.decode.saturation import fit_saturation
from mitral.decode.select_units import SelectUnits

# ---- Kriegeskorte et al. 2008: 92 images, monkey and human inferior temporal cortex ----


@pytest.fixture(scope="module")
def images92(data_folder):
    """The published matrices: monkey and human, and four humans in two sessions."""
    folder = data_folder("kriegeskorte92_rdms")
    published = scipy.io.loadmat(folder / "Kriegeskorte_Neuron2008_supplementalData.mat")["RDMs_mIT_hIT_fig1"].ravel()
    matrices = {}
    for entry in published:
        square = np.zeros((92, 92))
        square[np.triu_indices(92, 1)] = entry["RDM"].ravel()
        matrices[str(entry["name"][0])[:3]] = make_dissimilarity(square + square.T, np.arange(92))
    humans = scipy.io.loadmat(folder / "92_brainRDMs.mat")["RDMs"][0]
    sessions = [[make_dissimilarity(humans[h, s]["RDM"], np.arange(92)) for s in range(2)] for h in range(4)]
    return matrices["mIT"], matrices["hIT"], sessions


def test_monkey_and_human_share_the_geometry_of_images(images92):
    """Pearson 0.49 as published, 0.4912 to four digits, and Spearman 0.4389."""
    monkey, human, _ = images92
    assert_allclose(compare_dissimilarity(monkey, human, comparison="pearson"), 0.4912, atol=5e-5)
    assert_allclose(compare_dissimilarity(monkey, human, comparison="spearman"), 0.4389, atol=5e-5)
    assert 0 < compare_dissimilarity(monkey, human, comparison="kendall") < 0.4389


def test_humans_agree_with_themselves_and_each_other(images92):
    """Session against session 0.29, 0.10, 0.40, 0.12; person against person 0.22 to 0.45; the ceiling between."""
    _, _, sessions = images92
    within = [compare_dissimilarity(*pair, comparison="pearson") for pair in sessions]
    assert_allclose(within, [0.2906, 0.0985, 0.3981, 0.1185], atol=5e-5)
    mean = [(first + second).assign_attrs(first.attrs) for first, second in sessions]
    between = [compare_dissimilarity(mean[i], mean[j], comparison="pearson") for i in range(4) for j in range(i)]
    assert_allclose(sorted(between), [0.2228, 0.2288, 0.2377, 0.2795, 0.2889, 0.4460], atol=5e-5)
    ceiling = noise_ceiling({f"human {h}": matrix for h, matrix in enumerate(mean)}, comparison="pearson")
    assert np.mean(between) < ceiling["lower"] < ceiling["upper"] < 1


# ---- Haxby et al. 2001: one slice of ventral temporal cortex, 12 runs ----


def read_nifti(path):
    """Values of an uncompressed-int16 NIfTI-1 file behind gzip, by its fixed header."""
    raw = gzip.decompress(path.read_bytes())
    rank, *shape = struct.unpack("<8h", raw[40:56])
    (code,) = struct.unpack("<h", raw[70:72])
    offset, slope, intercept = struct.unpack("<3f", raw[108:120])
    assert code == 4, "these files hold int16"
    values = np.frombuffer(raw, "<i2", offset=int(offset)).reshape(shape[:rank], order="F")
    return values * (slope or 1.0) + intercept


@pytest.fixture(scope="module")
def haxby(data_folder):
    """Block means of 478 detrended voxels: 12 runs x 8 categories, 5 s after the blocks."""
    bold = data_folder("haxby2001_slice/sub001/BOLD")
    runs = sorted(bold.glob("task001_run*"))
    mean = read_nifti(runs[0] / "bold_1slice.nii.gz").mean(axis=-1).ravel()
    mask, patterns, category, run = mean > mean.max() * 0.25, [], [], []
    for number, folder in enumerate(runs):
        voxels = read_nifti(folder / "bold_1slice.nii.gz").reshape(len(mask), -1).T[:, mask]
        line = np.column_stack([np.ones(len(voxels)), np.linspace(-1, 1, len(voxels))])
        voxels = voxels - line @ np.linalg.lstsq(line, voxels, rcond=None)[0]
        voxels /= np.where(voxels.std(axis=0) > 0, voxels.std(axis=0), 1.0)
        with (folder / "bold_events.tsv").open() as file:
            for block in csv.DictReader(file, delimiter="\t"):
                start, stop = (float(block["onset"]) + 5, float(block["onset"]) + float(block["duration"]) + 5)
                patterns.append(voxels[round(start / 2.5) : round(stop / 2.5)].mean(axis=0))
                category.append(block["trial_type"])
                run.append(number)
    activity = xr.DataArray(
        np.array(patterns)[:, None],
        dims=("trial", "time", "unit"),
        coords={
            "trial": np.arange(len(run)), "time": [0.0], "unit": [f"voxel {v}" for v in range(mask.sum())],
            "category": ("trial", category), "run": ("trial", run),
        },
        attrs={"session": "haxby", "animal": "subject 1", "event": "block", "bin_width_s": 22.5, "units": "a.u."},
    )  # fmt: skip
    return activity, folds_from_splitter(activity, LeaveOneGroupOut(), target="category", group="run")


def test_categories_are_decoded_across_runs(haxby):
    """Leave-one-run-out at chance 0.125: support vectors 0.750, shrinkage LDA 0.865, as the reference script."""
    activity, folds = haxby
    assert activity.shape == (96, 1, 478) and folds.sizes["fold"] == 12
    svm = cross_validate(activity, "category", LinearSVC(C=0.01, max_iter=20000), folds)
    lda = cross_validate(activity, "category", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), folds)
    assert_allclose([svm.attrs["score_mean"], lda.attrs["score_mean"]], [0.750, 0.865], atol=1.01 / 96)  # one block


def test_the_house_is_farthest_from_all_other_categories(haxby):
    """Cross-validated distances over runs: houses stand apart, shuffled categories have none (10 shuffles)."""
    activity, folds = haxby
    matrix = crossnobis(activity, "category", folds)
    mean = matrix["dissimilarity"].sum("other_condition") / 7
    assert mean["condition"].values[mean.values.argmax()] == "house"
    shuffled = []
    for seed in range(10):
        labels = permute_labels(activity["category"].values, np.random.default_rng(seed), within=activity["run"].values)
        permuted = crossnobis(activity.assign_coords(category=("trial", labels)), "category", folds)
        shuffled.append(float(permuted["dissimilarity"].sum()) / 56)
    assert abs(np.mean(shuffled)) < 3 * np.std(shuffled) / np.sqrt(10)
    assert float(mean.mean()) > 10 * np.std(shuffled)


# ---- Zhang et al. 2011: 132 sites of macaque inferior temporal cortex, recorded one after the other ----

POSITIONS = ("lower", "middle", "upper")
TOLERANCE = 0.04  # 4 points, of the data set's README: the spread of four published runs is 80.6 to 86.1 %


class MaxCorrelation(ClassifierMixin, BaseEstimator):
    """The authors' decoder: the class whose mean pattern correlates best."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        means = np.stack([X[y == c].mean(axis=0) for c in self.classes_])
        means = means - means.mean(axis=1, keepdims=True)
        self.patterns_ = means / np.linalg.norm(means, axis=1, keepdims=True)
        return self

    def predict(self, X):
        return self.classes_[((X - X.mean(axis=1, keepdims=True)) @ self.patterns_.T).argmax(axis=1)]


CORRELATION = make_pipeline(StandardScaler(), MaxCorrelation())


@pytest.fixture(scope="module")
def sites(data_folder):
    """Per site: spikes (trial, ms) with the stimulus at 500 ms, and the labels."""
    found = {}
    for path in sorted(data_folder("zhang_desimone_it_7objects/raster_mat").glob("*.mat")):
        content = scipy.io.loadmat(path)
        labels = content["raster_labels"][0, 0]
        words = {k: [str(w.ravel()[0]) for w in labels[f"stimulus_{k}"].ravel()] for k in ("ID", "position")}
        found[path.stem] = content["raster_data"], words
    assert len(found) == 132
    return found


def counts_around(sites, start_ms, width_ms):
    """Cohort of one unit a session, spikes counted in one bin."""
    cohort = {}
    for name, (raster, words) in sites.items():
        counts = raster[:, 500 + start_ms : 500 + start_ms + width_ms].sum(axis=1, dtype=np.int16)
        cohort[name] = xr.DataArray(
            counts[:, None, None],
            dims=("trial", "time", "unit"),
            coords={
                "trial": np.arange(len(counts)), "time": [(start_ms + width_ms / 2) / 1000], "unit": [name],
                "object": ("trial", words["ID"]), "position": ("trial", words["position"]),
            },
            attrs={
                "session": name, "animal": "monkey", "event": "stimulus", "bin_width_s": width_ms / 1000,
                "units": "spikes per bin",
            },
        )  # fmt: skip
    return cohort


@pytest.mark.slow
def test_objects_are_decoded_over_time_from_a_pseudo_population(sites):
    """With the authors' 17 training trials 80.6 to 86.1 % at 100 to 250 ms and chance 14.3 % before the stimulus; with
    the 12 of the reference script its time course, each within 4 points. Test sets stay whole.
    """
    reference = {-400: 14.0, 0: 36.9, 50: 69.0, 100: 82.2, 150: 80.9, 250: 71.6, 350: 60.1}
    learned = {}
    for start_ms in reference:
        learned[start_ms] = pooled_curve(
            partial(learning_curve, n_trials=(12, 17)), counts_around(sites, start_ms, 150), "object", CORRELATION,
            n_folds=18, n_repeats=3, random_state=0,
        )["score"]  # fmt: skip
    ours = [float(score.sel(n_trials=12)) for score in learned.values()]
    assert_allclose(ours, np.array(list(reference.values())) / 100, atol=TOLERANCE)
    peak = float(learned[100].sel(n_trials=17))
    assert 0.806 - TOLERANCE < peak < 0.861 + TOLERANCE
    assert abs(float(learned[-400].sel(n_trials=17)) - 1 / 7) < TOLERANCE


@pytest.mark.slow
def test_objects_generalise_over_positions(sites):
    """Trained at one position and tested at another (100 to 500 ms): the published matrix, within 4 points.

    One run of split and matching spreads by up to 4.8 points (middle to upper), the mean of ten by 1.5.
    """
    cohort = {
        name: label_conditions(activity, ("object", "position"))
        for name, activity in counts_around(sites, 100, 400).items()
    }
    published = np.array([[94, 85, 72], [81, 97, 73], [65, 66, 91]]) / 100
    found = []
    for seed in range(10):
        activity, folds = pool_conditions(cohort, n_folds=18, random_state=seed)
        at = activity["position"].values
        for trained in POSITIONS:
            for tested in POSITIONS:
                train, test = (folds == TRAIN) & (at == trained), (folds == TEST) & (at == tested)
                sides = folds.copy(data=np.where(train, TRAIN, np.where(test, TEST, 0)).astype(np.int8))
                found.append(cross_validate(activity, "object", CORRELATION, sides).attrs["score_mean"])
    assert_allclose(np.reshape(found, (10, 3, 3)).mean(axis=0), published, atol=TOLERANCE)


# ---- Iurilli & Datta 2017: odors in piriform cortex and cortical amygdala of awake mice ----


def iurilli(data_folder, name):
    """Counts of 1 s from the first inhalation, by session."""
    return {
        session.attrs["session"]: bin_spikes(
            session, event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=1.0
        )
        for session in read_iurilli2017(data_folder("olfactory/iurilli_2017"), set=name)
    }  # fmt: skip


@pytest.mark.slow
def test_the_neuron_curve_of_piriform_cortex(data_folder):
    """15 odors, 10, 25, 50, 100 and 199 units: 0.22, 0.38, 0.54, 0.72, 0.92 measured with scikit-learn alone.

    Subsets spread by 0.13 to 0.18 below 100 units, so the mean of 12 draws has a standard error of about 0.045 and
    the reference, of unknown draws, no less: 0.12 is two errors of the difference. All units leave matching: 0.03.
    """
    estimator = make_pipeline(SquareRoot(), Flatten(), make_decoder("lda"))
    curve = pooled_curve(
        partial(neuron_dropping, n_units=(10, 25, 50, 100, 199)), iurilli(data_folder, "aPCx_15"), "odor", estimator,
        n_folds=10, n_repeats=12, random_state=0,
    )  # fmt: skip
    assert_allclose(curve["score"].values[:4], [0.22, 0.38, 0.54, 0.72], atol=0.12)
    assert_allclose(curve["score"].values[4], 0.92, atol=0.03)
    assert np.all(np.diff(curve["score"]) > 0)
    fitted = fit_saturation(curve, random_state=0)
    assert fitted.attrs["asymptote_high"] > 0.92 and 20 < fitted.attrs["n_half"] < 100


def test_units_selected_before_the_split_read_odors_out_of_shuffled_labels(data_folder):
    """30 units of 199 chosen on all trials of shuffled labels: 0.20 at chance 0.067. Chosen inside the fold: chance.

    Of 150 trials a score at chance has a standard error of 0.02, the mean of three shuffles 0.012.
    """
    lda, before, inside = make_decoder("lda"), [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        cohort = {
            name: activity.assign_coords(odor=("trial", rng.permutation(activity["odor"].values)))
            for name, activity in iurilli(data_folder, "aPCx_15").items()
        }
        strength = {
            name: SelectUnits().fit(np.sqrt(activity.values), activity["odor"].values).strength_
            for name, activity in cohort.items()
        }
        least = np.sort(np.concatenate(list(strength.values())))[-30]
        chosen = {name: activity[:, :, strength[name] >= least] for name, activity in cohort.items()}
        chosen = {name: activity for name, activity in chosen.items() if activity.sizes["unit"]}
        options = {"n_folds": 10, "n_repeats": 1, "random_state": seed}
        leaking = make_pipeline(SquareRoot(), Flatten(), lda)
        honest = make_pipeline(SquareRoot(), SelectUnits(30), Flatten(), lda)
        before.append(cross_validate_pooled(chosen, "odor", leaking, **options).attrs["score_mean"])
        inside.append(cross_validate_pooled(cohort, "odor", honest, **options).attrs["score_mean"])
    assert_allclose(np.mean(before), 0.20, atol=0.04)
    assert_allclose(np.mean(inside), 1 / 15, atol=3 * 0.012)


@pytest.mark.slow
def test_odors_keep_their_direction_over_dilutions(data_folder):
    """Cortical amygdala, 3 odors at 5 dilutions, units of 13 sessions: each odor against the others decodes in
    conditions never seen, far beyond clouds in random places; dilutions split across their order do not.
    """
    cohort = {
        name: label_conditions(activity.copy(data=np.sqrt(activity.values)), ("odor", "concentration"))
        for name, activity in iurilli(data_folder, "plCoA_CS").items()
    }
    activity, _ = pool_conditions(cohort, n_folds=2, random_state=0)
    lda = make_decoder("lda", shrinkage=0.3)
    sides = column_dichotomies(activity, "odor")
    measure = partial(cross_condition_generalisation, estimator=lda, sides=sides)
    result = with_geometry_null(measure(activity), activity, measure, scheme="units", n_permutations=19, random_state=0)
    assert np.all(result["score"] > 0.75)
    assert np.all(result["p_familywise"] == 0.05)
    dilution = cross_condition_generalisation(activity, lda, column_dichotomies(activity, "concentration"))
    by_name = dict(zip(dilution["dichotomy"].values.tolist(), dilution["score"].values.tolist(), strict=True))
    assert by_name["concentration: 0.1, 1.0 | 0.0001, 0.001, 0.01"] > 0.65
    assert by_name["concentration: 0.001, 0.1 | 0.0001, 0.01, 1.0"] < 0.5


# ---- Ziv lab: information of hippocampal place cells ----


def test_information_of_place_cells_is_the_authors_to_rounding(data_folder):
    """89 significant cells: naive Skaggs information 1.9293 bit per spike, naive mutual information 0.02753 bit, each
    cell as its authors' code has it. The bias that Panzeri and Treves remove leaves 0.0219, between the two corrected
    values that the authors publish (0.0198 scaled shuffles, 0.0232 extrapolation).
    """
    folder = data_folder("ziv_hippocampus_7mice/real/Sample data")
    activity = scipy.io.loadmat(folder / "spike_train.mat")["spike_train"]
    place = scipy.io.loadmat(folder / "stimulus_trace.mat")["stimulus_trace"].ravel()
    published = scipy.io.loadmat(
        folder / "Sample data - results" / "bias_correction_results.mat", squeeze_me=True, struct_as_record=False
    )["unbiased_information_estimation_results"]
    cells = published.firing_statistics.significant_active_cells_indexes - 1
    per_spike = skaggs_information(place, activity[:, cells])
    assert_allclose(per_spike, published.information.SI_naive_bit_spike, atol=1e-10)
    assert_allclose(per_spike.mean(), 1.9293, atol=5e-5)
    tables = [joint_counts(place, np.round(activity[:, cell])) for cell in cells]
    naive = np.array([mutual_information(table, correction="none") for table in tables])
    assert_allclose(naive, published.information.MI_naive, atol=1e-10)
    assert_allclose(naive.mean(), 0.02753, atol=5e-6)
    corrected = np.mean([mutual_information(table, correction="panzeri_treves") for table in tables])
    assert 0.0198 < corrected < 0.0232

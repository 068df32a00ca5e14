"""Isomap, UMAP and CEBRA: a ring is recovered, seeds are compared, nothing is unpickled, labels stay in their folds.

The ring: an angle that turns through each trial, and 24 units tuned to it, Poisson counts with a mean of about 8. What
is recovered is scored on trials that were not fitted, as R² of the best linear map from latents to the cosine and
sine of the true angle. At 200 bins the standard error of R² = 0.95 is about 2 (1 - R²) / sqrt(200) = 0.007.
"""

import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.manifold import Isomap as TwoAxisIsomap

from mitral.datasets.errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    LeakageError,
    LimitError,
    SchemaError,
    StoreError,
)
from mitral.datasets.folds import make_folds
from mitral.decode.decoders import make_decoder
from mitral.decode.reduce import reduce
from mitral.decode.score import cross_validate
from mitral.decode.trajectories import make_reducer, model_files
from mitral.decode.trajectories.consistency import consistency, mean_agreement, most_typical
from mitral.decode.trajectories.isomap import Isomap
from mitral.decode.trajectories.model_files import pack, read_model, unpack, write_model

N_TRIALS, N_TIMES, N_UNITS = 40, 10, 24


def ring(seed=0):
    """Counts (n_trials, n_times, n_units) and the angle that they follow (n_trials, n_times)."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, (N_TRIALS, 1)) + np.linspace(0, 2, N_TIMES)
    preferred = np.linspace(0, 2 * np.pi, N_UNITS, endpoint=False)
    return rng.poisson(16 * np.exp(1.5 * (np.cos(angle[..., None] - preferred) - 1))), angle


def recovered(latents, angle, *, fitted=20):
    """R² of the ring on trials after the fitted ones, by a linear map from latents learned on these."""
    truth = np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(-1, 2)
    known = np.column_stack([latents.reshape(len(truth), -1), np.ones(len(truth))])
    cut = fitted * N_TIMES
    said = known[cut:] @ np.linalg.lstsq(known[:cut], truth[:cut], rcond=None)[0]
    return 1 - np.square(said - truth[cut:]).sum() / np.square(truth[cut:] - truth[cut:].mean(axis=0)).sum()


def test_a_ring_is_recovered_by_isomap():
    """Two latents of 24 units' counts give the angle of new trials: R² above 0.9."""
    X, angle = ring()
    fitted = Isomap(2).fit(X[:20])
    assert recovered(fitted.transform(X), angle) > 0.9


def test_isomap_is_that_of_sklearn():
    """Up to the sign of each latent, for the bins of the fit and for new ones."""
    X = ring()[0].astype(float)
    mine, theirs = Isomap(2).fit(X[:20]), TwoAxisIsomap(n_neighbors=15, n_components=2, eigen_solver="dense")
    theirs.fit(X[:20].reshape(-1, N_UNITS))
    assert_allclose(mine.embedding_.reshape(-1, 2), theirs.embedding_ * mine.signs_)
    assert_allclose(mine.transform(X[20:]).reshape(-1, 2), theirs.transform(X[20:].reshape(-1, N_UNITS)) * mine.signs_)


def test_isomap_unrolls_what_pca_cannot():
    """A spiral is one line: distances along it are straight in one latent, which no projection gives."""
    along = np.linspace(0, 1, 300)
    turn = 3 * np.pi * np.sqrt(0.05 + along)
    X = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1).reshape(30, 10, 2)
    z = Isomap(1, n_neighbors=4).fit(X).embedding_.ravel()
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(X.reshape(-1, 2), axis=0), axis=1))])
    assert abs(np.corrcoef(z, length)[0, 1]) > 0.999
    assert abs(np.corrcoef(make_reducer("pca", n_latents=1).fit_transform(X).ravel(), length)[0, 1]) < 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda X: (X, {"n_neighbors": 0}), "n_neighbors must be a whole number of at least 1, got 0"),
        (lambda X: (X[:1], {}), "15 neighbours beside itself, and the fit has 10 bins"),
        (lambda X: (X + 1000 * (np.arange(N_TRIALS) < 20)[:, None, None], {}), "fall into 2 groups .* 200 bins"),
        (lambda X: (X, {"n_latents": 25}), "at most 24 latents"),
        (lambda X: (np.ones_like(X), {}), "all 24 units are constant"),
    ],
    ids=["no neighbours", "few bins", "apart", "many latents", "constant"],
)
def test_what_isomap_cannot_take_is_refused(change, said):
    """With what to do."""
    X, parameters = change(ring()[0])
    with pytest.raises((SchemaError, ConfigError), match=said):
        Isomap(**parameters).fit(X)


def test_consistency_is_blind_to_linear_maps_and_sees_noise():
    """1 for a rotated and stretched copy; for noise the share of its own dimensions, 2 / 499, within tenfold."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 2))
    found = consistency([z, z @ [[3.0, 1.0], [0.0, -0.2]] - 7, rng.normal(size=(500, 2))])
    assert_allclose([found[0, 1], found[1, 0]], 1)
    assert found[0, 2] < 0.04
    assert most_typical(found) in (0, 1)
    assert_allclose(mean_agreement(found[:2, :2]), 1)
    assert np.isnan(mean_agreement(np.ones((1, 1))))


def test_umap_recovers_the_ring_and_its_seeds_agree():
    """The angle of new trials, R² 0.8; the ring is the same picture from every seed, and the score says so."""
    pytest.importorskip("umap")
    X, angle = ring()
    fitted = make_reducer("umap", n_latents=2, n_seeds=3).fit(X[:20])
    assert recovered(fitted.transform(X), angle) > 0.8
    assert fitted.consistency_.shape == (3, 3) and fitted.consistency_score_ > 0.5
    noise = np.random.default_rng(0).poisson(8.0, X[:20].shape)
    assert make_reducer("umap", n_latents=2, n_seeds=3).fit(noise).consistency_score_ < fitted.consistency_score_
    assert fitted.seed_ in range(3)


def test_umap_gives_bins_of_the_fit_their_own_place():
    """A trajectory of the fitted trials is the picture that was learned."""
    pytest.importorskip("umap")
    X, _ = ring()
    fitted = make_reducer("umap", n_latents=2, n_seeds=1).fit(X)
    assert_allclose(fitted.transform(X), fitted.embedding_, atol=1e-12)
    assert np.isnan(fitted.consistency_score_)


def test_umap_is_saved_without_activity_and_without_pickle(tmp_path):
    """Parameters, ids and latents are written; the activity is handed over again, in any order, and is checked."""
    pytest.importorskip("umap")
    X, _ = ring()
    ids = 100 + np.arange(N_TRIALS)
    fitted = make_reducer("umap", n_latents=2, n_seeds=2).fit(X[:20])
    fitted.save(tmp_path / "map", trials=ids[:20])
    assert {file.name for file in (tmp_path / "map").iterdir()} == {"model.json", "embedding.npz"}
    turned = np.arange(N_TRIALS)[::-1]
    loaded = type(fitted).load(tmp_path / "map", X[turned], trials=ids[turned])
    assert_array_equal(loaded.transform(X), fitted.transform(X))
    assert loaded.get_params() == fitted.get_params()
    assert loaded.consistency_score_ == fitted.consistency_score_
    with pytest.raises(SchemaError, match="20 trials, and trials has the shape"):
        fitted.save(tmp_path / "other", trials=ids)
    with pytest.raises(SchemaError, match="5 of the 20 trials of its fit are not there, the first is 115"):
        type(fitted).load(tmp_path / "map", X[:15], trials=ids[:15])
    with pytest.raises(IntegrityError, match="is not what it was fitted on"):
        type(fitted).load(tmp_path / "map", X + 1, trials=ids)


@pytest.mark.slow
def test_supervised_umap_pulls_labels_apart():
    """Noise with labels falls into its classes among the latents of the fit; without labels it does not."""
    pytest.importorskip("umap")
    X = np.random.default_rng(0).poisson(5.0, (N_TRIALS, N_TIMES, N_UNITS))
    label = np.arange(N_TRIALS) % 2

    def apart(reducer):
        z = reducer.fit(X, label).embedding_.mean(axis=1)
        return np.linalg.norm(z[label == 0].mean(axis=0) - z[label == 1].mean(axis=0)) / z.std(axis=0).mean()

    assert apart(make_reducer("umap", n_seeds=1, target_weight=0.9)) > 1.5
    assert apart(make_reducer("umap", n_seeds=1)) < 1.0
    with pytest.raises(SchemaError, match="takes labels, .* and got none"):
        make_reducer("umap", target_weight=0.5).fit(X)
    numbers = make_reducer("umap", n_seeds=1, target_weight=0.5).fit(X, label.astype(float))
    assert np.isfinite(numbers.embedding_).all()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_neighbors": 1}, "n_neighbors must be a whole number of at least 2"),
        ({"n_seeds": 0}, "n_seeds must be a whole number of at least 1"),
        ({"min_dist": -1.0}, "min_dist must be a positive number"),
        ({"target_weight": 2.0}, "target_weight is None or from 0 to 1, got 2.0"),
        ({"n_neighbors": 500}, "500 neighbours beside itself, and the fit has 400 bins"),
    ],
)
def test_parameters_of_umap_out_of_range_are_refused(parameters, said):
    """Before anything is computed."""
    pytest.importorskip("umap")
    with pytest.raises((ConfigError, SchemaError), match=said):
        make_reducer("umap", **parameters).fit(ring()[0])


QUICK = {"n_iterations": 60, "batch_size": 128, "learning_rate": 3e-3, "n_seeds": 2}


@pytest.mark.parametrize(
    ("positives", "architecture"),
    [("time", "offset10-model"), ("behaviour", "offset1-model"), ("hybrid", "offset1-model")],
)
def test_cebra_recovers_the_ring(positives, architecture):
    """The angle of new trials after 60 steps; the loss falls, seeds agree; a trial alone is as among others."""
    pytest.importorskip("cebra")
    X, angle = ring()
    place = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    fitted = make_reducer("cebra", n_latents=3, positives=positives, architecture=architecture, **QUICK)
    fitted.fit(X[:20], place[:20])
    latents = fitted.transform(X)
    assert recovered(latents, angle) > 0.8
    assert fitted.loss_.shape == (2, 60) and fitted.loss_[:, -10:].mean() < fitted.loss_[:, :10].mean() - 0.05
    assert fitted.consistency_score_ > 0.7
    assert_allclose(np.linalg.norm(latents, axis=2), 1)
    assert_allclose(fitted.transform(X[5:6]), latents[5:6], rtol=1e-9)
    assert_allclose(fitted.embedding_, latents[:20], rtol=1e-9)


def test_cebra_with_classes_separates_them_only_where_it_was_fitted():
    """Labels of noise are learned by heart, which is why such a latent space must not be scored on its own trials."""
    pytest.importorskip("cebra")
    X = np.random.default_rng(0).poisson(5.0, (N_TRIALS, 2, 60))
    label = np.array(["musk", "amyl"])[np.arange(N_TRIALS) % 2]
    quick = {"n_iterations": 200, "batch_size": 128, "learning_rate": 3e-3, "n_seeds": 1}
    z = make_reducer("cebra", positives="behaviour", **quick).fit(X[:20], label[:20]).transform(X).mean(axis=1)
    axis = z[:20][label[:20] == "musk"].mean(axis=0) - z[:20][label[:20] == "amyl"].mean(axis=0)
    right = (z @ axis > (z[:20] @ axis).mean()) == (label == "musk")
    assert right[:20].mean() > 0.95
    assert abs(right[20:].mean() - 0.5) < 4 * np.sqrt(0.25 / 20)


def test_cebra_is_that_of_the_package_for_the_same_weights():
    """Our windows and padding give cebra's own transform of one long trial, to float32."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("cebra")
    from mitral.decode.trajectories.cebra_embedding import _library

    library, X = _library(), ring()[0].reshape(1, -1, N_UNITS)
    fitted = make_reducer("cebra", architecture="offset10-model", n_iterations=3, n_seeds=1).fit(X)
    network = fitted._rebuilt(library, fitted.weights_).float()
    solver = library.cebra.solver.init("single-session", model=network, criterion=None, optimizer=None, tqdm_on=False)
    solver.n_features = N_UNITS
    theirs = solver.transform(torch.from_numpy(X[0].astype(np.float32))).numpy()
    assert_allclose(fitted.transform(X)[0], theirs, atol=1e-5)


def test_windows_of_cebra_stay_in_their_trial():
    """Another trial before or after changes nothing in the windows that the network is trained on."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("cebra")
    from mitral.decode.trajectories.cebra_embedding import _library

    library, X = _library(), ring()[0]
    network = library.cebra.models.init("offset10-model", num_neurons=N_UNITS, num_units=4, num_output=3)
    windows = library.trials(X, network)[torch.arange(N_TRIALS * N_TIMES)].numpy()
    assert windows.shape == (N_TRIALS * N_TIMES, N_UNITS, 10)
    first, last = windows[3 * N_TIMES], windows[4 * N_TIMES - 1]
    assert_array_equal(first.T, X[3, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4]])
    assert_array_equal(last.T, X[3, [4, 5, 6, 7, 8, 9, 9, 9, 9, 9]])


def test_cebra_is_saved_as_numbers_and_rebuilt(tmp_path, monkeypatch):
    """Weights in safetensors, the rest in JSON; no loader of torch or cebra is called, and damage is found."""
    torch = pytest.importorskip("torch")
    cebra = pytest.importorskip("cebra")
    X, _ = ring()
    fitted = make_reducer("cebra", architecture="offset10-model", n_iterations=3, n_seeds=2).fit(X)
    fitted.save(tmp_path / "net")
    assert {file.name for file in (tmp_path / "net").iterdir()} == {"model.json", "weights.safetensors"}

    def never(*_, **__):
        raise AssertionError("a loader that can run code was called")

    for owner in (torch, torch.serialization):
        monkeypatch.setattr(owner, "load", never)
    monkeypatch.setattr(cebra.CEBRA, "load", never)
    loaded = type(fitted).load(tmp_path / "net")
    assert_array_equal(loaded.transform(X), fitted.transform(X))
    assert loaded.get_params() == fitted.get_params() and loaded.consistency_score_ == fitted.consistency_score_
    with pytest.raises(ConflictError, match="is there already"):
        fitted.save(tmp_path / "net")
    numbers, about = read_model(tmp_path / "net", "cebra", "weights.safetensors")
    about["parameters"]["n_hidden"] = 16
    write_model(tmp_path / "narrow", "cebra", "weights.safetensors", numbers, about)
    with pytest.raises(IntegrityError, match="the weights are not those of CEBRA"):
        type(fitted).load(tmp_path / "narrow")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_latents": 1}, "n_latents must be a whole number of at least 2, got 1"),
        ({"positives": "labels"}, "positives is 'time', 'behaviour', 'hybrid', got 'labels'"),
        ({"architecture": "offset10"}, "no network 'offset10'. .*'offset10-model'"),
        ({"n_iterations": 0}, "n_iterations must be a whole number of at least 1"),
        ({"temperature": 0.0}, "temperature must be a positive number"),
        ({"positives": "behaviour"}, "learns from behaviour here.* and got none"),
        ({"time_offset": 10}, "need trials of at least 11 bins, and these have 10"),
    ],
)
def test_what_cebra_cannot_take_is_refused(parameters, said):
    """Before the training."""
    pytest.importorskip("cebra")
    with pytest.raises((ConfigError, SchemaError), match=said):
        make_reducer("cebra", **parameters).fit(ring()[0])


def labelled(X):
    """Activity with two odors and an angle."""
    coords = {"trial": np.arange(len(X)), "time": (np.arange(X.shape[1]) + 0.5) * 0.1, "unit": np.arange(X.shape[2])}
    attrs = {"session": "s", "animal": "m", "event": "onset", "bin_width_s": 0.1, "units": "spikes per bin"}
    odor = ("trial", np.array(["musk", "amyl"])[np.arange(len(X)) % 2])
    return xr.DataArray(X, dims=("trial", "time", "unit"), coords=coords | {"odor": odor}, attrs=attrs)


@pytest.mark.parametrize(
    ("name", "library", "parameters"),
    [
        ("cebra", "cebra", {"positives": "behaviour", "n_iterations": 3, "n_seeds": 1}),
        pytest.param("umap", "umap", {"target_weight": 0.9, "n_seeds": 1}, marks=pytest.mark.slow),
        ("isomap", "sklearn", {}),
    ],
)
def test_an_embedding_fitted_outside_the_folds_is_refused(name, library, parameters):
    """With labels or without: trials that it was fitted on are not scored; trials that it was not fitted on are."""
    pytest.importorskip(library)
    activity = labelled(ring()[0])
    target = "odor" if parameters.get("positives") or parameters.get("target_weight") else None
    folds = make_folds(activity, target="odor", n_folds=2, random_state=0)
    reducer, decoder = make_reducer(name, **parameters), make_decoder("nearest_centroid")
    trajectory = reduce(activity, reducer, target=target)
    assert trajectory["in_fit"].all() and trajectory.attrs.get("target") == target
    with pytest.raises(LeakageError, match="was fitted on .* of the trials that it would be scored on"):
        cross_validate(trajectory, "odor", decoder, folds)
    first = folds[:1]
    outside = reduce(activity, reducer, target=target, fit_on=first.values[0] == 1)
    assert np.isfinite(cross_validate(outside, "odor", decoder, first).attrs["score_mean"])


def test_models_are_held_to_their_hashes(tmp_path, monkeypatch):
    """A changed number, a changed parameter, another kind, and what is too large are refused; objects are not read."""
    write_model(tmp_path / "a", "umap", "numbers.npz", pack({"x": np.arange(3)}), {"n": 1})
    numbers, about = read_model(tmp_path / "a", "umap", "numbers.npz")
    assert_array_equal(unpack(numbers)["x"], np.arange(3))
    assert about == {"n": 1}
    with pytest.raises(IntegrityError, match="expected a model of kind 'cebra', got 'umap'"):
        read_model(tmp_path / "a", "cebra", "numbers.npz")
    with pytest.raises(StoreError, match="reading .*nowhere"):
        read_model(tmp_path / "nowhere", "umap", "numbers.npz")
    text = (tmp_path / "a" / "model.json").read_text()
    (tmp_path / "a" / "model.json").write_text(text.replace('"n": 1', '"n": 2'))
    with pytest.raises(IntegrityError, match="model.json is not what was written"):
        read_model(tmp_path / "a", "umap", "numbers.npz")
    (tmp_path / "a" / "model.json").write_text("[1]")
    with pytest.raises(IntegrityError, match="is no description of a model"):
        read_model(tmp_path / "a", "umap", "numbers.npz")
    (tmp_path / "a" / "model.json").write_text(text)
    (tmp_path / "a" / "numbers.npz").write_bytes(numbers[:-1])
    with pytest.raises(IntegrityError, match="numbers.npz is not what was written"):
        read_model(tmp_path / "a", "umap", "numbers.npz")
    monkeypatch.setattr(model_files, "LARGEST_BYTES", 10)
    with pytest.raises(LimitError, match="more than 10. It is not read"):
        read_model(tmp_path / "a", "umap", "numbers.npz")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        unpack(pack({"x": np.array([1, None])}))


def test_a_model_description_is_plain_json(tmp_path):
    """What another program would read."""
    write_model(tmp_path / "a", "umap", "numbers.npz", b"", {"parameters": {"n_latents": 2}})
    assert json.loads((tmp_path / "a" / "model.json").read_text())["model"]["about"] == {"parameters": {"n_latents": 2}}

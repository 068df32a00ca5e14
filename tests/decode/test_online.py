"""Online decoding: bin by bin the numbers of the offline decoder, to 1e-12; saved as data, and damage is found."""

import hashlib
import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mitral.datasets.errors import ConflictError, IntegrityError, LimitError, SchemaError, StoreError
from mitral.datasets.preprocess import Flatten
from mitral.decode import online_files
from mitral.decode.decoders import make_decoder
from mitral.decode.online import OnlineDecoder
from mitral.decode.result import canonical_json

N_TRIALS, N_TIMES, N_UNITS = 40, 6, 5


def problem(n_classes=4, seed=0):
    """Counts (n_trials, n_times, n_units), a class a trial, a state a bin."""
    rng = np.random.default_rng(seed)
    y = np.arange(N_TRIALS) % n_classes
    state = np.cumsum(rng.integers(-1, 2, (N_TRIALS, N_TIMES)), axis=1) % n_classes
    rates = np.exp(0.5 * rng.normal(size=(n_classes, N_TIMES, N_UNITS)))
    return rng.poisson(rates[y]), y, state


def fitted_pair(kind, n_classes=4):
    """A fitted decoder, or several, and its offline posteriors (n_trials, n_times, n_classes) of the counts."""
    X, y, state = problem(n_classes)
    sums = X.cumsum(axis=1)
    if kind == "position":
        decoder = make_decoder("state_space_position").fit(X, state)
        return X, decoder, decoder.predict_proba(X)
    if kind.startswith("identity"):
        decoder = make_decoder("state_space", observation=kind.split()[1]).fit(X, y)
        return X, decoder, decoder.predict_over_time(X)
    makers = {
        "lda": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
        "scaled logistic": lambda: make_decoder("logistic"),
        "pooled lda": lambda: make_decoder("pooled_lda"),
        "flattened lda": lambda: make_pipeline(Flatten(), LinearDiscriminantAnalysis()),
        "scaled without mean": lambda: make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
        "scaled without spread": lambda: make_pipeline(StandardScaler(with_std=False), LogisticRegression()),
    }
    name, _, how = kind.partition(", ")
    shape = (lambda a: a[:, None]) if name == "flattened lda" else (lambda a: a)
    if how == "one for each bin":
        decoders = [makers[name]().fit(shape(sums[:, t]), y) for t in range(N_TIMES)]
        return X, decoders, np.stack([d.predict_proba(shape(sums[:, t])) for t, d in enumerate(decoders)], axis=1)
    decoder = makers[name]().fit(shape(sums[:, -1]), y)
    return X, decoder, np.stack([decoder.predict_proba(shape(sums[:, t])) for t in range(N_TIMES)], axis=1)


LINEAR = ["lda", "scaled logistic", "pooled lda", "flattened lda", "scaled without mean", "scaled without spread"]
KINDS = ["identity poisson", "identity gaussian", "position", *LINEAR]
KINDS += ["lda, one for each bin", "scaled logistic, one for each bin"]


def online_of(decoder, **options):
    """The online form of a fitted decoder."""
    return OnlineDecoder.from_decoder(decoder, n_units=N_UNITS, bin_width_s=0.1, **options)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_bin_by_bin_equals_offline(kind, n_classes):
    """The posterior after every bin of every trial, trials one after the other with a reset between."""
    X, decoder, offline = fitted_pair(kind, n_classes)
    online = online_of(decoder)
    for trial in range(N_TRIALS):
        online.reset()
        for t in range(N_TIMES):
            assert_allclose(online.update(X[trial, t]), offline[trial, t], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_replay_equals_offline(kind):
    """Many trials, or one."""
    X, decoder, offline = fitted_pair(kind)
    online = online_of(decoder)
    assert_allclose(online.replay(X), offline, rtol=0, atol=1e-12)
    assert_array_equal(online.replay(X[3]), online.replay(X)[3])


@pytest.mark.parametrize("n_classes", [2, 4])
def test_poisson_bayes_on_bins_side_by_side_is_right_in_the_last_bin(n_classes):
    """Before it, the posterior is that of the bins that were seen."""
    X, y, _ = problem(n_classes)
    flat = make_decoder("poisson_bayes").fit(X.reshape(N_TRIALS, -1), y)
    over = make_decoder("state_space").fit(X, y)
    got = online_of(flat).replay(X)
    assert_allclose(got[:, -1], flat.predict_proba(X.reshape(N_TRIALS, -1)), rtol=0, atol=1e-12)
    assert_allclose(got, over.predict_over_time(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["identity poisson", "position"])
def test_a_lost_bin_is_skipped_as_offline(kind):
    """NaN in a recording is an absent bin; online it is skipped; also the first."""
    X, decoder, _ = fitted_pair(kind)
    holed = X.astype(float)
    holed[::2, 3] = np.nan
    holed[::3, 0] = np.nan
    predict = decoder.predict_proba if kind == "position" else decoder.predict_over_time
    assert_allclose(online_of(decoder).replay(holed), predict(holed), rtol=0, atol=1e-12)


def test_the_posterior_before_the_first_bin_is_the_prior():
    """After making, and after every reset."""
    X, decoder, _ = fitted_pair("identity poisson")
    online = online_of(decoder)
    assert_allclose(online._posterior, 0.25)
    online.update(X[0, 0])
    online.reset()
    assert_allclose(online._posterior, 0.25)


def test_labels_are_classes_or_given_names():
    """Positions become odors."""
    _, decoder, _ = fitted_pair("identity poisson")
    assert online_of(decoder).labels.tolist() == [0, 1, 2, 3]
    assert online_of(decoder, labels=list("abcd")).labels.tolist() == list("abcd")
    with pytest.raises(SchemaError, match="3 labels for 4 classes"):
        online_of(decoder, labels=list("abc"))


def test_an_update_takes_no_memory():
    """A thousand updates: the peak grows by less than one array of the weights' size."""
    X, decoder, _ = fitted_pair("position")
    online = online_of(decoder)
    counts = X[0, 0].astype(float)
    online.update(counts)
    tracemalloc.start()
    for _ in range(1000):
        online.update(counts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000


def test_a_refused_bin_leaves_the_state_as_it_was():
    """The next good bin goes on from where the last good one was."""
    X, decoder, offline = fitted_pair("lda")
    online = online_of(decoder)
    online.update(X[0, 0])
    for bad in (np.full(N_UNITS, np.nan), np.full(N_UNITS, np.inf), np.ones(3), np.array(["a"] * N_UNITS)):
        with pytest.raises(SchemaError):
            online.update(bad)
    assert_allclose(online.update(X[0, 1]), offline[0, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        ("identity poisson", np.ones(4), "takes 5 numbers a bin, got float64 .4,."),
        ("identity poisson", np.array(list("abcde")), "takes 5 numbers a bin, got <U1"),
        ("identity poisson", np.full(5, np.nan), "holds NaN or infinity. Let a lost bin pass by skip"),
        ("position", np.full(5, -np.inf), "holds NaN or infinity"),
        ("identity poisson", np.array([0, 0, -2, 0, 0]), "takes counts, and found -2"),
    ],
)
def test_a_bin_that_is_no_bin_is_refused(kind, bad, message):
    """Wrong units, words, NaN, infinity, negative counts."""
    with pytest.raises(SchemaError, match=message):
        online_of(fitted_pair(kind)[1]).update(bad)


def test_a_trial_of_too_many_bins_is_refused():
    """Where bins have weights of their own, a forgotten reset is found."""
    X, decoder, _ = fitted_pair("identity poisson")
    online = online_of(decoder)
    assert online.n_times == N_TIMES
    for t in range(N_TIMES):
        online.update(X[0, t])
    for step in (online.skip, lambda: online.update(X[0, 0])):
        with pytest.raises(SchemaError, match="fitted on trials of 6 bins, and this is one more. Call reset"):
            step()
    assert online_of(fitted_pair("position")[1]).n_times is None


def test_cumulated_counts_cannot_miss_a_bin():
    """A sum with a hole is no sum."""
    online = online_of(fitted_pair("lda")[1])
    with pytest.raises(SchemaError, match="cannot miss a bin"):
        online.skip()
    with pytest.raises(SchemaError, match="replay takes .n_times, n_units."):
        online.replay(np.ones(5))


def looking_ahead():
    """A smoother."""
    X, _, state = problem()
    return make_decoder("state_space_position", is_causal=False).fit(X, state)


def on_counts(name, n_times=1, y=None, X=None):
    """A decoder of the counts of the first bins side by side."""
    counts, labels, _ = problem()
    features = counts[:, :n_times].reshape(N_TRIALS, -1)
    return make_decoder(name).fit(features if X is None else X, labels if y is None else y)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (lambda: on_counts("ridge_classifier"), "cannot take RidgeClassifierCV over"),
        (lambda: on_counts("nearest_centroid")[-1], "cannot take NearestCentroid over. It takes StateSpaceIdentity"),
        (looking_ahead, "looks ahead. Fit it with is_causal=True"),
        (lambda: [], "list of decoders is empty"),
        (lambda: [on_counts("poisson_bayes")] * 2, "takes one PoissonBayes"),
        (lambda: make_pipeline(StandardScaler(), on_counts("poisson_bayes")), "takes one PoissonBayes, with no step"),
        (lambda: on_counts("poisson_bayes", X=problem()[0][:, 0, :3]), "no whole number of bins of 5 units"),
        (lambda: on_counts("lda", n_times=2), "fitted on 10 features, expected 5 units"),
        (lambda: [on_counts("lda"), on_counts("pooled_lda")], "of one kind and of the same classes"),
        (lambda: [on_counts("lda"), on_counts("lda", y=problem()[1] % 2)], "of one kind and of the same classes"),
        (lambda: [on_counts("lda"), on_counts("lda", n_times=2)], "fitted on different units"),
        (
            lambda: make_pipeline(StandardScaler(), StandardScaler(), LogisticRegression()).fit(
                problem()[0][:, 0], problem()[1]
            ),
            "alone or after StandardScaler, not after StandardScaler, StandardScaler",
        ),
        (
            lambda: LogisticRegression(solver="liblinear").fit(problem()[0][:, 0], problem()[1] % 2),
            "'liblinear' is one against the rest",
        ),
    ],
)
def test_a_decoder_without_such_a_form_is_refused(decoder, message):
    """With what is taken instead."""
    with pytest.raises(SchemaError, match=message):
        online_of(decoder())


def test_a_decoder_that_was_not_fitted_is_refused():
    """As by scikit-learn."""
    for name in ("lda", "poisson_bayes", "state_space", "logistic"):
        with pytest.raises(NotFittedError):
            online_of(make_decoder(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "guess"}, "rule is one of add, cumulate, move, got 'guess'"),
        ({"weights": np.ones((2, 3))}, r"weights are \(n_times, n_labels, n_units\), got \(2, 3\)"),
        ({"constants": np.ones((1, 2))}, "do not fit weights of 3 labels and 1 times"),
        ({"labels": ["a", "b"]}, "do not fit weights of 3 labels"),
        ({"rule": "move"}, "do not fit weights of 3 labels"),
        ({"start": np.array([0.0, np.nan, 0.0])}, "are not finite"),
        ({"rule": "move", "transition": np.eye(3)}, "transitions are above 0"),
        ({"bin_width_s": 0.0}, "bin_width_s is a positive number of seconds, got 0.0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    """Before the first bin."""
    parts = {
        "weights": np.ones((1, 3, 2)),
        "constants": np.ones((1, 3)),
        "start": np.zeros(3),
        "labels": ["a", "b", "c"],
        "rule": "add",
        "bin_width_s": 0.1,
        "is_counts": True,
    }
    with pytest.raises(SchemaError, match=message):
        OnlineDecoder(**(parts | change))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [None, ["a", "b", "ü", "<d>"]])
def test_a_saved_decoder_gives_the_same_numbers(kind, labels, tmp_path):
    """To the last bit, with its labels, rule and bin width."""
    X, decoder, _ = fitted_pair(kind)
    online = online_of(decoder, labels=labels)
    online.save(tmp_path / "decoder")
    loaded = OnlineDecoder.load(tmp_path / "decoder")
    assert_array_equal(loaded.replay(X), online.replay(X))
    assert_array_equal(loaded.labels, online.labels)
    assert (loaded.rule, loaded.bin_width_s, loaded.is_counts) == (online.rule, 0.1, online.is_counts)


@pytest.fixture
def saved(tmp_path):
    """A saved decoder's folder."""
    online_of(fitted_pair("position")[1]).save(tmp_path / "decoder")
    return tmp_path / "decoder"


def test_nothing_is_overwritten(saved):
    """And a folder that cannot be made is said."""
    with pytest.raises(ConflictError, match="is there already. Save under another name"):
        online_of(fitted_pair("position")[1]).save(saved)
    with pytest.raises(StoreError, match="writing the decoder to .*Check the path"):
        online_of(fitted_pair("position")[1]).save(saved / "decoder.json" / "below")


def test_a_missing_decoder_is_said(tmp_path, saved):
    """No folder, or half of one."""
    with pytest.raises(StoreError, match="reading .*Name a folder that OnlineDecoder.save wrote"):
        OnlineDecoder.load(tmp_path / "nothing")
    (saved / "arrays.npz").unlink()
    with pytest.raises(StoreError, match="reading .*arrays.npz"):
        OnlineDecoder.load(saved)


@pytest.mark.parametrize("name", ["arrays.npz", "decoder.json"])
def test_one_changed_byte_is_found(saved, name):
    """In the middle of either file, and at its end."""
    path = saved / name
    data = path.read_bytes()
    for position in (len(data) // 2, len(data) - 2):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(IntegrityError, match="is not what was written|is no JSON"):
            OnlineDecoder.load(saved)
    path.write_bytes(data[:-5])
    with pytest.raises(IntegrityError, match="is not what was written|is no JSON"):
        OnlineDecoder.load(saved)


def forge(saved, *, data=None, **said):
    """Write other contents with hashes that fit, as somebody who means harm would."""
    about = json.loads((saved / "decoder.json").read_text("utf-8")) | said
    if data is not None:
        (saved / "arrays.npz").write_bytes(data)
        about["sha256"] = hashlib.sha256(data).hexdigest()
    about = {name: value for name, value in about.items() if name != "seal" and value is not None}
    about["seal"] = hashlib.sha256(canonical_json(about).encode()).hexdigest()
    (saved / "decoder.json").write_text(json.dumps(about), "utf-8")


def npz(*, packed=False, **arrays):
    """Bytes of an npz."""
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


ARRAYS = {"weights": np.ones((1, 4, 5)), "constants": np.ones((1, 4)), "start": np.zeros(4)}


@pytest.mark.parametrize(
    ("data", "said", "message"),
    [
        (None, {"format": "other 9"}, "expected 'mitral online decoder 1', got 'other 9'"),
        (None, {"labels": None}, "expected 'mitral online decoder 1'"),
        (None, {"labels": ["a"]}, "does not hold a decoder: .*do not fit"),
        (None, {"labels": [["a"], []]}, "does not hold a decoder"),
        (None, {"rule": "run"}, "does not hold a decoder: .*rule is one of"),
        (None, {"bin_width_s": "wide"}, "does not hold a decoder"),
        (b"no zip", {}, "cannot be read"),
        (npz(packed=True, **ARRAYS), {}, "something else than the arrays of a decoder"),
        (npz(**ARRAYS, more=np.ones(1)), {}, "something else than the arrays of a decoder"),
        (npz(**ARRAYS | {"start": np.array([{}, 1, 2, 3], dtype=object)}), {}, "cannot be read .*allow_pickle=False"),
        (npz(**ARRAYS | {"start": np.array(list("abcd"))}), {"rule": "add"}, "does not hold a decoder"),
        (npz(**ARRAYS | {"weights": np.full((1, 4, 5), np.nan)}), {"rule": "add"}, "are not finite"),
    ],
)
def test_a_forged_decoder_is_refused(saved, data, said, message):
    """Hashes that fit do not make it one: format, names, packing, objects, shapes and values are checked."""
    forge(saved, data=data, **said)
    with pytest.raises(IntegrityError, match=message):
        OnlineDecoder.load(saved)


def test_an_array_larger_than_its_file_is_refused(saved):
    """A header that claims 10^15 numbers is not believed."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros(4)) | {"shape": (10**15,)}
    claimed = io.BytesIO()
    np.lib.format.write_array_header_1_0(claimed, header)
    buffer = io.BytesIO(npz(weights=ARRAYS["weights"], constants=ARRAYS["constants"]))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("start.npy", claimed.getvalue())
    forge(saved, data=buffer.getvalue())
    with pytest.raises(IntegrityError, match="cannot be read"):
        OnlineDecoder.load(saved)


def test_a_file_above_the_limit_is_not_read(saved, monkeypatch):
    """Refused by its size."""
    monkeypatch.setattr(online_files, "LARGEST_BYTES", 100)
    with pytest.raises(LimitError, match="bytes, more than 100. It is not read"):
        OnlineDecoder.load(saved)

"""Multi-session CEBRA: turned copies meet, new sessions join without moving others, and noise teaches nothing."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import qr

from mitral.align.base import make_aligner
from mitral.datasets.errors import ConfigError, MissingDependency, SchemaError
from mitral.decode import make_decoder
from mitral.decode.trajectories.joint_encoders import SharedPairs

N_ODORS, N_TIMES, N_LATENTS = 6, 3, 3
QUICK = {"n_iterations": 150, "batch_size": 256, "learning_rate": 1e-2}


def recordings(seed, *, n_trials=16, n_sessions=4, signal=1.0, noise=1.0):
    """Sessions of 20, 21 ... units that see one geometry, squashed by a curve: train and test trials and labels."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(N_ODORS, N_TIMES, N_LATENTS))
    train, test = ({}, {}), ({}, {})
    for number, session in enumerate("abcd"[:n_sessions]):
        W = rng.normal(size=(N_LATENTS, 20 + number))
        for arrays, labels in (train, test):
            y = np.repeat(np.arange(N_ODORS), n_trials // 2)
            X = signal * np.tanh(Z[y] @ W) + 0.5 * noise * rng.normal(size=(len(y), N_TIMES, 20 + number))
            arrays[session], labels[session] = X, y
    return train, test


def without(pair, session):
    """All sessions but one."""
    return tuple({name: part for name, part in arrays.items() if name != session} for arrays in pair)


def means(latents, y):
    """Condition means as one vector, less what all conditions have in common in each bin."""
    found = np.stack([latents[y == k].mean(axis=0) for k in range(N_ODORS)])
    return found - found.mean(axis=0)


def correlation(one, other):
    """Between two tables of means."""
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def hits(train, test):
    """Right test trials, of a decoder that was given train trials; each is (latents, labels)."""
    decoder = make_decoder("pooled_lda").fit(train[0].reshape(len(train[0]), -1), train[1])
    return decoder.predict(test[0].reshape(len(test[0]), -1)) == test[1]


@pytest.fixture(scope="module")
def fitted():
    """Sessions a, b and c in the fit; d stays out. With all trials."""
    pytest.importorskip("cebra")
    train, test = recordings(0)
    return make_aligner("multi_session_cebra", **QUICK).fit(*without(train, "d")), train, test


def test_partners_show_the_same_in_another_session():
    """Counted by hand: codes agree, the session is another one wherever there is one, and all are drawn evenly."""
    rng = np.random.default_rng(0)
    codes = [np.array([0, 0, 1, 2]), np.array([0, 1, 1]), np.array([1, 0, 0, 0, 0])]
    pairs, session = SharedPairs(codes), np.repeat([0, 1, 2], [4, 3, 5])
    code = np.concatenate(codes)
    reference = pairs.references(30_000, rng)
    positive = pairs.positives(reference, rng)
    assert_array_equal(code[positive], code[reference])
    alone = code[reference] == 2
    assert (positive[alone] == 3).all() and (session[positive] != session[reference])[~alone].all()
    # of bin 0 (code 0, session 0): half go to bin 4, an eighth to each of 8 to 11; 2500 draws, error below 0.01
    share = np.bincount(positive[reference == 0], minlength=12) / (reference == 0).sum()
    assert_allclose(share, [0, 0, 0, 0, 0.5, 0, 0, 0, *[0.125] * 4], atol=0.04)
    assert_allclose(np.bincount(session[reference]) / 30_000, [1 / 3] * 3, atol=0.012)  # four standard errors
    assert_allclose(np.bincount(pairs.like(np.zeros(9_000, int), rng), minlength=12)[[0, 4, 8]] / 9_000,
                    [1 / 6, 1 / 3, 1 / 12], atol=0.02)  # fmt: skip


def test_a_mixed_copy_lands_on_the_original():
    """New trials of a copy whose units are turned: means of conditions agree far better than exchanged ones do.

    Training is random, so the bound is 0.9 and not 1 - 1e-9; labels that were exchanged in the fit stay below.
    """
    pytest.importorskip("cebra")
    train, test = recordings(1, n_sessions=1)
    Q, turn = qr(np.random.default_rng(0).normal(size=(20, 20)))[0], np.array([1, 2, 3, 4, 5, 0])
    (X, y), (new, y_new) = (train[0]["a"], train[1]["a"]), (test[0]["a"], test[1]["a"])
    aligner = make_aligner("multi_session_cebra", **QUICK)
    found = {}
    for name, labels in (("right", y), ("exchanged", turn[y])):
        aligner.fit({"a": X, "b": 3 * X @ Q + 1}, {"a": y, "b": labels})
        found[name] = correlation(
            means(aligner.transform("a", new), y_new), means(aligner.transform("b", 3 * new @ Q + 1), y_new)
        )
    assert found["right"] > 0.9 and found["exchanged"] < 0.5


def test_an_animal_is_decoded_from_the_others(fitted):
    """Test trials of c by a decoder of a and b: 48 predictions at chance 1/6, whose standard error is 0.054."""
    aligner, (X, y), (new, y_new) = fitted
    source = np.concatenate([aligner.transform(s, X[s]) for s in "ab"]), np.concatenate([y["a"], y["b"]])
    assert hits(source, (aligner.transform("c", new["c"]), y_new["c"])).mean() > 0.8


def test_what_no_linear_map_can_align_is_aligned():
    """A trial's pattern comes with either sign: means of conditions are near zero, and only a curved map undoes it."""
    pytest.importorskip("cebra")
    rng = np.random.default_rng(2)
    (X, y), (new, y_new) = (({}, {}) for _ in range(2))
    Z = rng.normal(size=(N_ODORS, N_TIMES, N_LATENTS))
    for session in "abc":
        W = rng.normal(size=(N_LATENTS, 20))
        for arrays, labels in ((X, y), (new, y_new)):
            labels[session] = np.repeat(np.arange(N_ODORS), 30)
            sign = rng.choice([-1, 1], size=(180, 1, 1))
            arrays[session] = sign * (Z[labels[session]] @ W) + 0.5 * rng.normal(size=(180, N_TIMES, 20))
    found = {}
    for aligner in (make_aligner("multi_session_cebra", **QUICK), make_aligner("generalised_cca", n_latents=5)):
        aligner.fit(X, y)
        source = np.concatenate([aligner.transform(s, X[s]) for s in "ab"]), np.concatenate([y["a"], y["b"]])
        found[type(aligner).__name__] = hits(source, (aligner.transform("c", new["c"]), y_new["c"])).mean()
    assert found["MultiSessionCEBRA"] > 0.9 and found["GeneralisedCCA"] < 0.5


def test_latents_lie_on_the_sphere_for_patterns_of_any_shape(fitted):
    """Trials, a bin and a table of bins have the same latents, of length 1."""
    aligner, (X, _), _ = fitted
    whole = aligner.transform("a", X["a"])
    assert_allclose(np.linalg.norm(whole, axis=-1), 1, atol=1e-9)
    assert_allclose(aligner.transform("a", X["a"][3, 1]), whole[3, 1], atol=1e-9)
    assert_allclose(aligner.transform("a", X["a"][None]), whole[None], atol=1e-9)
    assert aligner.transform("a", X["a"][:0]).shape == (0, N_TIMES, 5)


def test_a_session_is_added_from_three_trials_and_moves_no_other(fitted):
    """d is decoded from the others' data, and their latents are the same to the last bit."""
    aligner, (X, y), (new, y_new) = fitted
    before = {s: aligner.transform(s, X[s]) for s in "abc"}
    few = np.concatenate([np.flatnonzero(y["d"] == k)[:3] for k in range(N_ODORS)])
    aligner.add_session("d", X["d"][few], y["d"][few])
    assert all(np.array_equal(aligner.transform(s, X[s]), latents) for s, latents in before.items())
    source = np.concatenate(list(before.values())), np.concatenate([y[s] for s in before])
    assert hits(source, (aligner.transform("d", new["d"]), y_new["d"])).mean() > 0.6
    wrong = (y["d"][few] + 1) % N_ODORS
    aligner.add_session("d", X["d"][few], wrong)
    assert hits(source, (aligner.transform("d", new["d"]), y_new["d"])).mean() < 1 / 6


def test_independent_sessions_are_at_chance():
    """No session knows of the others' noise: 48 new trials of d, four standard errors of 0.054."""
    pytest.importorskip("cebra")
    (X, y), (new, y_new) = recordings(3, signal=0.0)
    aligner = make_aligner("multi_session_cebra", **QUICK).fit(X, y)
    source = np.concatenate([aligner.transform(s, X[s]) for s in "abc"]), np.concatenate([y[s] for s in "abc"])
    right = hits(source, (aligner.transform("d", new["d"]), y_new["d"]))
    assert abs(right.mean() - 1 / 6) < 4 * np.sqrt(1 / 6 * 5 / 6 / len(right))


def test_order_and_other_random_numbers_change_nothing():
    """Sessions, trials and units in another order, and torch's own seed: equal to the last bit after training."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("cebra")
    (X, y), _ = recordings(4, n_trials=8, n_sessions=2)
    rng = np.random.default_rng(0)
    trials, units = rng.permutation(len(X["b"])), rng.permutation(X["b"].shape[2])
    short = {"n_iterations": 20, "batch_size": 64}
    plain = make_aligner("multi_session_cebra", **short).fit(X, y)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    mixed = make_aligner("multi_session_cebra", **short).fit(
        {"b": X["b"][trials][..., units], "a": X["a"]}, {"b": y["b"][trials], "a": y["a"]}
    )
    assert_array_equal(mixed.transform("a", X["a"]), plain.transform("a", X["a"]))
    assert_array_equal(mixed.transform("b", X["b"][..., units]), plain.transform("b", X["b"]))
    assert torch.equal(torch.random.get_rng_state(), state)
    other = make_aligner("multi_session_cebra", random_state=1, **short).fit(X, y)
    assert np.abs(other.transform("a", X["a"]) - plain.transform("a", X["a"])).max() > 0.1


def test_the_run_that_others_agree_with_is_kept():
    """Three seeds: the kept one gives the latents that it gives when run alone."""
    pytest.importorskip("cebra")
    (X, y), _ = recordings(5, n_trials=8, n_sessions=2)
    short = {"n_iterations": 20, "batch_size": 64}
    several = make_aligner("multi_session_cebra", n_seeds=3, random_state=7, **short).fit(X, y)
    agreement = several.consistency_.sum(axis=0) + several.consistency_.sum(axis=1)
    assert several.seed_ == 7 + agreement.argmax() and several.loss_.shape == (3, 20)
    alone = make_aligner("multi_session_cebra", random_state=several.seed_, **short).fit(X, y)
    assert_array_equal(several.transform("a", X["a"]), alone.transform("a", X["a"]))
    assert np.isnan(alone.consistency_score_) and several.consistency_score_ < 1


def test_units_that_never_change_do_no_harm():
    """Silent units, and one that is constant: latents are finite and those of trials differ."""
    pytest.importorskip("cebra")
    (X, y), _ = recordings(6, n_trials=8, n_sessions=2)
    X["a"][..., :2], X["a"][..., 2] = 0.0, 1 / 3
    latents = make_aligner("multi_session_cebra", n_iterations=5, batch_size=64).fit(X, y).transform("a", X["a"])
    assert np.isfinite(latents).all() and latents.std(axis=0).min() > 0


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_latents": 1}, "n_latents is a whole number from 2, got 1"),
        ({"n_iterations": 0}, "n_iterations is a whole number from 1, got 0"),
        ({"batch_size": 2.5}, "batch_size is a whole number from 1, got 2.5"),
        ({"n_seeds": 0}, "n_seeds is a whole number from 1, got 0"),
        ({"temperature": 0.0}, "learning_rate and temperature are above 0, got 0.003 and 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate and temperature are above 0, got nan and 1.0"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, said):
    """Before anything is trained, and before any library is needed."""
    (X, y), _ = recordings(7, n_trials=4, n_sessions=2)
    with pytest.raises(ConfigError, match=f"MultiSessionCEBRA: {said}"):
        make_aligner("multi_session_cebra", **parameters).fit(X, y)


def test_without_calibration_trials_nothing_is_claimed(fitted):
    """A network cannot be borrowed from others."""
    aligner, (X, y), _ = fitted
    with pytest.raises(SchemaError, match="session 'e' has no calibration trials, and MultiSessionCEBRA trains"):
        aligner.add_session("e", X["d"][:0], y["d"][:0])


def test_a_missing_library_is_named_with_its_install_line(monkeypatch):
    """Not a bare ImportError from deep inside."""
    from mitral.decode.trajectories import cebra_embedding

    cebra_embedding._library.cache_clear()
    monkeypatch.setitem(sys.modules, "cebra", None)
    (X, y), _ = recordings(8, n_trials=4, n_sessions=2)
    with pytest.raises(MissingDependency, match=r'pip install "mitral\[cebra\]"'):
        make_aligner("multi_session_cebra").fit(X, y)
    cebra_embedding._library.cache_clear()

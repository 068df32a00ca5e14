"""What each method must give: rotated copies, agreement with independent implementations, and its own equations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import eigh, orthogonal_procrustes, qr
from sklearn.cross_decomposition import CCA as SklearnCCA

from mitral.align.base import ALIGNERS, make_aligner
from mitral.align.cca import CCA
from mitral.align.generalised_cca import GeneralisedCCA
from mitral.align.linear import principal_axes
from mitral.align.procrustes import Procrustes, procrustes_by_value
from mitral.align.reduced import ReducedAligner
from mitral.align.ridge import RidgeToShared, left_out_error
from mitral.align.similarity import SimilarityMatching
from mitral.align.srm import SharedResponse
from mitral.datasets.errors import ConfigError, MissingDependency, SchemaError
from mitral.decode import make_reducer

# "none" is no alignment; the models of dynamics are fitted by EM, and have tests of their own
CLOSED_FORM = ["cca", "generalised_cca", "procrustes", "ridge", "similarity", "srm"]
BY_TRANSPORT = ["gromov_wasserstein", "sinkhorn"]
MODELS = ["mixture_lds", "multi_session_cebra", "shared_private"]  # tests of their own


def rotation(n, seed):
    """A random orthogonal matrix."""
    return qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def noisy_pair(seed, *, n_rows=30, d=4, noise=0.3):
    """Two sessions of 7 and 9 units that see one geometry, with noise of their own."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_rows, 1, d))
    return {
        name: Z @ rng.normal(size=(d, n)) + noise * rng.normal(size=(n_rows, 1, n)) for name, n in (("a", 7), ("b", 9))
    }


@pytest.fixture(scope="module")
def copies():
    """One session, a rotated copy, and a rotated copy that is moved away; new trials to compare."""
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(12, 3, 8)), rng.normal(size=(5, 3, 8))
    turn = {"a": np.eye(8), "b": rotation(8, 1), "c": rotation(8, 2)}
    move = {"a": 0.0, "b": 0.0, "c": 3.0}
    return ({s: part @ Q + move[s] for s, Q in turn.items()} for part in (X, new))


@pytest.fixture(scope="module")
def trained_and_new(copies):
    return tuple(copies)


@pytest.mark.parametrize("name", CLOSED_FORM + BY_TRANSPORT)
@pytest.mark.parametrize("n_latents", [4, 8])
def test_a_rotated_copy_lands_on_the_original(name, n_latents, trained_and_new):
    """To 1e-9 for new trials: rotating or moving the units of a session changes nothing in the shared space."""
    if name in BY_TRANSPORT:
        pytest.importorskip("ot")
    cohort, new = trained_and_new
    aligner = make_aligner(name, n_latents=n_latents).fit(cohort)
    for session in "bc":
        assert_allclose(aligner.transform(session, new[session]), aligner.transform("a", new["a"]), atol=1e-9)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_a_rotated_copy_may_come_later(name, trained_and_new):
    """add_session is as exact as fit."""
    cohort, new = trained_and_new
    aligner = make_aligner(name, n_latents=4).fit({s: cohort[s] for s in "ac"}).add_session("b", cohort["b"])
    assert_allclose(aligner.transform("b", new["b"]), aligner.transform("a", new["a"]), atol=1e-9)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_the_order_of_sessions_does_not_matter(name):
    """No session is first among equals (the reference of CCA is the one with most units)."""
    cohort = noisy_pair(0)
    one, other = (make_aligner(name, n_latents=3).fit(c) for c in (cohort, dict(reversed(cohort.items()))))
    assert_allclose(one.transform("a", cohort["a"]), other.transform("a", cohort["a"]), atol=1e-6)


@pytest.mark.parametrize("name", ["generalised_cca", "procrustes", "srm"])
def test_many_more_units_than_rows_cost_no_square_matrix(name):
    """8 rows of 100,000 units: a matrix of units by units would be 80 GB."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 1, 100_000))
    aligner = make_aligner(name, n_latents=5).fit({"a": X, "b": X[:, :, ::-1]})
    assert_allclose(aligner.transform("a", X), aligner.transform("b", X[:, :, ::-1]), atol=1e-6)


# ---- Procrustes ----


def test_two_sessions_are_rotated_as_scipy_rotates_them():
    """Against scipy: one session seen from the other is its principal components under the orthogonal solution."""
    cohort = {s: X[..., :6] for s, X in noisy_pair(1).items()}
    aligner = Procrustes().fit(cohort)
    A, B = (aligner.transform(s, cohort[s])[:, 0] for s in "ab")
    P, Q = (cohort[s][:, 0] - cohort[s][:, 0].mean(axis=0) for s in "ab")
    R, _ = orthogonal_procrustes(Q, P)
    assert_allclose(np.linalg.norm(A - B), np.linalg.norm(P - Q @ R), rtol=1e-6)
    assert_allclose(A @ A.T, P @ P.T, atol=1e-9)  # and both keep their own distances
    assert_allclose(B @ B.T, Q @ Q.T, atol=1e-9)


def test_scaling_finds_the_factor():
    """A copy that is turned and three times as large lands on the original."""
    X = np.random.default_rng(0).normal(size=(10, 1, 5))
    cohort = {"a": X, "b": 3 * X @ rotation(5, 0)}
    aligner = Procrustes(scaling=True).fit(cohort)
    assert_allclose(aligner.transform("b", cohort["b"]), aligner.transform("a", X), atol=1e-9)
    plain = Procrustes().fit(cohort)
    assert_allclose(plain.transform("b", cohort["b"]), 3 * plain.transform("a", X), atol=1e-9)


def test_the_mean_is_a_fixed_point_of_the_alternation():
    """At the end every session is rotated best onto the mean of all, and the mean is the mean."""
    cohort = noisy_pair(2)
    aligner = Procrustes(4, tolerance=1e-12, n_iterations=5000).fit(cohort)
    aligned = {s: aligner.transform(s, X)[:, 0] for s, X in cohort.items()}
    assert_allclose(np.mean(list(aligned.values()), axis=0), aligner.template_[:, 0], atol=1e-6)
    for values in aligned.values():
        assert_allclose(orthogonal_procrustes(values, aligner.template_[:, 0])[0], np.eye(4), atol=1e-6)


def test_samples_are_matched_by_value():
    """Against the table of all distances: 3 nearest by position, 80 and 60 samples."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=80), rng.uniform(size=60)
    track = lambda p: np.column_stack([np.sin(6 * p), np.cos(6 * p), p])  # noqa: E731
    Q = rotation(3, 5)
    X, Y = track(a) @ Q.T + 0.01 * rng.normal(size=(80, 3)), track(b)
    nearest = np.argsort(np.abs(a[:, None] - b), axis=1)[:, :3]
    expected, _ = orthogonal_procrustes(np.repeat(X, 3, axis=0), Y[nearest].reshape(-1, 3))
    assert_allclose(procrustes_by_value(X, Y, a, b, n_nearest=3), expected, atol=1e-9)
    assert_allclose(expected, Q, atol=0.02)  # noise of 0.01 in 80 samples


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((4, 2))}, "two arrays of samples of one dimension"),
        ({"x_values": np.zeros(3)}, "4 and 5 samples have 3 and 5 values"),
        ({"Y": np.full((5, 3), np.nan)}, "some are NaN"),
        ({"n_nearest": 6}, "n_nearest=6, and Y has 5 samples"),
    ],
)
def test_matching_by_value_refuses_what_does_not_fit(change, message):
    """Dimensions, lengths, NaN, more neighbours than samples."""
    given = {"X": np.ones((4, 3)), "Y": np.ones((5, 3)), "x_values": np.zeros(4), "y_values": np.zeros(5)} | change
    with pytest.raises(SchemaError, match=message):
        procrustes_by_value(**given)


# ---- canonical correlation ----


def test_canonical_correlations_are_those_of_the_closed_form_and_sklearn():
    """Without a penalty: the roots of S_aa^-1 S_ab S_bb^-1 S_ba, and scikit-learn's iteration (1e-6, its tolerance)."""
    cohort = noisy_pair(3, noise=1.0)
    aligner = CCA(7, regularisation=0.0, reference="a").fit(cohort)
    A = cohort["a"][:, 0] - cohort["a"][:, 0].mean(axis=0)
    B = cohort["b"][:, 0] - cohort["b"][:, 0].mean(axis=0)
    B = B @ principal_axes(B, 7)[2]
    roots = eigh(A.T @ B @ np.linalg.solve(B.T @ B, B.T @ A), A.T @ A, eigvals_only=True)[::-1]
    found = aligner.canonical_correlations_["b"]
    assert_allclose(found, np.sqrt(roots), atol=1e-9)
    U, V = SklearnCCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(A, B)
    assert_allclose([np.corrcoef(U[:, k], V[:, k])[0, 1] for k in range(3)], found[:3], atol=1e-6)


def test_a_large_penalty_turns_canonical_correlation_into_procrustes():
    """The rotation of scipy, on principal components."""
    cohort = noisy_pair(4)
    aligner = CCA(4, regularisation=1e8, reference="a").fit(cohort)
    P, Q = (X[:, 0] @ principal_axes(X[:, 0] - X[:, 0].mean(axis=0), 4)[2] for X in (cohort["a"], cohort["b"]))
    P, Q = P - P.mean(axis=0), Q - Q.mean(axis=0)
    scale = np.linalg.norm(P) / np.linalg.norm(Q)  # penalties are shares of each session's variance
    expected = Q @ orthogonal_procrustes(Q, P)[0] * scale
    assert_allclose(aligner.transform("b", cohort["b"])[:, 0], expected, atol=1e-5)


def test_the_reference_of_cca_keeps_its_own_latents():
    """The shared space is that of the reference; another name, and a penalty below zero, are refused."""
    cohort = noisy_pair(5)
    aligner = CCA(4, reference="b").fit(cohort)
    assert aligner.reference_ == "b"
    U, s, _ = principal_axes(cohort["b"][:, 0] - cohort["b"][:, 0].mean(axis=0), 4)
    assert_allclose(aligner.transform("b", cohort["b"])[:, 0], U * s, atol=1e-9)
    with pytest.raises(SchemaError, match="the reference 'z' is no session of the fit"):
        CCA(4, reference="z").fit(cohort)
    with pytest.raises(ConfigError, match="regularisation is 0 or more, got -1"):
        CCA(4, regularisation=-1).fit(cohort)


def dense_maxvar(blocks, penalty, d):
    """Eigenvectors of the sum of ridge projections onto each session, in n_rows x n_rows matrices."""
    total = 0
    for X in blocks:
        X = X - X.mean(axis=0)
        variance = np.linalg.svd(X, compute_uv=False) ** 2
        inner = X.T @ X + penalty * np.mean(variance[variance > 1e-12]) * np.eye(X.shape[1])
        total = total + X @ np.linalg.solve(inner, X.T)
    values, vectors = eigh(total)
    return values[::-1][:d] / len(blocks), vectors[:, ::-1][:, :d]


def test_generalised_cca_solves_its_eigenproblem():
    """Against dense projections, for three sessions of unequal units."""
    cohort = noisy_pair(6) | {"c": noisy_pair(7)["a"]}
    aligner = GeneralisedCCA(3, regularisation=0.2).fit(cohort)
    values, vectors = dense_maxvar([X[:, 0] for X in cohort.values()], 0.2, 3)
    assert_allclose(aligner.agreement_, values, atol=1e-9)
    G = aligner.template_[:, 0]
    assert_allclose(np.abs(np.sum(G * vectors, axis=0)), np.full(3, np.sqrt(len(G))), rtol=1e-9)


def test_generalised_cca_agrees_with_cca_zoo():
    """The same latents as its GCCA up to sign, where that library is installed."""
    linear = pytest.importorskip("cca_zoo.linear")
    cohort = noisy_pair(6, noise=1.0) | {"c": noisy_pair(8, noise=1.0)["a"]}
    views = [X[:, 0] - X[:, 0].mean(axis=0) for X in cohort.values()]
    theirs = linear.GCCA(n_components=2).fit(views).transform(views)
    aligner = GeneralisedCCA(2, regularisation=0.0).fit(cohort)
    for ours, other in zip((aligner.transform(s, X)[:, 0] for s, X in cohort.items()), theirs, strict=True):
        for k in range(2):
            assert abs(np.corrcoef(ours[:, k], other[:, k])[0, 1]) > 1 - 1e-6


def test_generalised_cca_does_without_rows_that_sessions_lack():
    """Without noise, two thirds of the conditions in each session give the latents of all."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(12, 1, 3))
    kept = {"a": np.arange(0, 8), "b": np.arange(4, 12), "c": np.r_[0:4, 8:12]}
    loadings = {s: rng.normal(size=(3, 6)) for s in kept}
    aligner = GeneralisedCCA(3, regularisation=1e-9).fit({s: Z[k] @ loadings[s] for s, k in kept.items()}, kept)
    a, b = (aligner.transform(s, Z @ loadings[s])[:, 0] for s in "ab")
    assert_allclose(a, b, atol=1e-5)


# ---- shared response, ridge, similarity ----


def test_the_shared_response_model_has_orthonormal_axes_and_its_fit_only_improves():
    """Squared error after 1, 2, 5 and 50 alternations falls; W'W is the identity."""
    cohort = noisy_pair(9, noise=1.0)
    errors = []
    for n_iterations in (1, 2, 5, 50):
        aligner = SharedResponse(3, n_iterations=n_iterations, tolerance=0.0).fit(cohort)
        W = {s: m.weights for s, m in aligner.maps_.items()}
        errors.append(sum(
            np.sum((X[:, 0] - X[:, 0].mean(axis=0) - aligner.template_[:, 0] @ W[s].T) ** 2) for s, X in cohort.items()
        ))  # fmt: skip
        for weights in W.values():
            assert_allclose(weights.T @ weights, np.eye(3), atol=1e-9)
    assert np.all(np.diff(errors) <= 1e-9)


def test_the_ridge_penalty_is_judged_on_conditions_that_are_left_out():
    """The closed form equals refitting without each condition, intercept and all."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(12, 5)), rng.normal(size=(12, 2))
    X, Y, n_times, penalty = X - X.mean(axis=0), Y - Y.mean(axis=0), 3, 2.0
    U, s, _ = principal_axes(X)
    total = 0.0
    for condition in range(4):
        out = np.arange(12) // n_times == condition
        centre, middle = X[~out].mean(axis=0), Y[~out].mean(axis=0)
        A = X[~out] - centre
        W = np.linalg.solve(A.T @ A + penalty * np.eye(5), A.T @ (Y[~out] - middle))
        total += np.sum((Y[out] - middle - (X[out] - centre) @ W) ** 2)
    assert_allclose(left_out_error(U, s, Y, n_times, penalty), total / 12, rtol=1e-9)


def test_a_session_of_noise_is_shrunk_most():
    """Ridge to the shared space: of three sessions, the one that knows nothing gets the largest penalty."""
    cohort = noisy_pair(10, n_rows=40) | {"noise": np.random.default_rng(0).normal(size=(40, 1, 8))}
    aligner = RidgeToShared(3).fit(cohort)
    assert aligner.penalties_["noise"] > 10 * max(aligner.penalties_["a"], aligner.penalties_["b"])


def test_one_condition_borrows_the_penalty_of_the_others():
    """One odor over time: nothing can be left out, so the median of the fit decides."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(8, 5, 2))
    cohort = {s: Z @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(8, 5, 6)) for s in "abc"}
    aligner = RidgeToShared(2).fit(cohort, {s: np.arange(8) for s in cohort})
    aligner.add_session("d", cohort["a"][:1], np.array([0]))
    assert aligner.penalties_["d"] == np.median([aligner.penalties_[s] for s in "abc"])
    with pytest.raises(SchemaError, match="session 'e' has one row"):
        aligner = RidgeToShared(2).fit({s: X[:, :1] for s, X in cohort.items()})
        aligner.add_session("e", cohort["a"][:1, :1], np.array([0]))


def test_similarity_is_blind_to_the_size_of_a_pattern():
    """Only the direction of a pattern counts, seen from the session's mean."""
    cohort = noisy_pair(11)
    aligner = SimilarityMatching(3).fit(cohort)
    offset = aligner.maps_["a"].offset
    assert_allclose(
        aligner.transform("a", offset + 5 * (cohort["a"] - offset)), aligner.transform("a", cohort["a"]), atol=1e-9
    )
    with pytest.raises(ConfigError, match="penalty is above 0, got 0"):
        SimilarityMatching(3, penalty=0).fit(cohort)
    with pytest.raises(SchemaError, match="session 'c' has no calibration trials, and patterns are placed"):
        aligner.add_session("c", cohort["a"][:0], np.array([], int))


# ---- zero-shot, reducers ----


def test_a_session_without_trials_borrows_the_mean_map_where_units_correspond():
    """Channels of a grid are the same in all animals; units that are not are refused, with the session."""
    X = np.random.default_rng(0).normal(size=(10, 1, 6))
    aligner = Procrustes(3).fit({"a": X, "b": X})
    aligner.add_session("c", X[:0], np.array([], int))
    assert_allclose(aligner.transform("c", X), aligner.transform("a", X), atol=1e-9)
    with pytest.raises(SchemaError, match="session 'd' has no calibration trials and 5 units"):
        aligner.add_session("d", X[:0, :, :5], np.array([], int))


def test_any_reducer_may_stand_before_an_aligner():
    """Principal components and then Procrustes is Procrustes on principal components, and what is new stays new."""
    cohort = noisy_pair(12)
    chain = ReducedAligner(make_reducer("pca", n_latents=4), Procrustes()).fit(cohort)
    plain = Procrustes(4).fit(cohort)
    for session, X in cohort.items():
        assert_allclose(chain.transform(session, X), plain.transform(session, X), atol=1e-6)
    chain.add_session("c", cohort["a"])
    assert_allclose(chain.transform("c", cohort["a"]), chain.transform("a", cohort["a"]), atol=1e-6)
    assert chain.get_params()["aligner__scaling"] is False


def test_units_that_do_not_correspond_cannot_stay_unaligned():
    """Without alignment and without principal components units are compared one by one."""
    cohort = noisy_pair(13)
    with pytest.raises(SchemaError, match="session 'b' has 9 units, 'a' has 7, .* Set n_latents"):
        make_aligner("none").fit(cohort)
    aligner = make_aligner("none").fit({"a": cohort["a"], "b": cohort["a"] + 1})
    assert_allclose(aligner.transform("b", cohort["a"]), cohort["a"])
    with pytest.raises(SchemaError, match="session 'c' has 9 units, those of the fit have 7"):
        aligner.add_session("c", cohort["b"])


# ---- optimal transport ----


def test_a_large_label_cost_is_procrustes():
    """Where no match against the labels pays, the coupling is the identity."""
    pytest.importorskip("ot")
    cohort = noisy_pair(14)
    aligner = make_aligner("sinkhorn", n_latents=4, label_cost=100.0).fit(cohort)
    plain = Procrustes(4).fit(cohort)
    assert_allclose(aligner.couplings_["b"], np.eye(30), atol=1e-9)
    assert_allclose(aligner.transform("b", cohort["b"]), plain.transform("b", cohort["b"]), atol=1e-6)


def test_transport_moves_conditions_that_were_labelled_wrongly():
    """A new session with three labels of thirty in a cycle: the coupling puts them back, where Procrustes is misled."""
    pytest.importorskip("ot")
    X = np.random.default_rng(0).normal(size=(30, 1, 6))
    aligner = make_aligner("sinkhorn", label_cost=0.2, epsilon=0.01).fit({"a": X, "b": X @ rotation(6, 0)})
    right, wrong = np.arange(30), np.arange(30)
    wrong[[2, 7, 11]] = 7, 11, 2
    aligner.add_session("c", X @ rotation(6, 1), wrong)
    assert (aligner.couplings_["c"].argmax(axis=1) == np.argsort(wrong)).all()
    assert_allclose(aligner.transform("c", X @ rotation(6, 1)), aligner.transform("a", X), atol=0.05)  # epsilon
    plain = Procrustes().fit({"a": X, "b": X @ rotation(6, 0)}).add_session("c", X @ rotation(6, 1), wrong)
    assert np.abs(plain.transform("c", X @ rotation(6, 1)) - plain.transform("a", X)).max() > 0.1
    assert (aligner.couplings_["b"].argmax(axis=1) == right).all()


@pytest.mark.parametrize("setting", [{"epsilon": 0.0}, {"label_cost": -1.0}, {"n_rounds": 0}])
def test_transport_refuses_settings_out_of_range(setting):
    """Before anything is computed."""
    with pytest.raises(ConfigError, match="Sinkhorn: epsilon is above 0, label_cost 0 or more and n_rounds 1 or more"):
        make_aligner("sinkhorn", **setting).fit(noisy_pair(0))


def test_conditions_are_matched_without_labels():
    """Gromov-Wasserstein finds a random order of ten conditions from their distances, and is certain of it."""
    pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    X, order = rng.normal(size=(10, 1, 5)), rng.permutation(10)
    aligner = make_aligner("gromov_wasserstein", reference="a").fit({"a": X, "b": X[order] @ rotation(5, 0)})
    assert (aligner.couplings_["b"].argmax(axis=1) == order).all()
    assert aligner.n_matchings_["b"] == 1 and aligner.ambiguity_["b"] < 1e-6
    assert_allclose(aligner.transform("b", X @ rotation(5, 0)), aligner.transform("a", X), atol=1e-6)
    with pytest.raises(ConfigError, match="the reference 'z' is no session of the fit"):
        make_aligner("gromov_wasserstein", reference="z").fit({"a": X, "b": X})


def test_a_regular_polygon_is_reported_as_ambiguous():
    """Six conditions on a ring fit in twelve ways: no partner is claimed, with little noise neither."""
    pytest.importorskip("ot")
    angle = np.arange(6) * np.pi / 3
    ring = np.column_stack([np.cos(angle), np.sin(angle)])[:, None]
    noise = 1e-3 * np.random.default_rng(0).normal(size=(2, 6, 1, 2))
    aligner = make_aligner("gromov_wasserstein").fit({"a": ring + noise[0], "b": ring @ rotation(2, 0) + noise[1]})
    assert aligner.n_matchings_["b"] > 1
    assert aligner.ambiguity_["b"] > 0.5
    assert aligner.couplings_["b"].max() < 0.9


def test_transport_without_its_library_says_what_to_install(monkeypatch):
    """MissingDependency with the line for pip."""
    import sys

    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingDependency, match=r"pip install mitral\[transport\]"):
        make_aligner("gromov_wasserstein").fit(noisy_pair(0))


def test_every_entry_has_a_place_in_these_tests():
    """A new aligner is added to a list above, or has tests of its own."""
    assert set(ALIGNERS) == {*CLOSED_FORM, *BY_TRANSPORT, "none", *MODELS} & set(ALIGNERS)

"""What animals share is used as far as it is there: few trials go further where tunings recur, and lose nowhere."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mitral.align.condition_kernel import AMPLITUDES, LEVEL, _given_amplitude, evidence, infer, tunings
from mitral.align.shared_private import SHARES, SharedPrivate
from mitral.datasets.errors import ConfigError, SchemaError, UnknownName

N_ODORS = 8


def cohort(seed, *, is_shared, n_animals=4, n_trials=8, n_units=30, strength=0.8):
    """Animals whose units have one of six tunings over odors, the same in all animals, or tunings of their own."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(6, N_ODORS))
    arrays, labels = {}, {}
    for name in "abcdefgh"[:n_animals]:
        own = kinds[rng.integers(6, size=n_units)] if is_shared else rng.normal(size=(n_units, N_ODORS))
        y = np.tile(np.arange(N_ODORS), n_trials)
        course = np.sin(np.arange(1, 5) / 2)
        arrays[name] = strength * own.T[y][:, None] * course[:, None] + rng.normal(size=(len(y), 4, n_units)) + 3.0
        labels[name] = y
    return arrays, labels


def few_shot(arrays, labels, *, n_trials=2, share=None, last="d"):
    """Accuracy in the last animal from its first trials, and the share that was found."""
    known = {s: X for s, X in arrays.items() if s != last}
    aligner = SharedPrivate(n_components=1, share=share).fit(known, {s: labels[s] for s in known})
    X, y, k = arrays[last], labels[last], n_trials * N_ODORS
    aligner.add_session(last, X[:k], y[:k])
    return float(np.mean(aligner.predict(last, X[k:]) == y[k:])), aligner.share_[last]


def test_tunings_that_recur_make_few_trials_go_further():
    """Six cohorts with tunings in common, two trials an odor: better than alone by over two standard errors."""
    gain, shares = [], []
    for seed in range(6):
        given = cohort(seed, is_shared=True, strength=0.35)
        shared, share = few_shot(*given)
        gain.append(shared - few_shot(*given, share=0.0)[0])
        shares.append(share)
    assert np.mean(gain) > 2 * np.std(gain, ddof=1) / np.sqrt(6) and np.mean(gain) > 0.03
    assert np.mean(shares) > 0.6


def test_where_nothing_is_shared_nothing_is_lost():
    """Six cohorts of unrelated tunings: the share is low, accuracy within one standard error of the animal alone."""
    alone, shared, shares = [], [], []
    for seed in range(6):
        given = cohort(seed, is_shared=False, strength=0.35)
        alone.append(few_shot(*given, share=0.0)[0])
        accuracy, share = few_shot(*given)
        shared.append(accuracy)
        shares.append(share)
    assert np.mean(shared) > np.mean(alone) - np.std(alone, ddof=1) / np.sqrt(6)
    assert np.mean(shares) < 0.35


def test_odors_that_the_animal_never_had_are_known():
    """Five odors give trials, the other three are decoded among all eight: chance 0.125, standard error 0.07."""
    arrays, labels = cohort(1, is_shared=True, strength=1.0)
    known = {s: arrays[s] for s in "abc"}
    aligner = SharedPrivate(n_components=1).fit(known, {s: labels[s] for s in "abc"})
    had = labels["d"] < 5
    aligner.add_session("d", arrays["d"][had], labels["d"][had])
    said = aligner.predict("d", arrays["d"][~had])
    assert np.mean(said == labels["d"][~had]) > 0.5


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_the_posterior_is_that_of_the_joint_gaussian(share):
    """At every amplitude against the sum over tunings, each from its own covariance matrix; one odor is missing."""
    rng = np.random.default_rng(0)
    means, n = rng.normal(size=(6, 4)), np.array([2.0, 0, 1, 3, 2, 1])
    known, seen = tunings([rng.normal(size=(6, 5))], [np.full(6, 10.0)]), n > 0
    for amplitude in AMPLITUDES:
        found = _given_amplitude(amplitude, share, means[seen], n, known)
        parts = []
        for t in known.tuning:
            prior = amplitude * (share * np.outer(t, t) + (1 - share) * np.eye(6)) + LEVEL
            total = prior[np.ix_(seen, seen)] + np.diag(1 / n[seen])
            gain = np.linalg.solve(total, prior[seen]).T
            log_p = -0.5 * (np.sum(means[seen] * np.linalg.solve(total, means[seen]), axis=0) + slogdet(total))
            mean = gain @ means[seen]
            parts.append((log_p, mean, mean**2 + np.diag(prior - gain @ prior[seen])[:, None]))
        log_p, mean, square = (np.array(part) for part in zip(*parts, strict=True))
        log_p = log_p + np.log(known.weight)[:, None]
        odds = np.exp(log_p - np.logaddexp.reduce(log_p))
        assert_allclose(found[0], np.logaddexp.reduce(log_p), rtol=1e-8)
        assert_allclose(found[1], np.einsum("vu,vku->ku", odds, mean), atol=1e-6)
        assert_allclose(found[2], np.einsum("vu,vku->ku", odds, square), atol=1e-5, rtol=1e-6)
    assert_allclose(evidence(means, n, known, share), infer(means, n, known, share).log_p)


def slogdet(matrix):
    """Log of the determinant."""
    return np.linalg.slogdet(matrix)[1]


def test_similarity_is_the_covariance_of_tunings():
    """Mean diagonal 1, positive semi-definite, and animals that lack odors are filled in from the others."""
    rng = np.random.default_rng(1)
    odors = rng.normal(size=(7, 2))
    whole = [odors @ rng.normal(size=(2, 40)) for _ in range(3)]
    n = [np.full(7, 20.0) for _ in range(3)]
    truth = tunings(whole, n).similarity
    assert_allclose(np.trace(truth), 7)
    assert np.linalg.eigvalsh(truth).min() > -1e-9
    n[0] = np.array([20.0, 20, 20, 20, 20, 0, 20])
    holed = [values.copy() for values in whole]
    holed[0][5] = np.nan
    assert_allclose(tunings(holed, n).similarity, truth, atol=0.25)


def test_noise_stays_at_chance():
    """Without signal, 0.125 within four standard errors of 6 x 48 predictions."""
    right = np.mean([few_shot(*cohort(seed, is_shared=True, strength=0.0))[0] for seed in range(6)])
    assert abs(right - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 288)


def test_permuting_units_changes_nothing():
    """In the known animals and in the new one."""
    arrays, labels = cohort(2, is_shared=True)
    order = np.random.default_rng(0).permutation(30)
    turned = {s: X[:, :, order] for s, X in arrays.items()}
    plain, other = few_shot(arrays, labels), few_shot(turned, labels)
    assert_allclose(other, plain, atol=1e-6)


def test_latents_of_one_odor_agree_between_animals():
    """Mean coordinates of the odors in two animals: correlation above 0.7 in the first two latents."""
    arrays, labels = cohort(3, is_shared=True, strength=1.0)
    aligner = SharedPrivate(2).fit(arrays, labels)
    means = {
        s: np.stack([aligner.transform(s, X)[labels[s] == k].mean(axis=(0, 1)) for k in range(N_ODORS)])
        for s, X in arrays.items()
    }
    for latent in range(2):
        assert np.corrcoef(means["a"][:, latent], means["b"][:, latent])[0, 1] > 0.7


def test_how_much_was_shared_is_reported_with_its_doubt():
    """The mean of the posterior over shares of every session, and the evidence above permuted odors.

    At least 10 nats in each animal where tunings recur, and less than that in each where they do not.
    """
    evidence_of = {}
    for is_shared in (True, False):
        aligner = SharedPrivate(n_components=1).fit(*cohort(4, is_shared=is_shared))
        evidence_of[is_shared] = list(aligner.shared_evidence_.values())
        for session, share in aligner.share_.items():
            assert_allclose(aligner.share_posterior_[session].sum(), 1)
            assert_allclose(share, aligner.share_posterior_[session] @ SHARES)
    assert min(evidence_of[True]) > 10 > max(evidence_of[False])


def test_bad_input_is_refused():
    """Parameters out of range, unknown sessions, other units, odors not shared."""
    arrays, labels = cohort(5, is_shared=True, n_trials=2)
    for parameters in ({"n_components": 0}, {"share": 1.5}):
        with pytest.raises(ConfigError, match="SharedPrivate: n_components .* share"):
            SharedPrivate(**parameters).fit(arrays, labels)
    aligner = SharedPrivate(n_components=1, share=0.5).fit(arrays, labels)
    with pytest.raises(UnknownName, match="knows no session 'z'"):
        aligner.predict("z", arrays["a"])
    with pytest.raises(SchemaError, match="session 'a': the aligner was fitted on 30 units and got 3"):
        aligner.predict("a", arrays["a"][:, :, :3])
    with pytest.raises(SchemaError, match="session 'z' has no condition in common"):
        aligner.add_session("z", arrays["a"][:2], np.array([90, 91]))

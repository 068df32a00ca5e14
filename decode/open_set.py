"""Open set: is this trial one of the known odors, or none of them, at a set rate of false alarms.

A trial gets a score that is high for known odors. The threshold is a conformal quantile of the scores
that held-out training trials of known odors get on inner folds; neither test trials nor trials of
unknown odors take part in it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import xarray as xr
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.covariance import ledoit_wolf
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..datasets.errors import SchemaError
from ..datasets.folds import TEST, TRAIN
from .calibration import inner_splits
from .metrics import area_under_roc
from .prepare import last_step_name, prepare
from .score import Map, frame_of, trial_columns

SCORES = ("posterior", "mahalanobis")


class OpenSetClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that can say "none of the known": its classes, and a conformal test of being any of them.

    Score "posterior": the largest posterior. Score "mahalanobis": minus the least squared distance to a class
    mean under one Ledoit-Wolf covariance of the residuals, on the features that the last step sees.
    p = (1 + #{held-out training scores <= score}) / (n + 1); a trial with p <= ``false_alarm_rate`` is refused
    (Vovk et al. 2005; Bates et al. 2023, eq. 3).

    Parameters
    ----------
    estimator : classifier or pipeline; with predict_proba for score "posterior"
    score : one of ``SCORES``
    false_alarm_rate : share of trials of known odors that may be refused; below 1 / (n + 1) none ever is
    n_folds : inner folds that give the held-out scores; the classifier itself is then fitted on all
    random_state : seed of the inner folds

    Attributes
    ----------
    classes_ : (n_classes,)
    held_out_scores_ : (n_samples,) sorted
    estimator_ : fitted on all training trials

    Notes
    -----
    With one split into fitting and calibrating trials the rate would hold exactly on average; with inner folds, which
    waste no trial, it holds nearly, on the safe side where more training trials raise the scores.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        score: str = "posterior",
        false_alarm_rate: float = 0.05,
        n_folds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.estimator = estimator
        self.score = score
        self.false_alarm_rate = false_alarm_rate
        self.n_folds = n_folds
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """X as the estimator takes it, y (n_samples,) known classes, groups (n_samples,) that inner folds keep whole.

        Raises
        ------
        SchemaError : a parameter out of range, no probabilities for the score "posterior", a class too small
            for inner folds
        """
        check_scoring(self.estimator, self.score, self.false_alarm_rate)
        X, y = np.asarray(X), np.asarray(y)
        self.classes_ = np.unique(y)
        held_out = np.empty(len(y))
        for train, test in inner_splits(y, groups, self.random_state, n_folds=self.n_folds):
            held_out[test] = _Scorer(self.estimator, self.score).fit(X[train], y[train]).scores(X[test])
        self.held_out_scores_ = np.sort(held_out)
        self.scorer_ = _Scorer(self.estimator, self.score).fit(X, y)
        self.estimator_ = self.scorer_.fitted
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """How well each sample fits a known class (n_samples,): larger is more known."""
        check_is_fitted(self)
        return self.scorer_.scores(np.asarray(X))

    def p_value(self, X: np.ndarray) -> np.ndarray:
        """Conformal p value (n_samples,) of being one of the known classes."""
        return self._p_of(self.score_samples(X))

    def is_known(self, X: np.ndarray) -> np.ndarray:
        """False (n_samples,) where a sample is refused as none of the known classes."""
        return self.p_value(X) > self.false_alarm_rate

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The nearest known class of each sample, whether it is refused or not."""
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def _p_of(self, scores: np.ndarray) -> np.ndarray:
        below = np.searchsorted(self.held_out_scores_, scores, side="right")
        return (1 + below) / (len(self.held_out_scores_) + 1)


def cross_validate_open_set(
    activity: xr.DataArray,
    target: str,
    estimator: Any,
    folds: xr.DataArray,
    *,
    unknown: Sequence[Any],
    score: str = "posterior",
    false_alarm_rate: float = 0.05,
    random_state: int,
    map: Map = map,
) -> xr.Dataset:
    """Train on known labels only, test on held-out trials of known labels and on trials of unknown ones.

    Parameters
    ----------
    activity, target, estimator, folds : as in ``cross_validate``; folds over all trials, known and unknown
    unknown : labels that are never trained on
    score, false_alarm_rate, random_state : as of ``OpenSetClassifier``
    map : as the builtin; called once over the folds

    Returns
    -------
    result, kind "open set": ``score (fold)``, the AUROC of known against unknown test trials;
    ``known_score`` and ``p_value (fold, trial)``, NaN where a fold does not test; ``prediction (fold, trial)``,
    position on ``label`` of the nearest known label, -1 where not tested; ``target (trial)``, position on
    ``label``; ``is_unknown (trial)``. attrs: ``score_mean``, the mean AUROC over folds; ``false_alarm_rate``, as set;
    ``false_alarms``, the measured share of known test trials that are refused; ``detections``, the share of unknown
    ones that are; ``accuracy_of_accepted``, of the known ones that are accepted, absent if none is

    Raises
    ------
    SchemaError : unknown labels that are not there, fewer than two known ones, a fold without a test trial of both
        kinds; what ``cross_validate`` and ``OpenSetClassifier`` refuse

    Examples
    --------
    >>> from mitral.datasets import bin_spikes, make_folds, simulate_olfactory_lab
    >>> from mitral.decode import make_decoder
    >>> session = simulate_olfactory_lab(random_state=0, n_animals=1).sessions["mouse-1"]
    >>> activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    >>> folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
    >>> result = cross_validate_open_set(
    ...     activity, "odor", make_decoder("lda"), folds, unknown=["hexanal", "eugenol"],
    ...     score="mahalanobis", random_state=0)
    >>> result.attrs["score_mean"] > 0.6
    True
    """
    check_scoring(estimator, score, false_alarm_rate)
    activity, features, truth, found, sides, *_ = prepare(activity, target, estimator, folds)
    labels = np.asarray(found)
    is_unknown = _unknown_trials(activity, target, truth, labels, unknown)
    for fold, side in enumerate(sides):
        kinds = is_unknown[side == TEST]
        if kinds.all() or not kinds.any():
            what = "known" if kinds.all() else "unknown"
            raise SchemaError(f"fold {fold} tests no trial of {what} {target}. Stratify the folds by {target!r}.")
    groups = folds["group"].to_numpy() if "group" in folds.coords else None
    detector = OpenSetClassifier(
        estimator, score=score, false_alarm_rate=false_alarm_rate, random_state=random_state
    )
    once = partial(_fold, features, truth, is_unknown, groups, detector)
    known_score, p_value = np.full(sides.shape, np.nan), np.full(sides.shape, np.nan)
    prediction = np.full(sides.shape, -1, np.int16)
    for fold, (side, of_fold) in enumerate(zip(sides, map(once, sides), strict=True)):
        known_score[fold, side == TEST], p_value[fold, side == TEST], prediction[fold, side == TEST] = of_fold
    auroc = [known_auroc(s[side == TEST], is_unknown[side == TEST]) for s, side in zip(known_score, sides, strict=True)]
    result = xr.Dataset(
        {
            "score": ("fold", auroc),
            "known_score": (("fold", "trial"), known_score),
            "p_value": (("fold", "trial"), p_value),
            "prediction": (("fold", "trial"), prediction),
            "target": ("trial", truth),
            "is_unknown": ("trial", is_unknown),
        },
        coords={"fold": folds["fold"], "label": labels, **trial_columns(activity)},
    )
    frame = frame_of(activity, target, estimator, folds, "balanced_accuracy", truth, True)
    rates = _rates(result, sides == TEST, false_alarm_rate)
    return result.assign_attrs(
        frame
        | {"kind": "open set", "metric": "auroc", "chance": 0.5, "score_mean": float(np.mean(auroc)), "score_of": score}
        | {"false_alarm_rate": false_alarm_rate, "unknown": [str(label) for label in unknown]}
        | rates
    )


def known_auroc(scores: np.ndarray, is_unknown: np.ndarray) -> float:
    """Probability that a known trial scores above an unknown one, ties counted half (Mann & Whitney 1947).

    Parameters
    ----------
    scores : (n_trials,)
    is_unknown : (n_trials,) bool, some of both

    Examples
    --------
    >>> known_auroc(np.array([0.9, 0.4, 0.5]), np.array([False, False, True]))
    0.5
    """
    return area_under_roc(scores, ~is_unknown)


def check_scoring(estimator: Any, score: str, false_alarm_rate: float) -> None:
    """Refuse a score that the estimator cannot give, and a rate out of range.

    Raises
    ------
    SchemaError : see there
    """
    if not is_classifier(estimator):
        raise SchemaError(f"an open set needs a classifier, got {type(estimator).__name__}, which predicts numbers.")
    if score not in SCORES:
        raise SchemaError(f"score is {' or '.join(SCORES)}, got {score!r}.")
    if score == "posterior" and not hasattr(estimator, "predict_proba"):
        raise SchemaError(
            f"score 'posterior' needs probabilities, and {last_step_name(estimator)} gives none. Use 'mahalanobis', or "
            f"a decoder that gives them, such as 'lda'."
        )
    if not 0 < false_alarm_rate < 1:
        raise SchemaError(f"false_alarm_rate is a share between 0 and 1, got {false_alarm_rate}.")


class _Scorer:
    """A fitted classifier and the score of being known that goes with it."""

    def __init__(self, estimator: Any, score: str) -> None:
        self.fitted = clone(estimator)
        self.kind = score

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """X as the estimator takes it, y (n_samples,)."""
        self.fitted.fit(X, y)
        if self.kind == "mahalanobis":
            features = self._features(X)
            _, position = np.unique(y, return_inverse=True)
            self.means = np.stack([features[position == k].mean(axis=0) for k in range(position.max() + 1)])
            covariance, _ = ledoit_wolf(features - self.means[position], assume_centered=True)
            if not np.trace(covariance) > 0:
                raise SchemaError("no feature varies within the known classes, so there is no Mahalanobis distance.")
            self.factor = cho_factor(covariance)
        return self

    def scores(self, X: np.ndarray) -> np.ndarray:
        """(n_samples,): larger is more known."""
        if self.kind == "posterior":
            return self.fitted.predict_proba(X).max(axis=1)
        difference = self._features(X)[:, None, :] - self.means
        flat = difference.reshape(-1, difference.shape[2])
        distance = np.sum(flat * cho_solve(self.factor, flat.T).T, axis=1).reshape(difference.shape[:2])
        return -distance.min(axis=1)

    def _features(self, X: np.ndarray) -> np.ndarray:
        """Features (n_samples, p) that the last step sees."""
        is_chain = isinstance(self.fitted, Pipeline) and len(self.fitted.steps) > 1
        features = np.asarray(self.fitted[:-1].transform(X) if is_chain else X, dtype=np.float64)
        return features.reshape(len(features), -1)


def _fold(
    features: np.ndarray,
    truth: np.ndarray,
    is_unknown: np.ndarray,
    groups: np.ndarray | None,
    detector: OpenSetClassifier,
    side: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    train, test = (side == TRAIN) & ~is_unknown, side == TEST
    fitted = clone(detector).fit(features[train], truth[train], None if groups is None else groups[train])
    scores = fitted.score_samples(features[test])
    return scores, fitted._p_of(scores), fitted.predict(features[test])


def _unknown_trials(
    activity: xr.DataArray, target: str, truth: np.ndarray, labels: np.ndarray, unknown: Sequence[Any]
) -> np.ndarray:
    where = f"session {activity.attrs['session']!r}: {target}"
    absent = [label for label in unknown if label not in labels.tolist()]
    if absent:
        raise SchemaError(f"{where} {str(absent[0])!r} is to be unknown, but is in no trial. Name one that is.")
    if not len(unknown):
        raise SchemaError(f"{where}: no label is to be unknown. Name at least one that is never trained on.")
    n_known = len(labels) - len(set(unknown))
    if n_known < 2:
        raise SchemaError(f"{where}: {n_known} labels stay known, and a classifier needs two. Name fewer as unknown.")
    return np.isin(labels, list(unknown))[truth]


def _rates(result: xr.Dataset, tested: np.ndarray, false_alarm_rate: float) -> dict[str, Any]:
    """Shares over all test trials of all folds."""
    fold, trial = np.nonzero(tested)
    is_refused = result["p_value"].to_numpy()[fold, trial] <= false_alarm_rate
    is_unknown = result["is_unknown"].to_numpy()[trial]
    is_right = result["prediction"].to_numpy()[fold, trial] == result["target"].to_numpy()[trial]
    accepted = ~is_unknown & ~is_refused
    return {
        "false_alarms": float(is_refused[~is_unknown].mean()),
        "detections": float(is_refused[is_unknown].mean()),
        "n_known": int((~is_unknown).sum()),
        "n_unknown": int(is_unknown.sum()),
    } | ({"accuracy_of_accepted": float(is_right[accepted].mean())} if accepted.any() else {})

"""Shrinkage LDA for many labelings of the same trials: one factorisation, then means and low-rank terms.

Within-class covariance is total minus between-class covariance, W = T - B, and only B knows the labels:
with class means m_k about the training mean and shares p_k = n_k / n,  B = sum_k p_k m_k m_k'.
Shrinking by s towards tr(W)/p I gives

    A = (1-s) T + s (tr T - tr B)/p I - (1-s) B = D - (1-s) M' P M,        M (n_classes, r) the means,

and in the eigenbasis of T, found once, D is diagonal for every labeling. By the push-through identity

    A^-1 M' = D^-1 M' (I - (1-s) P M D^-1 M')^-1,

so a labeling costs its class means and an (n_classes, n_classes) solve. Features outside the span of
the training trials do not matter and are never touched, so more units than trials cost no more.
Exact cross-validated LDA by one hat matrix for two classes and no shrinkage of the null: Treder (2018),
"Cross-validation in high-dimensional spaces: a lifeline for least-squares models and multi-class LDA",
arXiv 1803.10016. Here: shrinkage, many classes, unequal classes, permutations of everything.
"""

from typing import Self

import numpy as np

from .labelings import Labelings, evaluate

SMALLEST_EIGENVALUE = 1e-14  # relative to the largest: directions in which training trials do not differ


class LDA:
    """Decision values of shrinkage LDA for many labelings of one training set.

    Parameters
    ----------
    shrinkage : s in (0, 1], or None for the Ledoit-Wolf estimate from the pooled within-class residuals
        (Ledoit & Wolf 2004, eq. 14), which is found anew for each labeling

    Notes
    -----
    Equal to scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s)``, whose covariance
    is the same mean over classes of biased covariances, up to a term that all classes share.
    Time O(n r min(n, p)) once and O(n_labelings n_classes r (n + n_test)) for the labelings, n training
    trials, p features, r = min(n - 1, p).
    """

    def __init__(self, shrinkage: float | None) -> None:
        self.shrinkage = shrinkage

    def fit(self, X: np.ndarray) -> Self:
        """Eigenbasis of the total covariance of X (n_train, n_features)."""
        X = np.asarray(X, dtype=np.float64)
        self.n_features_ = X.shape[1]
        self.mean_ = X.mean(axis=0)
        centred = X - self.mean_
        if X.shape[0] > X.shape[1]:
            values, basis = np.linalg.eigh(centred.T @ centred / len(X))
        else:
            values, left = np.linalg.eigh(centred @ centred.T / len(X))
            keep = values > SMALLEST_EIGENVALUE * max(values[-1], 0.0)
            values, left = values[keep], left[:, keep]
            basis = centred.T @ (left / np.sqrt(values * len(X)))
        keep = values > SMALLEST_EIGENVALUE * max(values[-1], 0.0) if values.size else values > 0
        self.eigenvalues_, self.basis_ = values[keep], basis[:, keep]
        self.train_ = centred @ self.basis_
        return self

    def decide(self, labelings: Labelings, X_test: np.ndarray) -> np.ndarray:
        """Decision values (n_labelings, n_test, n_classes) for X_test (n_test, n_features)."""
        test = (np.asarray(X_test, dtype=np.float64) - self.mean_) @ self.basis_
        mixing, scaled, constants = self._solve(labelings)
        projected = (test @ scaled.reshape(-1, scaled.shape[2]).T).reshape(len(test), len(labelings), -1)
        values = mixing @ projected.transpose(1, 2, 0)
        values += constants[:, :, None]
        return values.transpose(0, 2, 1)

    def coefficients(self, labelings: Labelings) -> tuple[np.ndarray, np.ndarray]:
        """Weights (n_labelings, n_classes, n_features) and constants (n_labelings, n_classes)."""
        mixing, scaled, constants = self._solve(labelings)
        weights = mixing @ scaled @ self.basis_.T
        return weights, constants - weights @ self.mean_

    def _solve(self, labelings: Labelings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Z (n_labelings, n_classes, n_classes) and Y (n_labelings, n_classes, r), and the constants.

        A^-1 m_k is row k of Z Y in the eigenbasis, Y = M D^-1 and Z' = (I - (1-s) P M D^-1 M')^-1; the constants are
        (n_labelings, n_classes). The product is left to the caller, who needs it for few trials only.
        """
        means, share = labelings.means(self.train_), labelings.share
        norms = np.einsum("lkr,lkr->lk", means, means)
        within_trace = self.eigenvalues_.sum() - np.sum(share * norms, axis=1)
        if self.shrinkage is None:
            shrinkage = self._ledoit_wolf(labelings, means, within_trace)
        else:
            shrinkage = np.full(len(labelings), float(self.shrinkage))
        load = shrinkage * within_trace / self.n_features_
        diagonal = (1 - shrinkage)[:, None] * self.eigenvalues_ + load[:, None]
        scaled = means * (1 / diagonal)[:, None, :]
        gram = means @ scaled.transpose(0, 2, 1)
        inner = np.eye(labelings.n_classes) - (1 - shrinkage)[:, None, None] * share[:, :, None] * gram
        mixing = np.linalg.inv(inner.transpose(0, 2, 1))  # of a few classes, and used twice
        return mixing, scaled, labelings.log_share - 0.5 * np.einsum("lkj,lkj->lk", mixing, gram)

    def _ledoit_wolf(self, labelings: Labelings, means: np.ndarray, within_trace: np.ndarray) -> np.ndarray:
        """Ledoit-Wolf shrinkage (n_labelings,) of the within-class residuals, as scikit-learn computes it."""
        n, p = len(self.train_), self.n_features_
        projected = evaluate(means, np.zeros(means.shape[:2]), self.train_)
        own = np.take_along_axis(projected, labelings.labels[:, :, None], axis=2)[:, :, 0]
        own_norm = np.take_along_axis(np.sum(means**2, axis=2), labelings.labels, axis=1)
        residual = np.sum(self.train_**2, axis=1) - 2 * own + own_norm
        weighted = means * np.sqrt(labelings.share)[:, :, None]
        between = weighted @ weighted.transpose(0, 2, 1)
        squared = (
            np.sum(self.eigenvalues_**2)
            - 2 * np.sum(weighted**2 @ self.eigenvalues_, axis=1)
            + np.sum(between**2, axis=(1, 2))
        )
        beta = (np.mean(residual**2, axis=1) - squared) / n
        delta = squared - within_trace**2 / p
        beta = np.clip(beta, 0.0, np.maximum(delta, 0.0))
        return np.where(delta > 0, beta / np.where(delta > 0, delta, 1.0), 0.0)

"""Linear decoders as scikit-learn pipelines.

All but LDA scale each feature to unit variance on the training trials first; one that is constant
there has no influence. LDA scales inside each class itself ("auto"), or takes features as they are.
"""

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

PENALTIES = tuple(10.0**exponent for exponent in range(-2, 6))


def lda(*, shrinkage: float | str | None = "auto") -> Pipeline:
    """Linear discriminant analysis: Gaussian classes with one covariance, shrunk to a multiple of the identity.

    Parameters
    ----------
    shrinkage : "auto" standardises each class, shrinks its covariance by Ledoit-Wolf and scales it back
        (scikit-learn's way); 0 to 1 shrinks the covariance of the features as they are, so give it
        features of one scale, such as square roots of counts; None needs clearly more trials than features

    Notes
    -----
    Time O(n_trials · n_features² + n_features³) per fit.
    """
    return make_pipeline(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage))


def logistic(*, C: float = 1.0) -> Pipeline:
    """Multinomial logistic regression with an L2 penalty of 1 / (2 C)."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))


def linear_svm(*, C: float = 0.01, random_state: int = 0) -> Pipeline:
    """Linear support-vector machine, one class against the rest, squared hinge loss."""
    return make_pipeline(StandardScaler(), LinearSVC(C=C, random_state=random_state, max_iter=20_000))


def ridge(*, alpha: float | None = None) -> Pipeline:
    """Ridge regression of a number.

    Parameters
    ----------
    alpha : L2 penalty; None chooses it from ``PENALTIES`` by leave-one-out on the training trials
    """
    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES) if alpha is None else Ridge(alpha=alpha))


def ridge_classifier(*, alpha: float | None = None) -> Pipeline:
    """Least-squares regression of class indicators with an L2 penalty; the largest wins.

    Parameters
    ----------
    alpha : as in ``ridge``
    """
    final = RidgeClassifierCV(PENALTIES) if alpha is None else RidgeClassifier(alpha=alpha)
    return make_pipeline(StandardScaler(), final)

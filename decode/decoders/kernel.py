"""Kernel machines of scikit-learn: support vectors for classes, ridge regression for numbers.

Both use the kernel exp(-gamma |x - x'|²) on features of unit variance, so time and memory grow as
n_trials².
"""

from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

PENALTIES = tuple(10.0**exponent for exponent in range(-3, 3))
INNER_FOLDS = 5


def kernel_svm(*, C: float = 1.0, gamma: float | str = "scale") -> Pipeline:
    """Support-vector machine with a Gaussian kernel, one class against one; it gives no probabilities.

    Parameters
    ----------
    C : cost of a margin error
    gamma : inverse squared width of the kernel; "scale" is 1 / (n_features · variance)
    """
    return make_pipeline(StandardScaler(), SVC(C=C, gamma=gamma))


def kernel_ridge(*, alpha: float | None = None, gamma: float | None = None, random_state: int = 0) -> Pipeline:
    """Ridge regression of a number in the space of a Gaussian kernel; the target is centred in the fit.

    Parameters
    ----------
    alpha : L2 penalty; None chooses it from ``PENALTIES`` on inner folds of the training trials
    gamma : inverse squared width of the kernel; None is 1 / n_features
    random_state : seed of the inner folds
    """
    machine = KernelRidge(kernel="rbf", alpha=1.0 if alpha is None else alpha, gamma=gamma)
    if alpha is None:
        inner = KFold(INNER_FOLDS, shuffle=True, random_state=random_state)
        machine = GridSearchCV(machine, {"alpha": PENALTIES}, cv=inner, scoring="neg_mean_squared_error")
    return make_pipeline(StandardScaler(), TransformedTargetRegressor(machine, transformer=StandardScaler()))

"""Gaussian naive Bayes, scikit-learn's, on features of unit variance."""

from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def naive_bayes(*, var_smoothing: float = 0.01) -> Pipeline:
    """Gaussian classes whose features are independent, each with a variance of its own.

    Parameters
    ----------
    var_smoothing : added to every variance within a class, in units of the feature's variance over all
        training trials. scikit-learn's own default, 1e-9, lets a unit that is silent in all training
        trials of a class rule that class out by one spike

    Examples
    --------
    >>> naive_bayes().fit([[0.0], [1.0], [5.0], [6.0]], [0, 0, 1, 1]).predict([[2.0]]).tolist()
    [0]
    """
    return make_pipeline(StandardScaler(), GaussianNB(var_smoothing=var_smoothing))

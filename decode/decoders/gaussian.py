"""Full Gaussian per class: quadratic discriminant analysis with a shrunk covariance in each class."""

from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def gaussian(*, shrinkage: float | str = "auto") -> Pipeline:
    """Gaussian classes, each with a mean and a covariance of its own; boundaries are quadratic.

    Parameters
    ----------
    shrinkage : "auto" is Ledoit & Wolf (2004) in each class; 0 to 1 is the share of the identity.
        Without shrinkage a class needs more trials than features, so there is no such choice

    Notes
    -----
    scikit-learn's ``QuadraticDiscriminantAnalysis``. Time O(n_trials · n_features² + n_classes · n_features³);
    memory O(n_classes · n_features²). Each class has as many parameters as ``pooled_lda`` has in all, so
    with few trials per class the linear decoders are the safer choice.
    """
    return make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage))

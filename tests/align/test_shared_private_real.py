"""Sharing on real tuning: it gains where animals have the same tunings, and loses nothing where they have not."""

import numpy as np
import pytest
import scipy.io

from mitral.align.shared_private import SharedPrivate
from mitral.datasets.activity import bin_spikes
from mitral.datasets.sources.iurilli2017 import read_iurilli2017

N_ODORS = 20


def few_shot(arrays, labels, target, sources, n_trials, test):
    """Accuracy of the target animal from its first trials of each odor, shared and alone; evidence for shared odors."""
    aligner = SharedPrivate().fit({s: arrays[s] for s in sources}, {s: labels[s] for s in sources})
    X, y = arrays[target], labels[target]
    rank = np.array([np.sum(y[:i] == y[i]) for i in range(len(y))])
    right = []
    for share in (None, 0.0):
        aligner.set_params(share=share).add_session(target, X[rank < n_trials], y[rank < n_trials])
        right.append(np.mean(aligner.predict(target, X[rank >= test]) == y[rank >= test]))
        if share is None:
            evidence = aligner.shared_evidence_[target]
    return *right, evidence


@pytest.mark.slow
def test_sharing_gains_on_sampled_trials_of_real_glomeruli(data_folder):
    """Tuning of 4 left bulbs to 20 odors, trials with noise 1.5 times each glomerulus's own spread over odors.

    Two trials of each odor in one bulb, twelve in those of the other mice: better than alone by over two standard
    errors over bulbs, and odors are alike in the same way: likelier than three permutations in each (chance 1/256).
    """
    held = scipy.io.loadmat(data_folder("olfactory/burton_2022/odormappingdata_simple_05_2022.mat"))
    tuning = {name[14:18]: np.nan_to_num(held[name].T) for name in held if "L_dF" in name}
    rng = np.random.default_rng(0)
    odors, y = rng.choice(185, N_ODORS, replace=False), np.tile(np.arange(N_ODORS), 12)
    arrays = {}
    for name, responses in tuning.items():
        mean = responses[odors]
        noise = 1.5 * mean.std(axis=0) + 1e-3
        arrays[name] = (mean[y] + noise * rng.normal(size=(len(y), mean.shape[1])))[:, None]
    labels = dict.fromkeys(arrays, y)
    found = np.array([few_shot(arrays, labels, s, [t for t in arrays if t != s], 2, 2) for s in arrays])
    gain = found[:, 0] - found[:, 1]
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain)) and gain.mean() > 0.03
    assert (found[:, 2] > 0).all()


@pytest.mark.slow
def test_sharing_loses_nothing_between_piriform_experiments(data_folder):
    """Fifteen odors, four trials of each: within one standard error, over experiments, of the experiment alone."""
    arrays, labels = {}, {}
    for session in read_iurilli2017(data_folder("olfactory/iurilli_2017"), set="aPCx_15"):
        if session.sizes["unit"] >= 14:
            activity = bin_spikes(session, event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=0.25)
            name = session.attrs["session"]
            arrays[name], labels[name] = np.sqrt(activity.to_numpy()), activity["odor"].to_numpy()
    found = np.array([few_shot(arrays, labels, s, [t for t in arrays if t != s], 4, 4) for s in arrays])
    shared, alone = found[:, 0], found[:, 1]
    assert shared.mean() > alone.mean() - alone.std(ddof=1) / np.sqrt(len(found))
    assert alone.mean() > 0.15  # chance 0.067

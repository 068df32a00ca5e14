"""The simulated lab is reproducible, and what its mice do is what its truth says."""

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import iv
from scipy.stats import binom, f_oneway, spearmanr

from mitral.datasets.activity import bin_spikes
from mitral.datasets.errors import SchemaError
from mitral.datasets.schema import check_session, check_spikes, events
from mitral.datasets.simulate import SIMULATORS
from mitral.datasets.simulate.olfactory import ODORS, simulate_olfactory_lab
from mitral.datasets.tables import resolve

SMALL = {"n_animals": 2, "n_units": (3, 6), "n_blocks": 2, "concentrations": (0.01, 0.1)}
ONE_MOUSE = {"random_state": 3, "n_animals": 1, "n_units": (60, 60), "n_blocks": 10, "concentrations": (0.1,)}


@pytest.fixture(scope="module")
def small():
    """Two mice, 8 odors at 2 concentrations, 2 blocks."""
    return simulate_olfactory_lab(random_state=0, **SMALL)


@pytest.fixture(scope="module")
def mouse():
    """One mouse of 60 units, 8 odors, 10 trials each."""
    return simulate_olfactory_lab(**ONE_MOUSE)


@pytest.fixture(scope="module")
def blind():
    """The same mouse, sniffs, trials and rates of rest, with units that are blind to odor."""
    return simulate_olfactory_lab(**ONE_MOUSE, strength=0.0)


def only(lab):
    """The one session of a lab with one animal."""
    return lab.sessions["mouse-1"]


def mean_counts(lab, event, window_s):
    """Mean spike count (n_units, n_odors) in a window, odors in the order of the truth."""
    activity = bin_spikes(only(lab), event=event, window_s=window_s, bin_width_s=window_s[1] - window_s[0])
    odor = activity["odor"].values
    return np.stack([activity.values[odor == name, 0].mean(axis=0) for name in ODORS], axis=1)


def test_the_seed_decides(small):
    """The same seed gives the same lab to the last spike, another seed another."""
    again, other = (simulate_olfactory_lab(random_state=seed, **SMALL) for seed in (0, 1))
    for name, session in small.sessions.items():
        xr.testing.assert_identical(again.sessions[name], session)
        assert_array_equal(again.gains[name], small.gains[name])
        assert not np.array_equal(other.gains[name], small.gains[name])


def test_another_animal_leaves_the_others_as_they_were(small):
    """Each has a stream of its own, so a study can grow."""
    larger = simulate_olfactory_lab(random_state=0, **SMALL | {"n_animals": 3})
    assert list(larger.sessions) == ["mouse-1", "mouse-2", "mouse-3"]
    for name, session in small.sessions.items():
        xr.testing.assert_identical(larger.sessions[name], session)
    assert_array_equal(larger.odor_vectors, small.odor_vectors)


def test_sessions_are_sessions(small):
    """Structure and spikes pass the checks; ids are unique in the lab."""
    for name, session in small.sessions.items():
        assert check_spikes(check_session(session)) is session
        assert (session.attrs["session"], session.attrs["animal"], session.attrs["is_simulated"]) == (name, name, True)
        assert events(session) == ["valve_open", "odor_onset", "inhalation_onset"]
        assert session["concentration"].attrs["units"] == "dilution"
        assert 3 <= session.sizes["unit"] <= 6 and small.gains[name].shape == (session.sizes["unit"], 8)
    ids = np.concatenate([session["unit"].values for session in small.sessions.values()])
    assert len(set(ids)) == len(ids)


def test_every_block_holds_every_stimulus_once(small):
    """8 odors at 2 concentrations, in an order of its own."""
    session = small.sessions["mouse-1"]
    stimuli = list(zip(session["odor"].values, session["concentration"].values, strict=True))
    blocks = [[s for s, b in zip(stimuli, session["block"].values, strict=True) if b == block] for block in (0, 1)]
    assert all(len(block) == 16 and set(block) == set(stimuli) for block in blocks)
    assert blocks[0] != blocks[1] and len(set(stimuli)) == 16


def test_the_first_inhalation_is_the_first_after_the_valve(small):
    """The sniff signal falls through zero there, and nowhere between the valve and it."""
    session = small.sessions["mouse-1"]
    time, sniff = session["sniff_time"].values, session["sniff"].values
    falls = np.flatnonzero((sniff[:-1] > 0) & (sniff[1:] <= 0)) + 1  # first sample at or after an inhalation
    for valve, inhalation in zip(session["valve_open"].values, session["inhalation_onset"].values, strict=True):
        later = time[falls][time[falls] >= valve]
        assert valve <= inhalation <= valve + 0.6
        assert inhalation <= later[0] < inhalation + 0.01 + 1e-9


def test_sniffs_come_about_three_times_a_second(small):
    """Intervals of 0.35 s, sd 0.05, cut at 0.2 and 0.6: the mean of n within four standard errors."""
    session = small.sessions["mouse-1"]
    sniff = session["sniff"].values
    falls = session["sniff_time"].values[1:][(sniff[:-1] > 0) & (sniff[1:] <= 0)]
    intervals = np.diff(falls)
    assert 0.19 <= intervals.min() and intervals.max() <= 0.61  # the signal is sampled at 10 ms
    assert abs(intervals.mean() - 0.35) < 4 * 0.05 / np.sqrt(len(intervals))


def test_rates_at_rest_are_those_of_the_model():
    """Gamma(3, 4 Hz) times the sniff's mean, I0(0.5) = 1.063: within four standard errors over 400 units."""
    lab = simulate_olfactory_lab(
        random_state=0, n_animals=1, n_units=(400, 400), odors=("a",), concentrations=(0.1,), n_blocks=5, strength=0
    )
    session = only(lab)
    rates = np.bincount(session["spike_unit"].values, minlength=400) / session.attrs["recorded_s"][1]
    assert abs(rates.mean() - 12 * iv(0, 0.5)) < 4 * rates.std() / np.sqrt(400)
    assert_allclose(rates.std(), 12 / np.sqrt(3) * iv(0, 0.5), rtol=4 / np.sqrt(2 * 400))


def test_units_are_locked_to_the_sniff(blind):
    """The squared resultant of exp(0.5 cos θ) is (I1/I0)² = 0.059; its mean over 60 units, less 1/n of n spikes."""
    activity = bin_spikes(only(blind), event="inhalation_onset", window_s=(0.0, 0.35), bin_width_s=0.005)
    counts = activity.values.sum(axis=0)
    phase = np.exp(2j * np.pi * activity["time"].values / 0.35)
    n = counts.sum(axis=0)
    squared = np.abs(phase @ counts / n) ** 2
    unbiased = (squared - 1 / n) / (1 - 1 / n)
    expected = (iv(1, 0.5) / iv(0, 0.5)) ** 2
    # half the cycles end before 0.35 s and begin anew, which lowers it by up to a tenth
    assert 0.8 * expected < unbiased.mean() < expected + 4 * unbiased.std() / np.sqrt(60)


def test_spikes_are_poisson(blind):
    """Variance over mean of counts in 2.5 s is 1, over 80 trials of 60 units; standard error 0.02."""
    activity = bin_spikes(only(blind), event="valve_open", window_s=(0.0, 2.5), bin_width_s=2.5)
    counts = activity.values[:, 0].astype(float)
    fano = counts.var(axis=0, ddof=1) / counts.mean(axis=0)
    assert abs(fano.mean() - 1) < 4 * np.sqrt(2 / 79 / 60)


def test_responses_follow_the_gains(mouse, blind):
    """Log ratio of counts with odor to those of the blind mouse, over 480 pairs of unit and odor.

    The standard error of the log ratio of two counts of about 25 is 0.28, against gains of sd 0.8 whose bump fills
    part of the window. Over seeds 0 to 5 the rank correlation was 0.72 to 0.83 (its own standard error is 0.02), and
    the sign was right in 95 to 99 % of the 70 to 110 pairs whose gain is beyond 1.
    """
    window = ("inhalation_onset", (0.03, 0.23))
    gain = mouse.gains["mouse-1"]
    ratio = np.log((mean_counts(mouse, *window) + 0.05) / (mean_counts(blind, *window) + 0.05))
    assert spearmanr(gain.ravel(), ratio.ravel()).statistic > 0.7
    strong = np.abs(gain) > 1.0
    assert strong.sum() > 60 and np.mean(np.sign(ratio[strong]) == np.sign(gain[strong])) > 0.9


def test_nothing_is_smelt_before_the_valve_opens(mouse, blind):
    """In the second before it, counts and gains are unrelated: within four standard errors, 1/sqrt(479)."""
    window = ("valve_open", (-1.0, 0.0))
    ratio = np.log((mean_counts(mouse, *window) + 0.05) / (mean_counts(blind, *window) + 0.05))
    assert abs(spearmanr(mouse.gains["mouse-1"].ravel(), ratio.ravel()).statistic) < 4 / np.sqrt(479)


def test_strength_zero_is_blind_to_odor(blind):
    """Gains are zero, and no more units tell odors apart at p < 0.05 than the binomial allows (99.9 %)."""
    assert not blind.gains["mouse-1"].any()
    activity = bin_spikes(only(blind), event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=1.0)
    root, odor = np.sqrt(activity.values[:, 0]), activity["odor"].values
    p = f_oneway(*(root[odor == name] for name in ODORS)).pvalue
    assert np.sum(p < 0.05) <= binom.ppf(0.999, 60, 0.05)


def test_most_units_of_a_mouse_that_smells_tell_odors_apart(mouse):
    """So that the test above is able to fail."""
    activity = bin_spikes(only(mouse), event="inhalation_onset", window_s=(0.0, 1.0), bin_width_s=1.0)
    root, odor = np.sqrt(activity.values[:, 0]), activity["odor"].values
    assert np.sum(f_oneway(*(root[odor == name] for name in ODORS)).pvalue < 0.05) > 30


def test_diluted_odors_act_weaker_and_later():
    """Two decades: half the log gain, and 60 ms later; seen in the excess of units with a gain above 0.7."""
    lab = simulate_olfactory_lab(
        random_state=1, n_animals=1, n_units=(80, 80), odors=ODORS[:4], concentrations=(0.001, 0.1), n_blocks=15,
        strength=1.2,
    )  # fmt: skip
    activity = bin_spikes(only(lab), event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.02)
    excess = {}
    for concentration in (0.001, 0.1):
        here = activity["concentration"].values == concentration
        rest = activity.values[here].mean(axis=0)
        sums = np.zeros(15)
        for position, odor in enumerate(ODORS[:4]):
            units = lab.gains["mouse-1"][:, position] > 0.7
            mine = activity.values[here & (activity["odor"].values == odor)].mean(axis=0)
            sums += (mine - rest)[:, units].sum(axis=1)
        excess[concentration] = np.clip(sums, 0, None)
    time = activity["time"].values
    centre = {c: np.average(time, weights=e) for c, e in excess.items()}
    assert excess[0.001].sum() < 0.75 * excess[0.1].sum()
    assert centre[0.001] > centre[0.1] + 0.02


def test_four_decades_of_dilution_are_without_effect():
    """And not, from there on, an effect of the other sign."""
    common = {"random_state": 2, "n_animals": 1, "n_units": (40, 40), "odors": ODORS, "n_blocks": 5}
    lab = simulate_olfactory_lab(**common, concentrations=(1e-7, 0.1), strength=1.5)
    session = only(lab)
    weak = session.isel(trial=session["concentration"].values == 1e-7)
    activity = bin_spikes(weak, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.3)
    means = np.stack([activity.values[activity["odor"].values == odor, 0].mean(axis=0) for odor in ODORS], axis=1)
    relative = np.log((means + 0.2) / (means.mean(axis=1, keepdims=True) + 0.2))
    assert abs(spearmanr(lab.gains["mouse-1"].ravel(), relative.ravel()).statistic) < 4 / np.sqrt(319)


def test_gains_are_shared_odor_vectors_and_a_private_part():
    """Without a private part exactly the loadings times the vectors; with one, of the standard deviation asked for."""
    many = {"odors": tuple(f"odor {i}" for i in range(40)), "concentrations": (0.1,), "n_blocks": 1}
    common = {"random_state": 0, "n_animals": 1, "n_units": (100, 100), "n_latents": 20} | many
    lab = simulate_olfactory_lab(**common, private=0.0, strength=0.5)
    gains = lab.gains["mouse-1"]
    assert_allclose(gains, 0.5 * lab.loadings["mouse-1"] @ lab.odor_vectors.T)
    assert_allclose(gains.std(), 0.5, rtol=0.15)  # standard error 5 % from 40 vectors of 20
    lab = simulate_olfactory_lab(**common, private=1.0, strength=0.5)
    private = lab.gains["mouse-1"] - 0.5 * lab.loadings["mouse-1"] @ lab.odor_vectors.T / np.sqrt(2)
    assert_allclose(private.std(), 0.5 / np.sqrt(2), rtol=0.05)  # standard error 1 % from 4000 gains


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"n_animals": 0}, "n_animals must be at least 1, got 0"),
        ({"n_units": (0, 5)}, "n_units must be at least 1, got 0"),
        ({"n_units": (5, 3)}, r"n_units must be \(fewest, most\), got \(5, 3\)"),
        ({"odors": ()}, "odors must be at least 1"),
        ({"odors": ("a", "b", "a")}, "odor 'a' is there twice"),
        ({"concentrations": ()}, "concentrations must be at least 1"),
        ({"concentrations": (0.1, 0.1)}, "concentration 0.1 is there twice"),
        ({"concentrations": (0.0, 0.1)}, "concentrations are positive dilutions, got 0.0"),
        ({"n_blocks": 0}, "n_blocks must be at least 1"),
        ({"n_latents": 0}, "n_latents must be at least 1"),
    ],
)
def test_a_lab_that_cannot_be_is_refused(changed, match):
    """Nothing of something, a range upside down, a stimulus twice, no dilution."""
    with pytest.raises(SchemaError, match=match):
        simulate_olfactory_lab(random_state=0, **SMALL | changed)


def test_simulators_are_listed_by_name():
    """A configuration names them."""
    assert resolve("olfactory_lab", SIMULATORS, what="simulator") is simulate_olfactory_lab


RATIO = {"hexanal, a little eugenol": {"hexanal": 0.9, "eugenol": 0.1}, "both": {"hexanal": 1, "eugenol": 1}}


@pytest.mark.parametrize(("subadditivity", "of_both"), [(0.0, 1.0), (1.0, 0.5)])
def test_a_mixture_has_the_gains_of_its_components(subadditivity, of_both):
    """Amount by amount where it adds to one; the sum of both where gains add, the mean at subadditivity 1."""
    lab = simulate_olfactory_lab(random_state=0, **SMALL, mixtures=RATIO, subadditivity=subadditivity)
    for gain in lab.gains.values():
        hexanal, eugenol = gain[:, ODORS.index("hexanal")], gain[:, ODORS.index("eugenol")]
        assert gain.shape[1] == len(ODORS) + 2
        assert_allclose(gain[:, -2], 0.9 * hexanal + 0.1 * eugenol)
        assert_allclose(gain[:, -1], of_both * (hexanal + eugenol))


def test_mixtures_are_stimuli_of_every_block_with_their_amounts(small):
    """A column of amounts for each odor; odors themselves have one of themselves, and the same gains as without."""
    lab = simulate_olfactory_lab(random_state=0, **SMALL, mixtures=RATIO)
    session = lab.sessions["mouse-1"]
    assert session.sizes["trial"] == 2 * 2 * (len(ODORS) + 2)
    amounts = np.stack([session[f"amount of {odor}"].values for odor in ODORS], axis=1)
    odor = session["odor"].values
    assert amounts[odor == "both"].sum() == 2 * np.sum(odor == "both")
    assert_array_equal(session["amount of eugenol"].values[odor == "hexanal, a little eugenol"], 0.1)
    assert_array_equal(amounts[odor == "limonene"], np.tile(np.equal(ODORS, "limonene"), (4, 1)))
    assert_array_equal(lab.gains["mouse-1"][:, : len(ODORS)], small.gains["mouse-1"])
    assert "amount of eugenol" not in small.sessions["mouse-1"].coords


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mixtures": {"hexanal": {"eugenol": 1}}}, "mixture 'hexanal' has an odor's name, or no amount above 0"),
        ({"mixtures": {"x": {}}}, "mixture 'x' has an odor's name, or no amount above 0"),
        ({"mixtures": {"x": {"musk": 1}}}, "mixture 'x' has component 'musk', which is no odor"),
        ({"mixtures": {"x": {"hexanal": -1}}}, "mixture 'x' has an odor's name, or no amount above 0"),
        ({"subadditivity": -0.1}, "subadditivity is at least 0, got -0.1"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(options, said):
    """With its name, and how to write one."""
    with pytest.raises(SchemaError, match=said):
        simulate_olfactory_lab(random_state=0, **SMALL, **options)

"""Bayes decoding of position beside pynapple: 72,000 bins x 100 units x 50 states, equal posteriors.

    python3 run.py bench bayes_position

Both sides start from counts and tuning curves in Hz, with the occupancy as prior. Rates are above 0, where the
two formulas are the same; at a rate of 0 pynapple adds 1e-12, and mitral refuses.
"""

import numpy as np
import pynapple
import xarray as xr
from table import peak_bytes, print_table, row, timed

from mitral.decode.decoders.poisson_bayes import poisson_posterior

N_BINS, N_UNITS, N_STATES, BIN_WIDTH_S = 72_000, 100, 50, 0.05


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    centres = np.linspace(0.01, 0.99, N_STATES)
    fields = rng.uniform(0, 1, N_UNITS)
    curves_hz = 0.2 + 15 * np.exp(-0.5 * ((centres[:, None] - fields) / 0.08) ** 2)  # (n_states, n_units)
    state = (np.abs(np.cumsum(rng.integers(-1, 2, N_BINS))) // 2) % N_STATES
    counts = rng.poisson(curves_hz[state] * BIN_WIDTH_S)
    occupancy = np.bincount(state, minlength=N_STATES).astype(float) + 1

    time = (np.arange(N_BINS) + 0.5) * BIN_WIDTH_S
    frame = pynapple.TsdFrame(t=time, d=counts.astype(float), columns=np.arange(N_UNITS))
    epochs = pynapple.IntervalSet(0, N_BINS * BIN_WIDTH_S)
    tuning = xr.DataArray(
        curves_hz.T,
        dims=("unit", "position"),
        coords={"unit": np.arange(N_UNITS), "position": centres},
        attrs={"occupancy": occupancy},
    )

    def ours() -> np.ndarray:
        return poisson_posterior(counts, curves_hz * BIN_WIDTH_S, prior=occupancy)

    def theirs() -> np.ndarray:
        _, posterior = pynapple.decode_bayes(tuning, frame, epochs, bin_size=BIN_WIDTH_S, uniform_prior=False)
        return posterior.values

    peer_s, peer_posterior = timed(theirs, repeats=2)
    our_s, our_posterior = timed(ours, repeats=7)
    difference = np.abs(our_posterior - peer_posterior).max()
    peak = peak_bytes(ours)
    job = f"{N_BINS:,} bins, {N_UNITS} units, {N_STATES} states"
    same = f"{'yes' if difference < 1e-9 else 'no'}, posteriors differ by at most {difference:.1e}"
    peer = f"pynapple {pynapple.__version__} decode_bayes"
    print_table(
        [row(job, peer, our_s, peer_s, same_answer=same, held_to="50 x")],
        notes=[f"Peak memory {peak / 1e6:.0f} MB, {peak / our_posterior.nbytes:.2f} times the posterior."],
    )


if __name__ == "__main__":
    main()

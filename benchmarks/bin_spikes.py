"""Spikes to a trial tensor: ``bin_spikes`` beside pynapple, 12 million spikes, 600 units, 600 trials of 2 s at 10 ms.

    python3 run.py bench bin_spikes

Spikes lie off the bin edges, so that both sides must count the same; what a spike on an edge does
is held by the tests. Memory is the peak over the call, answer included.
"""

import numpy as np
import pynapple
from table import peak_bytes, print_table, row, timed

from mitral.datasets import bin_spikes, make_session

N_SPIKES, N_UNITS, N_TRIALS = 12_000_000, 600, 600
TICKS_PER_S, BIN_WIDTH_S, WINDOW_S = 30_000, 0.01, (-0.5, 1.5)
TRIAL_S = 2.05


def make_recording() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted ticks, units and event times in s; no spike on a multiple of the bin width."""
    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(0, int((N_TRIALS * TRIAL_S + 2) * TICKS_PER_S), N_SPIKES))
    ticks[ticks % int(BIN_WIDTH_S * TICKS_PER_S) == 0] += 1
    return ticks, rng.integers(0, N_UNITS, N_SPIKES), 1 + np.arange(N_TRIALS) * TRIAL_S


def main() -> None:
    """Measure and print."""
    ticks, unit, onset = make_recording()
    session = make_session(
        "benchmark",
        "none",
        trials={"onset": onset},
        trial_units={"onset": "s"},
        units={"unit": [f"benchmark/u{u}" for u in range(N_UNITS)]},
        recorded_s=(0.0, N_TRIALS * TRIAL_S + 2),
        spike_ticks=ticks,
        spike_unit=unit,
        ticks_per_s=TICKS_PER_S,
    )
    group = pynapple.TsGroup({u: pynapple.Ts(ticks[unit == u] / TICKS_PER_S) for u in range(N_UNITS)})
    epochs = pynapple.IntervalSet(onset + WINDOW_S[0], onset + WINDOW_S[1])

    def ours() -> np.ndarray:
        return bin_spikes(session, event="onset", window_s=WINDOW_S, bin_width_s=BIN_WIDTH_S).to_numpy()

    def theirs() -> np.ndarray:
        return pynapple.build_tensor(group, epochs, bin_size=BIN_WIDTH_S)

    theirs()  # compiles
    our_s, our_counts = timed(ours, repeats=5)
    peer_s, peer_counts = timed(theirs, repeats=3)
    differ = int(np.sum(our_counts.transpose(2, 0, 1) != peer_counts))
    del peer_counts
    peak = peak_bytes(ours)
    job = f"{N_SPIKES / 1e6:.0f} M spikes, {N_UNITS} units, {N_TRIALS} trials, {our_counts.shape[1]} bins"
    same = "yes, every count" if differ == 0 else f"no, {differ} of {our_counts.size} counts differ"
    peer = f"pynapple {pynapple.__version__} build_tensor"
    print_table(
        [row(job, peer, our_s, peer_s, same_answer=same, held_to="10 x")],
        notes=[f"Peak memory {peak / 1e6:.0f} MB, {peak / our_counts.nbytes:.2f} times the output (held to 2)."],
    )


if __name__ == "__main__":
    main()

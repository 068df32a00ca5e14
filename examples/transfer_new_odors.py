"""Odors decoded in a mouse from the data of other mice: known ones with a few trials, and new ones with none.

python examples/transfer_new_odors.py
"""

from mitral.align import align, known_odors, make_aligner, new_odors, plan_anchors, sweep
from mitral.datasets import bin_spikes, simulate_olfactory_lab
from mitral.decode import make_decoder

lab = simulate_olfactory_lab(
    random_state=0, n_animals=4, n_units=(30, 40), n_blocks=6, concentrations=(0.1,), private=0.1,
    odors=tuple(f"odor-{k:02d}" for k in range(16)),
)  # fmt: skip
cohort = {
    name: bin_spikes(session, event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.1)
    for name, session in lab.sessions.items()
}
aligner = make_aligner("generalised_cca", n_latents=4)
decoder = make_decoder("pooled_lda")

print("Known odors, 1 and 3 calibration trials of each:")
curve = sweep(
    lambda k: known_odors(cohort, "odor", aligner, decoder, k=k, n_test=3, n_repeats=2, random_state=0),
    [1, 3],
    name="k",
)
for k in curve["k"].values:
    print(f"  k={k}: {curve['finding'].sel(k=k).item()}")

print("New odors, 10 anchors:")
result = new_odors(cohort, "odor", aligner, n_anchors=10, n_repeats=3, random_state=0)
for line in result["line"].values:
    part = result.sel(line=line)
    low, high = float(part["score_low"]), float(part["score_high"])
    print(f"  {line:>16}  {float(part['score_mean']):.3f} ({low:.3f} to {high:.3f})")
print(f"  {result.attrs['finding']}")

print("How many anchors does the next mouse need?")
plan = plan_anchors(
    cohort, "odor", aligner, wanted=0.5, n_anchors=[6, 10], n_test=6, n_repeats=2, random_state=0, measures=("lda",)
)
print(f"  {plan.attrs['finding']}")

latents = align(cohort, "odor", aligner)
print(f"All trials in one space, to look at: {dict(latents.sizes)}")

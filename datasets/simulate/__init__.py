"""Recordings with known truth, in the session schema. SIMULATORS lists them by name."""

SIMULATORS = {
    "latent_space": "mitral.datasets.simulate.latent_space:simulate_latent_space",
    "olfactory_lab": "mitral.datasets.simulate.olfactory:simulate_olfactory_lab",
}

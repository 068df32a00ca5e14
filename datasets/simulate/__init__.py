"""Recordings with known truth, in the session schema. SIMULATORS lists them by name."""

SIMULATORS = {"olfactory_lab": "mitral.datasets.simulate.olfactory:simulate_olfactory_lab"}

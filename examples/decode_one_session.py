"""From a stored session to a decoded odor, a saved result and a figure for print.

Needs a store ``lab`` with the session ``mouse-1``: python examples/decode_one_session.py
"""

from mitral.apps import figures
from mitral.datasets import Store, bin_spikes, make_folds
from mitral.decode import cross_validate, make_decoder, with_interval, with_null

store = Store("lab")
activity = bin_spikes(store.session("mouse-1"), event="inhalation_onset", window_s=(0.0, 0.3), bin_width_s=0.1)
folds = make_folds(activity, target="odor", n_folds=5, random_state=0, group="block")
decoder = make_decoder("pooled_lda")

result = cross_validate(activity, "odor", decoder, folds)
result = with_null(result, activity, decoder, folds, n_permutations=200, random_state=0)
result = with_interval(result, random_state=0)
for name in ("score_mean", "score_low", "score_high", "chance", "null_high", "p_value"):
    print(f"{name:>10}  {result.attrs[name]:.3f}")

store.save_result(result, name="odor-mouse-1-by-hand", content_key="examples/decode_one_session.py")
print(figures.save_figure("confusion", result, "confusion_mouse-1.svg", width_mm=85))

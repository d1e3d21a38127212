"""Table of what can be wrong with a network in training: when it is, and what to try.

It knows the facts that measure.py finds, not how. Thresholds lie between what healthy fits of real tables show and what sick
ones do: tests/glass/test_diagnose.py holds both sides, and test_diagnose_unseen.py does on tables that they were not chosen on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from glassprop.glass.measure import GAIN, Facts, LayerFacts

FADED = 1e-3  # of the size of δ at the output, in the first layer
SWOLLEN = 1e2
MOST_DEAD, MOST_SATURATED, MOST_DUPLICATES, MOST_USELESS = 0.4, 0.6, 0.2, 0.5  # shares
LARGE, SMALL, FAR = 30.0, 0.05, 30.0  # standard deviations and means of inputs and targets; 1 and 0 are wanted
GAP = 0.25  # of the baseline's loss, between training and validation
WORSE = 0.25  # of the best validation loss, by which the last is above it


class Rule(NamedTuple):
    """A thing that can be wrong."""

    name: str
    seen: Callable[[Facts], str]  # the facts in a sentence; empty where it is not so
    advice: str
    alone: bool = False  # told only where nothing else is: it is what others lead to


def _hidden(facts: Facts) -> tuple[LayerFacts, ...]:
    return facts.layers[:-1]


def _diverged(facts: Facts) -> str:
    return facts.stopped


def _gain(facts: Facts, here: float, there: float) -> float:
    """By what share of the loss (or the baseline's, if more) one trial ends lower than another; losses count from the floor."""
    here = min(here, 1e300)  # infinite where the trial diverged
    scale = max(facts.baseline, here) - facts.floor
    return (here - there) / scale if scale > 0 else 0.0


def _rate_too_high(facts: Facts) -> str:
    if not facts.trials:
        return ""
    # on the rows of these steps: what they forget of the others is no matter of the learning rate
    here, lower = facts.trials[1.0].trained, facts.trials[0.1].trained
    if _gain(facts, here, lower) < GAIN:
        return ""
    return (
        f"with a tenth of the learning rate {facts.learning_rate:g}, a few steps more lead to a loss of {lower:.3g}; with all "
        f"of it, to {here:.3g}"
    )


def _rate_too_low(facts: Facts) -> str:
    if not facts.trials:
        return ""
    # on rows that these steps leave out: that more can be learnt by heart is no sign
    highest = max(facts.trials)
    before, here, higher = (facts.trials[factor].held for factor in (0.0, 1.0, highest))
    # not where the loss falls fast as it is
    if _gain(facts, here, higher) < GAIN or here - higher < 3 * (before - here):
        return ""
    return (
        f"with {'ten' if highest == 10 else f'{highest:,.0f}'} times the learning rate {facts.learning_rate:g}, a few steps "
        f"more lower the loss from {before:.3g} to {higher:.3g}; with it as it is, to {here:.3g}"
    )


def _inputs(facts: Facts) -> str:
    stds, means = facts.input_stds, np.abs(facts.input_means)
    varies = stds > 0
    if not varies.any():
        return "no input varies"
    size = np.where(varies, np.hypot(stds, facts.input_means), 0)
    widest, offset = int(size.argmax()), np.where(varies, means / np.maximum(stds, 1e-300), 0)
    if size[widest] > LARGE:
        return f"input {widest} (from 0) has mean {facts.input_means[widest]:.3g} and standard deviation {stds[widest]:.3g}"
    if offset.max() > FAR and means[offset.argmax()] > 1:
        i = int(offset.argmax())
        return f"input {i} (from 0) lies around {facts.input_means[i]:.3g}, with a standard deviation of only {stds[i]:.3g}"
    if stds.max() < SMALL:
        return f"no input has a standard deviation above {stds.max():.2g}"
    return ""


def _targets(facts: Facts) -> str:
    if facts.network.loss.targets != "any" or facts.network.output_activation.name != "identity":
        return ""
    std, mean = facts.target_std, facts.target_mean
    if std > 0 and (std > LARGE or std < SMALL or abs(mean) > FAR * std):
        return f"targets have mean {mean:.3g} and standard deviation {std:.3g}"
    return ""


def _depth_ratio(facts: Facts) -> float:
    first, last = facts.layers[0].delta, facts.layers[-1].delta
    return first / last if last > 0 and len(facts.layers) > 2 else 1.0


def _vanishing(facts: Facts) -> str:
    ratio = _depth_ratio(facts)
    if ratio > FADED or min(layer.dead for layer in facts.layers) == 1:
        return ""
    sizes = ", ".join(f"{layer.delta:.1e}" for layer in facts.layers)
    return f"from the output down to layer 1, δ shrinks by a factor of {1 / max(ratio, 1e-300):.0e}: layer by layer {sizes}"


def _exploding(facts: Facts) -> str:
    if _depth_ratio(facts) < SWOLLEN:
        return ""
    sizes = ", ".join(f"{layer.delta:.1e}" for layer in facts.layers)
    return f"from the output down to layer 1, δ grows by a factor of {_depth_ratio(facts):.0e}: layer by layer {sizes}"


def _shares(facts: Facts, name: str, most: float, told: str) -> str:
    """The layers where a share is too large, in words."""
    parts = [
        f"{told.format(share=f'{share:.0%}')} layer {layer.layer} ({layer.activation})"
        for layer in _hidden(facts)
        if (share := getattr(layer, name)) > most
    ]
    return "; ".join(parts)


def _overfitting(facts: Facts) -> str:
    history = facts.history
    if history is not None and not facts.restored and np.isfinite(history.validation_loss).any():
        best, last = int(np.nanargmin(history.validation_loss)), len(history) - 1
        rose, room = history.validation_loss[last] - history.validation_loss[best], facts.baseline - facts.floor
        if rose > WORSE * (history.validation_loss[best] - facts.floor) and rose > 0.1 * GAP * room:
            return (
                f"the validation loss was best in epoch {best + 1}, {history.validation_loss[best]:.3g}, and is "
                f"{history.validation_loss[last]:.3g} now, while the training loss fell from {history.loss[best]:.3g} to "
                f"{history.loss[last]:.3g}"
            )
    if facts.validation_loss is None or facts.validation_baseline is None:
        return ""
    # less what it is for constant outputs: that some rows are harder to any network is no sign
    gap = facts.validation_loss - facts.loss - max(facts.validation_baseline - facts.baseline, 0)
    if gap > GAP * (max(facts.baseline, facts.loss) - facts.floor):
        return f"the loss is {facts.loss:.3g} on training rows and {facts.validation_loss:.3g} on validation rows"
    return ""


def _nothing_learnt(facts: Facts) -> str:
    if facts.loss < facts.baseline:
        return ""
    constant = "with the best constant outputs, which know nothing of the inputs"
    return f"the loss is {facts.loss:.4g}, and {facts.baseline:.4g} {constant}"


#: In the order in which they are told: what explains most comes first.
RULES: tuple[Rule, ...] = (
    Rule("divergence", _diverged, "lower the learning rate, give the rule clip_norm=1, or standardise inputs and targets"),
    Rule("unscaled inputs", _inputs, "standardise every input to mean 0 and standard deviation 1 (the train command does)"),
    Rule("target scale", _targets, "standardise the targets and turn predictions back, or choose a loss that fits them"),
    Rule("exploding gradients", _exploding,
         "start from smaller weights (method=None suits the activation), clip the gradient's norm, use fewer layers"),
    Rule("vanishing gradients", _vanishing,
         "use relu or silu instead of sigmoid or tanh, start from weights that suit the activation, use fewer layers"),
    Rule("dead ReLUs", lambda f: _shares(f, "dead", MOST_DEAD, "φ′ is 0 on all rows in {share} of the neurons of"),
         "lower the learning rate, use leaky_relu or silu, check that biases are not far below 0; dead neurons learn no more"),
    Rule("saturated neurons", lambda f: _shares(f, "saturated", MOST_SATURATED, "φ is flat for {share} of rows and neurons of"),
         "standardise inputs, start from smaller weights, add a penalty l2, or use relu or silu"),
    Rule("duplicated neurons", lambda f: _shares(f, "duplicates", MOST_DUPLICATES, "{share} of neurons equal another in"),
         "start from random weights: neurons that start alike stay alike, and the layer counts as a smaller one"),
    Rule("useless neurons", lambda f: _shares(f, "useless", MOST_USELESS, "{share} of neurons change next to nothing in"),
         "a smaller layer would do, or a weaker penalty"),
    Rule("learning rate too high", _rate_too_high, "a lower learning rate, or one that falls: gp.Cosine"),
    Rule("learning rate too low", _rate_too_low, "a higher learning rate, or more epochs"),
    Rule("overfitting", _overfitting, "more rows, a penalty l2, dropout, a smaller network, or patience to stop in time"),
    Rule("nothing learnt", _nothing_learnt,
         "more epochs, another learning rate, a weaker penalty; or the inputs tell nothing of the targets", alone=True),
)  # fmt: skip

"""The objective as a function of some parameters alone, all others staying as they are: only what depends on them is run.

Weights and biases of layer l reach the loss through h_l. What lies below it is the same for all of them, and of h_l a hidden
neuron's own weights change its own column only. Every number comes from the core's forward pass at the parameters asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from glassprop.core.network import Network, Parameters, panel_columns, round_up
from glassprop.core.passes import forward
from glassprop.core.plan import FORWARD, OUTPUT
from glassprop.core.workspace import Workspace
from glassprop.glass.differences import Function, Objective, Penalty, entry_numbers, rounding_noise

LITTLE = 2e5  # floating-point operations of a loss, below which another call of the core takes longer than it saves
MOVED, CALLED = 100, 5e5  # operations that take as long as moving a number into the batch's memory, and as calling the core


class Tails:
    """The objective of one batch, in float64, neuron by neuron; with dropout always as a whole.

    Parameters
    ----------
    network : Network
    parameters : Parameters
        Left as they are.
    X, Y, weights, dropout
        As of `Objective`.

    Examples
    --------
    >>> import numpy as np
    >>> import glassprop as gp
    >>> from glassprop.glass.tails import Tails
    >>> network = gp.Network((1, 1))
    >>> parameters = gp.Parameters.from_arrays([[[3.0]]], [[0.5]])
    >>> entry = [np.array([number]) for number in (1, 0, -1)]  # of layer 1 the bias of neuron 0
    >>> for function, places, _ in Tails(network, parameters, [[1.0]], [1.0]).shares(*entry):
    ...     function.parts().tolist(), function.parameters.theta[places].tolist()
    ([3.125, 0.0], [0.5])
    """

    def __init__(
        self,
        network: Network,
        parameters: Parameters,
        X: Any,
        Y: Any,
        weights: Any = None,
        dropout: tuple[int, int] | None = None,
    ) -> None:
        self.network, self._parameters, self._given = network, parameters.astype(np.float64), (Y, weights, dropout)
        # a batch's last panel is computed as a whole
        self._rows = round_up(len(X), panel_columns(np.float64))
        self.whole = dropout is not None or 2 * self._rows * network.n_parameters < LITTLE
        self._below = [np.asarray(X, np.float64)]  # h of the layers, from the inputs on
        if not self.whole:
            self._below += forward(network, self._parameters, self._below[0]).h[:-1]
        self._objective: tuple[tuple[int, bool], Objective] | None = None  # the last one asked for
        self._neuron: _Neuron | None = None

    def shares(
        self, layers: np.ndarray, units: np.ndarray, sources: np.ndarray
    ) -> Iterator[tuple[Function, np.ndarray, np.ndarray]]:
        """The objective, but for a constant, as a function of some of the entries, then of others, until all have had a turn.

        Parameters
        ----------
        layers, units, sources : array of int, (entries,)
            Of each entry its layer, from 1, its neuron, and the neuron of the layer below that the weight comes from; -1 is the
            bias.

        Yields
        ------
        function : Function
            Good until the next one.
        places : ndarray, (share,)
            Of these entries in ``function.parameters.theta``.
        members : ndarray, (share,)
            Their numbers among the entries.
        """
        top = len(self.network.layers) - 1
        turns = layers * 0 if self.whole else layers * max(self.network.layers) + np.where(layers == top, 0, units)
        order = np.argsort(turns, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
            l, unit = int(layers[members[0]]), int(units[members[0]])
            if self.whole or l == top:
                first = 1 if self.whole else l
                function: Function = self._from(first, penalised=True)
                columns = units[members]
            else:
                first, function, columns = l, self._neuron_of(l, unit), np.zeros(len(members), np.int64)
            W, b = (getattr(entry_numbers(function.parameters), name) for name in ("W", "b"))
            each = zip(layers[members] - first, columns, sources[members], strict=True)
            places = np.array([b[k][j] if i < 0 else W[k][i, j] for k, j, i in each])
            yield function, places.astype(np.int64), members
            if isinstance(function, _Neuron):
                function.leave()

    def flops(self, l: int) -> float:
        """What one loss as a function of parameters of layer l costs, in floating-point operations, about."""
        sizes, hidden = self.network.layers, not self.whole and l < len(self.network.layers) - 1
        run = sizes[0 if self.whole else l if hidden else l - 1 :]  # the layers that are
        products, moved = sum((a + 1) * b for a, b in pairwise(run)), run[0]
        if hidden:
            products, moved = products + sizes[l - 1], moved + sizes[l - 1]
        return float(self._rows * (2 * products + MOVED * moved)) + CALLED

    def _neuron_of(self, l: int, unit: int) -> _Neuron:
        if self._neuron is None or self._neuron.layer != l:
            above = self._from(l + 1, penalised=False)
            self._neuron = _Neuron(self.network, self._parameters, l, self._below[l - 1], self._below[l], above)
        self._neuron.take(unit)
        return self._neuron

    def _from(self, l: int, penalised: bool) -> Objective:
        """The objective from layer l on, of its inputs in the batch."""
        network, (Y, weights, dropout) = self.network, self._given
        key = l, penalised and bool(network.l2 or network.l1)
        if self._objective is None or self._objective[0] != key:
            tail = Network(
                network.layers[l - 1 :], list(network.activations[l - 1 :]), network.output_activation, network.loss,
                l2=network.l2 * penalised, l1=network.l1 * penalised, dropout=list(network.dropout) if dropout else 0.0,
            )  # fmt: skip
            own = Parameters.from_arrays(self._parameters.W[l - 1 :], self._parameters.b[l - 1 :], np.float64)
            self._objective = key, Objective(tail, own, self._below[l - 1].copy(), Y, weights, dropout)
        return self._objective[1]


class _Neuron:
    """The objective as a function of the weights and the bias of one neuron of a hidden layer, one after another.

    The core computes the neuron's column of h_l by itself, and the objective from h_l on; and the penalty of these weights.
    """

    def __init__(
        self, network: Network, parameters: Parameters, l: int, below: np.ndarray, h: np.ndarray, above: Objective
    ) -> None:
        self.layer, self._unit, self._h, self._above = l, 0, h, above
        self._W, self._b = parameters.W[l - 1], parameters.b[l - 1]
        # this loss takes any φ
        alone = Network(
            (below.shape[1], 1),
            output_activation=network.activations[l - 1],
            loss="absolute_error",
            l2=network.l2,
            l1=network.l1,
        )
        self.parameters, rows = Parameters(alone.layers), len(below)
        self._work = Workspace(alone, self.parameters.theta, below, np.zeros((rows, 1)), batch_size=rows, output=True)
        self._penalty = Penalty(alone, self.parameters.theta)

    def take(self, unit: int) -> None:
        """From now on this neuron."""
        self._unit = unit
        self.parameters.W[0][:, 0], self.parameters.b[0][0] = self._W[:, unit], self._b[unit]

    def leave(self) -> None:
        """What the layers above are given is as it was."""
        self._above.X[:, self._unit] = self._h[:, self._unit]

    def parts(self) -> np.ndarray:
        """What every row adds to the objective, and the penalty of these weights."""
        self._work.run(0, 1, FORWARD | OUTPUT)
        self._above.X[:, self._unit] = self._work["output"][:, 0]
        parts = self._above.parts()
        parts[-1] = self._penalty()
        return parts

    def noise(self) -> np.ndarray:
        """By how much rounding may put off each part, here and above."""
        return np.maximum(rounding_noise(self), self._above.noise())

"""Many networks at once: independent runs side by side over the cores, each to the bit what it would be alone.

It shares out runs; what a run does is the affair of run.py and loop.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from glassprop.core.jit import available_threads
from glassprop.core.network import Network, Parameters
from glassprop.core.update import Optimizer
from glassprop.errors import DivergenceWarning, names_arguments
from glassprop.training.data import Once
from glassprop.training.loop import Callback, Company, Loop
from glassprop.training.progress import SharedLine
from glassprop.training.run import Run, prepare

Job = tuple[Run, int]  # not begun, and the epochs it is to have


@names_arguments
def train_many(
    network: Network | list[Network],
    X: Any,
    Y: Any,
    *,
    rows: Any = None,
    parameters: Parameters | list[Any] | None = None,
    optimizer: Optimizer | list[Any] | None = None,
    epochs: int | list[int] = 100,
    batch_size: int | list[int] = 32,
    seed: int | list[Any] | None = None,
    weights: Any = None,
    shuffle: bool | list[bool] = True,
    validation: Any = None,
    patience: int | list[Any] | None = None,
    tolerance: float | list[float] = 0.0,
    scoring: str | Callable | list[Any] | None = None,
    restore_best: bool | list[bool] = True,
    callbacks: Callback | tuple[Callback, ...] | list[Any] | None = (),
    precision: str | list[Any] | None = None,
    progress: bool = False,
    threads: int | None = None,
) -> list[Run]:
    """Train independent networks on one table, side by side over the cores: seeds, folds, settings to choose from.

    Each run is to the bit what `train` gives alone, with ``X[rows]`` and ``Y[rows]``, whatever the number of threads.

    Every argument but X, Y, `progress` and `threads` is one value for all networks, or a list with one for each. A list always
    means that, anything else never: several callbacks for one network are a tuple, numbers for one an array.

    Parameters
    ----------
    network, parameters, optimizer, epochs, batch_size, seed, shuffle, validation, patience, tolerance, scoring, restore_best, \
    precision
        As `train` takes them, or lists of such. Where `seed` is None, each network draws its own.
    X : array, (rows, inputs)
    Y : array, (rows, outputs) or (rows,)
        One table for all, checked and converted once. Only rows held out by a fraction are copied, once for each seed.
    rows : array of row numbers, or of truth values for all rows, or list of such, optional
        The rows of X to train on, in this order; numbers may repeat. None takes all. A fraction as `validation` is held out
        of them.
    weights : array, (rows,), or list of such, optional
        Row weights, for all rows of X whatever `rows` are.
    callbacks : function, tuple of functions, or list of such, optional
        Called from several threads, but never two at a time; the same holds of scorers. A learning rate that is a function
        may be called by several threads at once.
    progress : bool
        Show one progress bar over all networks on standard error.
    threads : int, optional
        How many networks are trained at a time, each by one thread; where there are fewer networks, they share the threads.
        None: as many as there are processors (or as ``NUMBA_NUM_THREADS`` says).

    Returns
    -------
    list of Run
        In the order of the lists.

    Raises
    ------
    ValueError
        Where there is no list, or lists differ in length.
    ValueError, TypeError
        As `train`, before any network is trained; a note on the error says for which.
    Exception
        What a callback, scorer or learning rate raises stops all networks.

    Warns
    -----
    DivergenceWarning
        In the end, for each network that diverged; the others go on.

    Notes
    -----
    Ctrl-C ends all networks after the present fifth of a second and keeps what was learned: ``run.interrupted`` is True for
    those that it cut short, or that had not begun.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 8, 1), activation="tanh", loss="binary_cross_entropy")
    >>> X, Y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> runs = gp.train_many(network, X, Y, seed=[0, 1, 2], optimizer=gp.Adam(0.05), epochs=300)
    >>> [run.predict([[0, 1]]).round().item() for run in runs]
    [1.0, 1.0, 1.0]
    >>> one, two = gp.train_many(network, X, Y, optimizer=[gp.Adam(0.05), gp.SGD(0.5)], rows=[[0, 1, 2], [1, 2, 3]], seed=0)
    >>> two.optimizer.learning_rate
    0.5
    """
    settings = one_each(
        network=network, rows=rows, parameters=parameters, optimizer=optimizer, epochs=epochs, batch_size=batch_size, seed=seed,
        weights=weights, shuffle=shuffle, validation=validation, patience=patience, tolerance=tolerance, scoring=scoring,
        restore_best=restore_best, callbacks=callbacks, precision=precision,
    )  # fmt: skip
    jobs, once = [], Once()
    for number, own in enumerate(settings):
        with _of_network(number):
            jobs.append(prepare(X=X, Y=Y, once=once, progress=progress, threads=threads, **own))
    _side_by_side(jobs, available_threads() if threads is None else threads, progress)
    runs = [run for run, _ in jobs]
    for number, run in enumerate(runs):
        if run.diverged:
            warnings.warn(f"network {number}: {run.stopped}", DivergenceWarning, stacklevel=3)
    return runs


def one_each(**arguments: Any) -> list[dict[str, Any]]:
    """The arguments of each network: a list holds one for each, anything else is for all."""
    lengths = {name: len(value) for name, value in arguments.items() if isinstance(value, list)}
    if not lengths:
        wanted = "train_many needs a list with a value for each network, such as seed=[0, 1, 2]"
        raise ValueError(f"{wanted}; got none: a range is made one by list(range(3))")
    networks = max(lengths.values())
    if min(lengths.values()) != networks:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(
            f"lists must be of one length, with a value for each network; got {told}; "
            "a sequence that is one value for all must be a tuple or an array"
        )
    if networks == 0:
        raise ValueError(f"{next(iter(lengths))} must hold a value for each network; it is empty")
    return [{name: value[k] if name in lengths else value for name, value in arguments.items()} for k in range(networks)]


@contextmanager
def _of_network(number: int) -> Iterator[None]:
    """Note on what is raised inside which network it was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised for network {number} of train_many, counted from 0")
        raise


def _side_by_side(jobs: list[Job], threads: int, progress: bool) -> None:
    """Bring all jobs to their end, or to where Ctrl-C or an exception in one of them stops all."""
    crew = min(threads, len(jobs))
    company, line = Company(threads // crew), SharedLine(progress, len(jobs))
    numbers: SimpleQueue = SimpleQueue()
    for number, (run, _) in enumerate(jobs):
        run.stopped, run.interrupted = "interrupted before the first step", True  # until it begins
        numbers.put(number)
    for _ in range(crew):
        numbers.put(None)
    pool = ThreadPoolExecutor(crew)
    try:
        # the caller's context, such as numpy.errstate, holds in the threads too
        workers = [pool.submit(copy_context().run, _work, jobs, numbers, company, line) for _ in range(crew)]
        while wait(workers, timeout=0.1).not_done:  # without a limit, Ctrl-C would not get through on every system
            pass
        for worker in workers:
            worker.result()
    except KeyboardInterrupt:
        pass  # the runs say so
    finally:
        company.stop.set()
        try:
            pool.shutdown()
        finally:
            line.close()


def _work(jobs: list[Job], numbers: SimpleQueue, company: Company, line: SharedLine) -> None:
    """What each thread does: take the next job, until there is none or all are to stop."""
    for number in iter(numbers.get, None):
        if company.stop.is_set():
            return
        run, epochs = jobs[number]
        try:
            with _of_network(number):
                with company.lock:
                    loop = Loop(run, epochs, company)
                loop.advance(line.part(number))
        except BaseException:
            company.stop.set()
            raise
        if run.interrupted:
            company.stop.set()
        else:
            line.set(number, 1)

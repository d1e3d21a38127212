"""The line that is shown while training runs. It knows numbers to show, not where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from glassprop.core.network import Network


class Line(Protocol):
    """What a run tells how far it is."""

    def show(self, epochs: float, total: int, **numbers: float) -> None: ...
    def close(self) -> None: ...


def loss_label(network: Network) -> str:
    """What a run's `loss` is called where scores without the penalties are shown beside it."""
    return "loss+penalty" if network.l2 or network.l1 else "loss"


class ProgressLine:
    """A bar with epoch, loss, validation loss and score on standard error; nothing where `shown` is False."""

    def __init__(self, shown: bool, done: float, total: int, unit: str = "epoch") -> None:
        self._bar: Any = None
        self._unit = unit
        if not shown:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        # narrow enough for 80 columns with a score
        columns = (BarColumn(10), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(f"{unit} {done}/{total}", total=total, completed=done)
        self._bar.start()

    def show(self, epochs: float, total: int, **numbers: float) -> None:
        """Show `epochs` done, and those of the numbers that there are."""
        if self._bar is not None:
            text = "".join(f"  {name} {value:.3g}" for name, value in numbers.items() if value == value)
            self._bar.update(self._task, completed=epochs, description=f"{self._unit} {int(epochs)}/{total}{text}")

    def close(self) -> None:
        """Leave the last line standing."""
        if self._bar is not None:
            self._bar.stop()


class SharedLine:
    """One bar over several runs: how many networks' worth of epochs are done."""

    def __init__(self, shown: bool, runs: int) -> None:
        self._shares = [0.0] * runs
        self._line = ProgressLine(shown, 0, runs, "network")

    def set(self, run: int, share: float) -> None:
        """Show that `share` of a run is done; 1 for all of it."""
        self._shares[run] = share
        self._line.show(sum(self._shares), len(self._shares))

    def part(self, run: int) -> Line:
        """What this run is to take for a line of its own."""
        return _Part(self, run)

    def close(self) -> None:
        """Leave the last line standing."""
        self._line.close()


class _Part:
    def __init__(self, line: SharedLine, run: int) -> None:
        self._line, self._run = line, run

    def show(self, epochs: float, total: int, **numbers: float) -> None:
        self._line.set(self._run, epochs / total)

    def close(self) -> None:
        """The line belongs to all."""

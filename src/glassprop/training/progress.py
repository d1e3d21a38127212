"""The line that is shown while training runs. It knows numbers to show, not where they come from."""

from __future__ import annotations

from typing import Any


class ProgressLine:
    """A bar with epoch, loss, validation loss and score on standard error; nothing where `shown` is False."""

    def __init__(self, shown: bool, done: int, total: int) -> None:
        self._bar: Any = None
        if not shown:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        # narrow enough for 80 columns with a score
        columns = (BarColumn(10), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(f"epoch {done}/{total}", total=total, completed=done)
        self._bar.start()

    def show(self, epochs: float, total: int, **numbers: float) -> None:
        """Show `epochs` done, and those of the numbers that there are."""
        if self._bar is not None:
            text = "".join(f"  {name} {value:.3g}" for name, value in numbers.items() if value == value)
            self._bar.update(self._task, completed=epochs, description=f"epoch {int(epochs)}/{total}{text}")

    def close(self) -> None:
        """Leave the last line standing."""
        if self._bar is not None:
            self._bar.stop()

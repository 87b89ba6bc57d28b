"""The watches that plugins keep on the load of a deployment, kept from harming its calls."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import DeploymentId, Failures, HookAnswer, LoadWatch

__all__ = ["LoadWatches"]


class LoadWatches:
    """The `LoadWatch` of several plugins: one that fails is closed, and named.

    Args:
        given: What `watch_load` has returned.
        failures: Where failures are kept.
    """

    def __init__(
        self, deployment: DeploymentId, given: Sequence[HookAnswer], failures: Failures
    ) -> None:
        self._subject = f"deployment {deployment}"
        self._watches: list[tuple[str, LoadWatch]] = [(plugin, watch) for plugin, watch in given]
        self._failures = failures

    def changed(self) -> None:
        """Tell every watch that calls wait, run or end."""
        for plugin, watch in self._watches:
            try:
                watch.changed()
            except BaseException as error:  # foreign code, in the midst of a call
                self._failures.note(plugin, "LoadWatch.changed", error, self._subject)
                self._watches = [each for each in self._watches if each[1] is not watch]
                self._close(plugin, watch)

    def close(self) -> None:
        """Close every watch."""
        watches, self._watches = self._watches, []
        for plugin, watch in watches:
            self._close(plugin, watch)

    def _close(self, plugin: str, watch: LoadWatch) -> None:
        try:
            watch.close()
        except BaseException as error:  # foreign code
            self._failures.note(plugin, "LoadWatch.close", error, self._subject)

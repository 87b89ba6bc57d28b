"""The load watches of plugins for one deployment. Their failures do not harm its calls."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import DeploymentId, Failures, HookResult, LoadWatch

__all__ = ["LoadWatches"]


class LoadWatches:
    """A `LoadWatch` of several plugins. A watch that fails is closed, and its failure recorded.

    Args:
        answers: The plugins' answers to `watch_load`.
        failures: Records failures.
    """

    def __init__(
        self, deployment: DeploymentId, answers: Sequence[HookResult], failures: Failures
    ) -> None:
        self._subject = f"deployment {deployment}"
        self._watches: list[tuple[str, LoadWatch]] = [(plugin, watch) for plugin, watch in answers]
        self._failures = failures

    def changed(self) -> None:
        """Notify every watch that the number of queued or running calls has changed."""
        for plugin, watch in self._watches:
            try:
                watch.changed()
            except BaseException as error:  # foreign code must not fail the current call
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

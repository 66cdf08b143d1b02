"""The stage: an avatar's newest frames for viewers, such as a browser source in OBS.

If several tabs move one avatar, the one that began last is shown. A slow viewer always gets the
newest frame and none in between.
"""

import asyncio


class Stage:
    """One avatar's stage. All methods run in the event loop."""

    def __init__(self):
        self._owner, self._frame, self._number = None, None, 0
        self._changed = asyncio.Condition()
        self.viewers = 0

    def claim(self, owner: object, live: bool) -> None:
        """Shows `owner` from now on, except that sliders alone do not replace another's camera.

        Args:
          owner: the session.
          live: whether it moves the avatar by camera.
        """
        if live or self._owner is None or not self._owner[1] or self._owner[0] is owner:
            self._owner = (owner, live)

    def release(self, owner: object) -> None:
        """Ends the showing of `owner`: present viewers keep its last frame, later ones get none."""
        if self._owner is not None and self._owner[0] is owner:
            self._owner = self._frame = None

    @property
    def number(self) -> int:
        """The number to call `next` with first: a present frame is then given at once."""
        return self._number - (self._frame is not None)

    async def show(self, owner: object, jpeg: bytes) -> None:
        """Passes on a new frame of `owner` if it is the one that is shown."""
        if self._owner is None or self._owner[0] is not owner:
            return
        async with self._changed:
            self._frame, self._number = jpeg, self._number + 1
            self._changed.notify_all()

    async def next(self, after: int) -> tuple[int, bytes]:
        """Waits for a frame newer than number `after`; returns the newest one's number and JPEG."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > after)
            return self._number, self._frame

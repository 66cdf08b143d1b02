"""The stage: an avatar's newest frames for everybody who looks at it, such as OBS.

Of several tabs that move one avatar the one that began last is shown. A viewer that is slow gets
the newest frame and none in between.
"""

import asyncio


class Stage:
    """One avatar's stage. All methods run in the event loop."""

    def __init__(self):
        self._owner, self._frame, self._number = None, None, 0
        self._changed = asyncio.Condition()
        self.viewers = 0

    def claim(self, owner: object, live: bool) -> None:
        """`owner` is shown from now on; one that only moves sliders does not take over a camera."""
        if live or self._owner is None or not self._owner[1] or self._owner[0] is owner:
            self._owner = (owner, live)

    def release(self, owner: object) -> None:
        """`owner` leaves; whoever looks now keeps its last frame, who comes later sees none."""
        if self._owner is not None and self._owner[0] is owner:
            self._owner = self._frame = None

    @property
    def number(self) -> int:
        """Of the last frame where somebody moves the avatar no more; else of the one before."""
        return self._number - (self._frame is not None)

    async def show(self, owner: object, jpeg: bytes) -> None:
        """A new frame of `owner`, seen where it is the one that is shown."""
        if self._owner is None or self._owner[0] is not owner:
            return
        async with self._changed:
            self._frame, self._number = jpeg, self._number + 1
            self._changed.notify_all()

    async def next(self, after: int) -> tuple[int, bytes]:
        """The number and the JPEG of the newest frame, once it is newer than number `after`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > after)
            return self._number, self._frame

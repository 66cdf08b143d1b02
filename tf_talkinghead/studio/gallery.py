"""The people of the studio: their cards, neutral frames and clients.

Names come from the models folder; everything else is asked of the server, through the client.
"""

import pathlib
import threading

from serving.client import AvatarClient, AvatarError
from tf_talkinghead.driving.retargeting import AvatarFace
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store

_TIMEOUT = 10.0  # seconds of a call
_LOADING = 120.0  # seconds that a new version may take until the server has it


class Gallery:
    """Avatars in `models`, served at `address`."""

    def __init__(self, models, address: str):
        self.models, self.address = pathlib.Path(models), address
        self._clients: dict[str, AvatarClient] = {}
        self._known: dict[str, tuple[int, dict, bytes]] = {}  # version, card, neutral JPEG
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Everybody with a published version, sorted."""
        return store.people(self.models)

    def checked(self, person: str) -> str:
        """Returns `person` if there is such an avatar; InputError if not."""
        store.check_name(person)
        if not self.version(person):
            raise InputError(f"there is no avatar called {person}")
        return person

    def version(self, person: str) -> int | None:
        """The number of the newest version on disk; None without one."""
        return max(store.versions(self.models, person), default=None)

    def client(self, person: str) -> AvatarClient:
        """The one client of an avatar, shared by threads."""
        self.checked(person)
        with self._lock:
            if person not in self._clients:
                self._clients[person] = AvatarClient(self.address, person, timeout=_TIMEOUT)
            return self._clients[person]

    def card(self, person: str) -> dict:
        """The avatar's card."""
        return self._look(person)[1]

    def face(self, person: str) -> AvatarFace:
        """The avatar's own face; InputError where the card has none."""
        card = self.card(person)
        if card.get("reference_landmarks") is None:
            raise InputError(
                f"the card of {person} has no reference landmarks: make the avatar again"
            )
        return AvatarFace.of(card)

    def neutral(self, person: str) -> bytes:
        """The neutral frame as JPEG."""
        return self._look(person)[2]

    def summary(self, person: str) -> dict:
        """What the gallery shows of one avatar without asking the server."""
        films = store.work_dir(self.models, person) / "films"
        return {
            "name": person,
            "version": self.version(person),
            "films": len(list(films.glob("*.mp4"))) if films.is_dir() else 0,
        }

    def wait_for(self, person: str, check) -> None:
        """Waits until the server answers for `person`.

        Args:
          person: the avatar.
          check: called between tries; an exception it raises ends the waiting.

        Raises:
          InputError: the server does not load the avatar within two minutes.
        """
        client = self.client(person)
        waited = threading.Event()
        for _ in range(int(_LOADING / 0.25)):
            check()
            try:
                if client.card().get("date"):
                    return
            except AvatarError as error:
                last = error
            waited.wait(0.25)
        raise InputError(f"the server at {self.address} does not load {person}: {last}")

    def forget(self, person: str) -> None:
        """Closes the client of `person` and forgets the card."""
        with self._lock:
            self._known.pop(person, None)
            client = self._clients.pop(person, None)
        if client is not None:
            client.close()

    def close(self) -> None:
        """Closes all clients."""
        for person in list(self._clients):
            self.forget(person)

    def _look(self, person):
        version = self.version(self.checked(person))
        known = self._known.get(person)
        if known is None or known[0] != version:
            client = self.client(person)
            card = client.card()
            jpeg = b""
            if card.get("reference_landmarks") is not None:
                jpeg = client.jpegs(AvatarFace.of(card).reference[None])[0]
            known = self._known[person] = (version, card, jpeg)
        return known

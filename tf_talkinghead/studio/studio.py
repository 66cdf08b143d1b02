"""The studio itself: carries out the requests of the page.

    with Studio(StudioOptions(models="avatars"), address) as studio: ...

It holds the gallery, the drafts of new people, the jobs and the open tabs; files of visitors lie in
a temporary folder that is removed when it closes.
"""

import itertools
import pathlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field

from tf_talkinghead import provenance
from tf_talkinghead.disclosure.verification import known_avatars, verify
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store
from tf_talkinghead.studio import drafts, films, uploads
from tf_talkinghead.studio.drafts import Draft, Drafts
from tf_talkinghead.studio.gallery import Gallery
from tf_talkinghead.studio.jobs import Job, Jobs
from tf_talkinghead.studio.maker import Maker
from tf_talkinghead.studio.security import Access
from tf_talkinghead.studio.stage import Stage

CONSENT = "The person shown agreed that pictures of them are generated with this avatar."
_FIRST_GUESS = 15.0  # seconds to make an avatar, until one was timed


@dataclass(frozen=True)
class StudioOptions:
    """Settings of a studio."""

    models: str = "avatars"  # folder of all models
    weights: str = "guided"  # of new avatars
    access: Access = field(default_factory=Access)  # who may use it


class Studio:
    """A studio over the avatars of a folder, served at an address."""

    consent_text = CONSENT

    def __init__(self, options: StudioOptions, address: str):
        self.access, self._weights = options.access, options.weights
        self._models = pathlib.Path(options.models)
        self._models.mkdir(parents=True, exist_ok=True)
        self.gallery, self.jobs, self._maker = Gallery(options.models, address), Jobs(), Maker()
        self.sessions, self._stages = set(), {}
        self._temporary = tempfile.TemporaryDirectory(prefix="studio-")
        root = pathlib.Path(self._temporary.name)
        self.uploads, self.recordings = root / "uploads", root / "recordings"
        self._names = itertools.count(1)
        self._took = []  # seconds of the avatars made so far
        for folder in (self.uploads, self.recordings, root / "drafts"):
            folder.mkdir()
        self.drafts = Drafts(root / "drafts")
        self.makes = True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self) -> None:
        """Ends jobs, clients and the temporary folder."""
        self.jobs.close()
        self._maker.close()
        self.gallery.close()
        self._temporary.cleanup()

    def next_name(self) -> str:
        """A file name, without suffix, that no other file of this studio has."""
        return f"{next(self._names):06d}"

    def stage(self, person: str) -> Stage:
        """The stage of an avatar."""
        return self._stages.setdefault(person, Stage())

    def live(self) -> bool:
        """Whether somebody moves an avatar by camera."""
        return any(session.camera for session in self.sessions)

    def begin_draft(self) -> Draft:
        """Begins a draft, and starts the process that makes avatars."""
        self._maker.warm()
        return self.drafts.begin()

    def add_file(self, draft: Draft, stem: str, path: pathlib.Path, name: str) -> dict:
        """Checks a stored photo or clip and adds it to a draft; see `drafts.add`."""
        return drafts.add(draft, stem, path, name)

    def make(self, draft_id: str, person: str, agreed: bool, by: str | None) -> Job:
        """Begins an avatar of a draft's good files.

        Raises:
          InputError: no consent, a name that is taken or impossible, or no good photo.
        """
        if not agreed:
            raise InputError(
                "nothing starts without consent: tick the box if the person shown agreed"
            )
        store.check_name(person)
        draft = self.drafts.get(draft_id)
        paths = draft.good()
        if not paths:
            raise InputError("add a photo that shows one face first")
        if self.gallery.version(person):
            raise InputError(f"there is an avatar called {person} already: choose another name")
        consent = provenance.stated_consent(CONSENT, by)
        expected = statistics.median(self._took) if self._took else _FIRST_GUESS

        def work(job):
            began = time.monotonic()
            job.stage("making the avatar")
            made = self._maker.make(self._weights, person, paths, self._models, consent)
            self.gallery.forget(person)
            job.stage("loading it into the server")
            self.gallery.wait_for(person, job.check)
            self._took.append(time.monotonic() - began)
            self.drafts.end(draft_id)
            return made

        names = draft.names()
        return self.jobs.submit("avatar", person, f"Avatar of {person}", work, expected, names)

    def delete(self, person: str) -> list[str]:
        """Removes a person everywhere, films included; returns what was removed, in words."""
        self.gallery.checked(person)
        self.jobs.cancel_of(person)
        removed = self._maker.delete(self._models, person)
        self.gallery.forget(person)
        return removed

    def drive(self, person: str, path: pathlib.Path, name: str, wanted: films.Wanted) -> Job:
        """Begins a film of an avatar, driven by a stored file, which is removed afterwards."""

        def work(job):
            try:
                return films.drive(job, self.gallery, person, path, wanted, self.live)
            finally:
                path.unlink(missing_ok=True)

        try:
            uploads.check_content(path, name)
            return self.jobs.submit("film", person, name, work, names={str(path): name})
        except InputError:
            path.unlink(missing_ok=True)
            raise

    def films(self) -> list[dict]:
        """All films, newest first."""
        found = [
            film for person in self.gallery.names() for film in films.listed(self._models, person)
        ]
        return sorted(found, key=lambda film: -film["made"])

    def check(self, path: pathlib.Path, name: str) -> dict:
        """Checks a stored file for marks (`disclosure.verification`), and removes it."""
        try:
            uploads.check_content(path, name)
            finding = verify(path, avatars=known_avatars(self._models))
            shown = finding.to_dict()
            shown["file"] = name
            shown["sentence"] = shown["sentence"].replace(str(path), name)
            return shown
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error
        finally:
            path.unlink(missing_ok=True)

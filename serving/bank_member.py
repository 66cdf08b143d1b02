"""Client side of the shared bank: the row or vector that a member has in the server's version.

In a bank of guided avatars a member is a row, which the card (`describe`) holds. A name has the
same row in every version, and a row is never given twice, so any version renders the right person
or answers `ok` false. In a bank of direct avatars a member is a vector, read from a file.

A vector sent to a version with a different generator renders a wrong face with `ok` true, and
versions may be published, removed and rolled back during a client's lifetime. The client therefore
asks the server (`describe`) for its version and generator, reads the vector from that version, and
pins the version in its requests. With a label, which may be moved at any time, it compares the
version that answered with the vector's.
"""

import dataclasses
import json
import os
import time

import grpc
import numpy as np

from serving.errors import AvatarError, backoff
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.bank_files import (
    LEGACY_FILES,
    PUBLISH_COMMAND,
    VECTORS_FILE,
    read_member,
)

# Status codes of a call after the version has changed: the version is gone, or its vectors have
# another length.
_MOVED = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


class _MissingVersionError(InputError):
    """The bank's folder lacks the version that the server renders with."""


@dataclasses.dataclass(frozen=True)
class _RowMember:
    """A member of a bank of guided avatars.

    Attributes:
      version: the number of the version whose card was read.
      row: the member's row.
      card: the member's card.
    """

    version: int
    row: int
    card: dict


class BankMember:
    """One member of the bank behind an AvatarClient.

    Args:
      client: the AvatarClient, whose `request`, `answer` and `arrays` are used.
      path: `<models>/bank`, or `vectors.npz` of one of its versions, which may be a copy; True for
        a bank of guided avatars, which needs no file.
      person: the member's name.

    Raises:
      InputError: there is no such folder or file, it is of version 0.1, or the file does not
        contain the person. Versions in a folder are read later, once the server's version is known.
    """

    def __init__(self, client, path, person):
        self._client, self._person = client, person
        self._path = None if path is True else os.fspath(path)
        self._member = None  # of the version that rendered the last request
        self._copy = None
        if self._path is None:
            return
        if not os.path.isdir(self._path):
            self._copy = read_member(self._path, person)
        elif os.path.exists(os.path.join(self._path, LEGACY_FILES[0])):
            raise InputError(
                f"{self._path}: holds {LEGACY_FILES[0]}, a bank of version 0.1, whose vectors do "
                "not say which generator they belong to; publish it again, "
                f"{PUBLISH_COMMAND}, and name "
                f"{os.path.join(self._path, 'bank')}"
            )

    @property
    def copied_version(self):
        """The version of a copy of `vectors.npz`; None where a folder was named."""
        return self._copy.version if self._copy else None

    def card(self):
        """The member's card in the version that renders now."""
        return dict(self._find(time.monotonic() + self._client.timeout).card)

    def predict(self, signature, inputs, outputs):
        """Calls a signature that takes `person` in addition to `inputs`.

        If the pinned version is gone or the label has moved, the vector is read from the current
        version and the call is repeated. Output that another version rendered from the vector is
        never returned. If a version has nobody in the member's row, the row is looked up in the
        card again.

        Returns:
          {output alias: array}.
        """
        deadline = time.monotonic() + self._client.timeout
        member = self._member or self._find(deadline)
        while True:
            request = self._request(member, signature, inputs, outputs)
            refusal, arrays, by_row = None, None, isinstance(member, _RowMember)
            try:
                response = self._client.answer(request, deadline)
                if by_row or response.model_spec.version.value == member.version:
                    arrays = self._client.arrays(response, outputs)
                    if not by_row or arrays["ok"].all():
                        return arrays
            except AvatarError as error:
                if error.code not in _MOVED:
                    raise
                refusal = error
            found = self._find(deadline)
            if refusal is not None and found.version == member.version:
                raise refusal
            if arrays is not None and getattr(found, "row", None) == member.row:
                return arrays  # the row is right, so `ok` is false because of the landmarks
            member = found

    def _request(self, member, signature, inputs, outputs):
        """The PredictRequest that renders `member`."""
        rows = len(next(iter(inputs.values())))
        if isinstance(member, _RowMember):
            of_member = {"member": np.full([rows], member.row, np.int32)}
            return self._client.request(signature, {**inputs, **of_member}, outputs)
        of_member = {"person": np.repeat(member.vector[None], rows, axis=0)}
        request = self._client.request(signature, {**inputs, **of_member}, outputs)
        if not request.model_spec.version_label:
            request.model_spec.version.value = member.version
        return request

    def _find(self, deadline):
        """The member in the server's current version.

        A server renders with a removed version until it has loaded the next one. If the folder does
        not contain the server's version, this waits for the change until the deadline.
        """
        missing, attempt = None, 0
        while True:
            try:
                self._member = self._read(*self._rendering(deadline))
                return self._member
            except _MissingVersionError as error:
                missing, pause = error, backoff(attempt)
                if time.monotonic() + pause > deadline:
                    raise
            except AvatarError as error:
                if missing is None or error.code != grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
                raise missing from error
            time.sleep(pause)
            attempt += 1

    def _rendering(self, deadline):
        """The server's current (version, card)."""
        query = {"query": np.zeros([1], np.int32)}
        try:
            response = self._client.answer(
                self._client.request("describe", query, ["card"]), deadline
            )
        except AvatarError as error:
            if error.code != grpc.StatusCode.NOT_FOUND or self._copy is None:
                raise
            raise AvatarError(
                f"{error}; {self._path} belongs to version {self._copy.version} of the bank: fetch "
                f"{VECTORS_FILE} of the version that is served now",
                error.code,
            ) from error
        card = json.loads(self._client.arrays(response, ["card"])["card"][0])
        return response.model_spec.version.value, card

    def _read(self, version, card):
        if "members" in card:
            return self._row_member(version, card)
        generator, path = card.get("trained_weights_sha256"), self._path
        if path is None:
            raise InputError(
                f"version {version} of the bank is of direct avatars, whose vectors a client reads "
                "from a file: name MODELS/bank"
            )
        if not self._copy:
            path = os.path.join(self._path, str(version), VECTORS_FILE)
            if not os.path.exists(path):
                raise _MissingVersionError(self._missing(version))
        member = self._copy or read_member(path, self._person)
        if (member.version, member.generator) != (version, generator):
            if self._copy:
                remedy = f"fetch {VECTORS_FILE} of that version"
            else:
                remedy = "name the folder that the server's bank comes from"
            raise InputError(
                f"{path}: vectors for version {member.version} with generator "
                f"{member.generator[:12]}, but the server renders with version {version}, "
                f"generator {str(generator)[:12]}; {remedy}"
            )
        return member

    def _row_member(self, version, card):
        members = card.pop("members")
        if self._person not in members:
            raise InputError(
                f"nobody called {self._person!r} in version {version} of the bank; it holds "
                f"{', '.join(sorted(members)) or 'nobody'}"
            )
        own = members[self._person]
        return _RowMember(version, own["row"], {**card, **own})

    def _missing(self, version):
        there = sorted(
            int(name)
            for name in os.listdir(self._path)
            if name.isdecimal() and os.path.exists(os.path.join(self._path, name, VECTORS_FILE))
        )
        if there:
            remedy = "name the folder that the server's bank comes from"
        else:
            remedy = (
                f"name MODELS/bank; a bank of version 0.1 is published again: {PUBLISH_COMMAND}"
            )
        return (
            f"{self._path}: no vectors of version {version}, which the server renders with "
            f"(there: {', '.join(map(str, there)) or 'none'}); {remedy}"
        )

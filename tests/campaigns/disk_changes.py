"""Watches changes below a folder, by any process, with Linux's inotify.

    with DiskChanges(folder) as changes:
        ...
        for change in changes.read(0.1):
            print(change.seconds, change.kind, change.path)

Files that appear in a new folder before it is watched are found by listing it, so each is reported
at least once. Equal changes in a row are reported as one.
"""

import ctypes
import os
import pathlib
import select
import struct
import time
from typing import NamedTuple

_MODIFY, _FROM, _TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_KINDS = {_MODIFY: "write", _FROM: "away", _TO: "rename", _CREATE: "create", _DELETE: "delete"}
_FOLDER, _ONLY_FOLDERS = 0x40000000, 0x01000000
_HEADER = struct.Struct("iIII")


class Change(NamedTuple):
    """One change.

    Attributes:
      seconds: time.monotonic() when it was read.
      kind: "write", "create", "rename" (renamed to this path), "away" (renamed from it), "delete".
      path: relative to the watched folder.
    """

    seconds: float
    kind: str
    path: str


class DiskChanges:
    """The changes below an existing `folder` from now on."""

    def __init__(self, folder):
        self.root = pathlib.Path(folder)
        self._library = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders, self._found = {}, []
        self._watch(self.root, found=False)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.close(self._inotify)

    def read(self, seconds=0.0):
        """The changes since the last call, waiting up to `seconds` for the first."""
        if not select.select([self._inotify], [], [], seconds)[0]:
            return []
        data, at, now, changes = os.read(self._inotify, 1 << 20), 0, time.monotonic(), []
        while at < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0")
            at += _HEADER.size + length
            if number not in self._folders:
                continue
            path = self._folders[number] / os.fsdecode(name)
            for bit, kind in _KINDS.items():
                if mask & bit:
                    changes.append(Change(now, kind, str(path.relative_to(self.root))))
            if mask & _FOLDER and mask & (_CREATE | _TO):
                self._watch(path, found=True)
                changes += [Change(now, "create", found) for found in self._found]
                self._found.clear()
        return changes

    def _watch(self, folder, found):
        mask = sum(_KINDS) | _ONLY_FOLDERS
        number = self._library.inotify_add_watch(self._inotify, os.fsencode(folder), mask)
        if number < 0:  # it is gone already
            return
        self._folders[number] = folder
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return
        for entry in entries:
            if found:
                self._found.append(str(pathlib.Path(entry.path).relative_to(self.root)))
            if entry.is_dir(follow_symlinks=False):
                self._watch(pathlib.Path(entry.path), found)

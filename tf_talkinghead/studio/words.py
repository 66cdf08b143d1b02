"""Texts of errors for the page: one line, without flags and without paths of this machine."""

import re

_FLAG_ADVICE = re.compile(r"[,;] (or )?say --\w+.*$|; remove the wrong ones, or say --\w+.*$")
_FLAG = re.compile(r"--(\w+)=?")


def plain(error: Exception, names: dict | None = None) -> str:
    """The text of an error in words for the page.

    Args:
      error: a TalkingHeadError, or any other.
      names: path on this machine -> what the visitor calls the file.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    for path, name in (names or {}).items():
        text = text.replace(str(path), name)
    text = _FLAG_ADVICE.sub("", text)
    return _FLAG.sub(lambda found: found[1].replace("_", " ") + " ", text)[:400]

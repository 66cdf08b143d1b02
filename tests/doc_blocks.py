"""The commands that README.md, the other pages of the root, serving/README.md and docs/*.md name.

A block is a fenced or indented block of code, or a paragraph or table with commands between
backticks. A mark above each block of commands says what checks it:

    <!-- docs: run -->                       tests/test_docs_run.py runs every command of it
    <!-- docs: run; evaluate --shots=1 -->   the same, with flags added (several scripts: ;)
    <!-- docs: run by tests/test_x.py -->    that test, CI file or other page runs it
    <!-- docs: not run: the reason -->       nothing runs it

`python -m tests.doc_blocks` prints the list of what is run and what is not.
"""

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",  # first: the order in which they are run
    *sorted(path for path in ROOT.glob("*.md") if path.name != "README.md"),
    ROOT / "serving" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
]
_MARK = re.compile(r"<!-- docs: (run by|not run|run)[:;]? ?(.*?) ?-->")
_FENCE = re.compile(r"```(\w*)$")
# What a command between backticks begins with. A script's name alone is not a command.
_INLINE = re.compile(
    r"`((?:[A-Z_]+=\S+ )?"
    r"(?:python -m [\w.]+\s|bash scripts/|pip install\s|mkdocs\s|tensorboard\s)[^`]*)`"
)
_PYTHON = re.compile(r"\s*(from \S+ import|import \w)")


@dataclasses.dataclass(frozen=True)
class Block:
    """Commands of one place on a page, and what its mark says."""

    page: pathlib.Path
    line: int  # of its first line, from 1
    language: str  # "shell" or "python"
    text: str  # without indentation and fences
    how: str  # "run", "run by", "not run", or "" without a mark
    detail: str  # the rest of the mark: flags to add, a file, or a reason

    @property
    def place(self):
        """The block's place as page:line, the page relative to the root."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self):
        """Shell commands, one string each: continued lines joined, comments removed."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]
        return [line for line in lines if line]

    @property
    def extra_flags(self):
        """{script: flags that are added when it is run}."""
        parts = [part.strip() for part in self.detail.split(";") if part.strip()]
        return {part.split()[0]: part.split(" ", 1)[1] for part in parts}

    def commands_to_run(self):
        """`commands`, each with the flags that the mark adds to its script."""
        commands = []
        for command in self.commands:
            script = re.search(r"-m scripts\.(\w+)|scripts/(\w+)\.sh", command)
            extra = self.extra_flags.get(script[1] or script[2]) if script else None
            commands.append(f"{command} {extra}" if extra else command)
        return commands


def blocks_of(page):
    """The Blocks of a page, in order."""
    return list(_blocks(page, page.read_text().splitlines()))


def _blocks(page, lines):
    mark, at = ("", ""), 0
    while at < len(lines):
        line = lines[at]
        if found := _MARK.match(line):
            mark, at = (found[1], found[2]), at + 1
            continue
        if not line.strip():
            at += 1
            continue
        start = at
        if fence := _FENCE.match(line):
            at = next(i for i in range(at + 1, len(lines)) if lines[i].startswith("```")) + 1
            language, body = fence[1], lines[start + 1 : at - 1]
            start += 1
        elif line.startswith("    "):
            at = _end(lines, at, lambda text: text.startswith("    ") or not text.strip())
            language, body = "indented", [text[4:] for text in lines[start:at]]
        else:
            at = _end(lines, at, lambda text: text.strip() and not _MARK.match(text))
            language, body = "inline", lines[start:at]
        block = _block(page, start + 1, language, "\n".join(body).rstrip(), mark)
        if block:
            yield block
        mark = ("", "")


def _end(lines, at, belongs):
    while at < len(lines) and belongs(lines[at]):
        at += 1
    return at


def _block(page, line, language, text, mark):
    """A Block, or None where the text holds no commands."""
    if language == "inline":
        commands = [re.sub(r"\n\s*", " ", found) for found in _INLINE.findall(text)]
        if not commands or page.name == "CHANGELOG.md":  # it names commands of the past
            return None
        return Block(page, line, "shell", "\n".join(commands), *mark)
    if language == "python" or (language == "indented" and _PYTHON.match(text)):
        return Block(page, line, "python", text, *mark)
    if language in ("indented", "bash", "sh", "console"):
        return Block(page, line, "shell", text, *mark)
    return None  # a figure, a listing of output


def all_blocks():
    """The Blocks of all PAGES."""
    return [block for page in PAGES for block in blocks_of(page)]


def listing():
    """Text: every block, and whether it is run."""
    rows = []
    for how in ("run", "run by", "not run", ""):
        chosen = [block for block in all_blocks() if block.how == how]
        rows.append(f"{how or 'no mark'}: {len(chosen)}")
        for block in chosen:
            first = block.commands[0] if block.language == "shell" else "(Python)"
            rows.append(f"  {block.place:32} {first[:60]:60} {block.detail}".rstrip())
    return "\n".join(rows)


def calls(commands):
    """The programs and flags in shell commands, as a set of (program, frozenset of flag names).

    `python -m scripts.drive --person=ann` is ("drive", {"person"}).
    """
    found = set()
    for command in commands:
        words = shlex.split(command.split("&&")[0])
        words = [word for word in words if not re.match("[A-Z_]+=", word)]
        program = words[2] if words[:2] == ["python", "-m"] else words[words[0] == "bash"]
        flags = {word.split("=")[0].strip("-") for word in words if word.startswith("--")}
        found.add((re.sub(r"scripts[./]", "", program), frozenset(flags)))
    return found


if __name__ == "__main__":
    print(listing())

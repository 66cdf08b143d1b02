"""Every command in the documentation is run by a test, or says why not."""

import textwrap

import pytest

from tests import doc_blocks
from tests.doc_blocks import PAGES, ROOT, all_blocks, blocks_of, calls


@pytest.fixture
def page(tmp_path):
    """A function that writes a page of this text, and returns its blocks."""

    def write(text):
        path = tmp_path / "page.md"
        path.write_text(textwrap.dedent(text))
        return blocks_of(path)

    return write


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_commands_is_run_or_says_why_not(path):
    for block in blocks_of(path):
        assert block.how, f"{block.place}: no mark; tests/doc_blocks.py says which there are"
        if block.how == "not run":
            assert len(block.detail.split()) >= 3, f"{block.place}: no reason"


def test_what_others_are_said_to_run_they_name():
    """A page that is referred to runs the same script with the same flags, or the same Python; a
    test or CI file has the program's name in it.
    """
    for block in [block for block in all_blocks() if block.how == "run by"]:
        path = ROOT / block.detail
        assert path.is_file(), f"{block.place}: no file {block.detail}"
        if path.suffix != ".md":
            for program, _ in calls(block.commands):
                assert program in path.read_text(), f"{block.place}: {block.detail}, {program}"
            continue
        there = [other for other in blocks_of(path) if other.how == "run"]
        if block.language == "python":
            assert block.text in {other.text for other in there}, block.place
        else:
            called = set().union(
                *(calls(other.commands_to_run()) for other in there if other.language == "shell")
            )
            for program, flags in calls(block.commands):
                assert any(program == name and flags <= more for name, more in called), (
                    f"{block.place}: {block.detail} runs no {program} with {sorted(flags)}"
                )


def test_the_list():
    print(doc_blocks.listing())  # shown by -s
    assert sum(block.how == "run" for block in all_blocks()) >= 12


def test_kinds_of_blocks(page):
    fenced, listed, python, prose, table = page(
        """\
        # Title with `scripts.drive`

        ```bash
        one --a \\
          --b   # a comment
        two '#3'
        ```

            python -m scripts.serve --models=m    # serves

            # only a comment

        ```python
        import os
        ```

        ```
        a figure: python -m scripts.drive --person=ann
        ```

        The script `python -m scripts.evaluate` has no arguments here; `python -m scripts.drive
        --person=ann` has.

        | a | b |
        |---|---|
        | x | `bash scripts/test.sh -m slow`, then `pip install .[docs]` |
        """
    )
    assert fenced.commands == ["one --a --b", "two '#3'"]
    assert listed.commands == ["python -m scripts.serve --models=m"] and listed.language == "shell"
    assert python.language == "python" and python.text == "import os"
    assert prose.commands == ["python -m scripts.drive --person=ann"]
    assert table.commands == ["bash scripts/test.sh -m slow", "pip install .[docs]"]


def test_marks(page):
    run, by, none, later = page(
        """\
        <!-- docs: run; drive --fps=5 --bank; meta_train --steps=2 -->

            python -m scripts.meta_train --steps=8200
            python -m scripts.drive --person=ann
            python -m scripts.verify a.mp4

        <!-- docs: run by tests/test_x.py -->
            ruff format

        <!-- docs: not run: needs a cluster -->
        | `python -m scripts.serve --models=m` |

            tensorboard --logdir=x
        """
    )
    assert run.commands_to_run() == [
        "python -m scripts.meta_train --steps=8200 --steps=2",
        "python -m scripts.drive --person=ann --fps=5 --bank",
        "python -m scripts.verify a.mp4",
    ]
    assert (by.how, by.detail) == ("run by", "tests/test_x.py") and calls(by.commands) == {
        ("ruff", frozenset())
    }
    assert (none.how, none.detail) == ("not run", "needs a cluster")
    assert calls(none.commands) == {("serve", frozenset({"models"}))}
    assert later.how == ""  # a mark is for the block below it alone

"""The two Beam pipelines of a data preparation, over clips and over shards, and their runner.

The default runner is FnApiRunner with one local process per core: Beam's DirectRunner would first
try a runner that downloads a binary. Beam arguments (--runner=FlinkRunner ...) choose any other
runner. Only names of clips and shards are passed through Beam; pictures go from disk to disk.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import sys
import threading
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners import create_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from tqdm import tqdm

from tf_talkinghead.data.clip_process import ClipProcess, ForkServer
from tf_talkinghead.data.clip_worker import Job, Outcome, outcome_path
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import write_atomically

_STOP = "preparation stopped: "  # marks a user error, to be found in a runner's traceback


class _PrepareClips(beam.DoFn):
    """Prepares clips; emits nothing, since a clip's outcome is written to disk."""

    def __init__(self, job: Job, address: str | None):
        self.job, self.address = job, address

    def setup(self):
        self.process_of_clips = ClipProcess(self.job, self.address)

    def process(self, clip):
        try:
            self.process_of_clips.prepare(Clip(*clip))
        except InputError as error:
            raise RuntimeError(f"{_STOP}{error}\n") from error
        _count(self.job.work)

    def teardown(self):
        self.process_of_clips.close()


class _WriteShards(beam.DoFn):
    """Writes shards, from (file name, clip names); emits nothing.

    Beside a shard, a note is written with its clips and the places of their records.
    """

    def __init__(self, job: Job, output: str):
        self.job, self.output = job, output

    def process(self, shard):
        from tf_talkinghead.data import records

        name, clips = shard
        note = _note_path(self.job, name)
        partial = note.with_suffix(f".{os.getpid()}.partial")
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            paths = (outcome_path(self.job.work, clip).with_suffix(".record") for clip in clips)
            places = records.write_shard(partial, (path.read_bytes() for path in paths))
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, pathlib.Path(self.output, name))
            write_atomically(note, json.dumps({"clips": clips, "places": places}).encode())
        except Exception as error:
            partial.unlink(missing_ok=True)
            raise RuntimeError(
                f"{_STOP}{name}: cannot be written ({str(error)[:200]}); start again to go on\n"
            ) from error
        _count(self.job.work)


def check_runner(beam_args: Sequence[str]) -> None:
    """Raises InputError unless the arguments, if any, name a runner that Beam has.

    Without a name Beam would choose its own default.
    """
    if not beam_args:
        return
    name = PipelineOptions(list(beam_args)).view_as(StandardOptions).runner
    if not name:
        raise InputError(
            f"{' '.join(beam_args)}: expected Apache Beam's flags, with --runner=NAME among them"
        )
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"--runner={name}: Beam has no such runner here ({str(error)[:200]})"
        ) from error


def run_clips(
    job: Job,
    clips: list[Clip],
    workers: int,
    beam_args: Sequence[str],
    progress: bool,
    done: int = 0,
) -> None:
    """Prepares `clips`; `done` is the number of others already prepared, for the progress bar."""
    if not clips:
        return
    # One server forks the clip processes of all local workers; on a cluster each worker starts its
    # own server.
    with contextlib.nullcontext() if beam_args else ForkServer(job) as server:
        work = _PrepareClips(job, server and server.address)
        items = [tuple(clip) for clip in clips]
        _run(work, items, job, workers, beam_args, progress, "clips", done)


def run_shards(
    job: Job,
    output,
    shards: dict[str, list[Outcome]],
    workers: int,
    beam_args: Sequence[str],
    progress: bool,
) -> dict[str, list[tuple[int, int]]]:
    """Writes the shards that are missing.

    Args:
      job: the preparation.
      output: the dataset's folder.
      shards: file name -> outcomes of its clips.
      workers, beam_args, progress: as in prepare.prepare.

    Returns:
      {file name: (offset, length) of each record}.
    """
    wanted = {name: [outcome.name for outcome in group] for name, group in shards.items()}
    pending = [
        (name, clips) for name, clips in wanted.items() if not _is_written(job, output, name, clips)
    ]
    if pending:
        done = len(wanted) - len(pending)
        _run(
            _WriteShards(job, str(output)),
            pending,
            job,
            workers,
            beam_args,
            progress,
            "shards",
            done,
        )
    return {name: [tuple(place) for place in _note(job, name)["places"]] for name in wanted}


def _is_written(job, output, name, clips):
    return (
        _note_path(job, name).is_file()
        and pathlib.Path(output, name).is_file()
        and _note(job, name)["clips"] == clips
    )


def _note_path(job, name):
    return pathlib.Path(job.work).parent / "shards" / f"{name}.json"


def _note(job, name):
    return json.loads(_note_path(job, name).read_text("utf-8"))


def _run(work, items, job, workers, beam_args, progress, unit, done):
    """Run one DoFn over all items on the chosen runner, with a progress bar."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(items))
    if beam_args:
        options, runner = PipelineOptions(list(beam_args)), None
    else:
        mode = "multi_processing" if workers > 1 else "in_memory"
        options = PipelineOptions(
            [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
        )
        runner = FnApiRunner()
        # The runner logs errors that it also raises.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    bar = _Progress(job.work, len(items) + done, done, unit, progress)
    # Beam's worker processes log every step to the stderr they inherit.
    noisy = workers > 1 and not beam_args
    with bar, _messages_elsewhere(job.work) if noisy else contextlib.nullcontext():
        try:
            pipeline = beam.Pipeline(runner=runner, options=options)
            pipeline | "items" >> beam.Create(items, reshuffle=True) | unit >> beam.ParDo(work)
            pipeline.run().wait_until_finish()
        except Exception as error:
            found = re.search(re.escape(_STOP) + r"(.*)", str(error))
            if found:
                raise InputError(found[1].strip()) from error
            if beam_args:  # most likely a cluster that cannot be reached
                said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                raise InputError(
                    f"{' '.join(beam_args)}: the runner failed ({said}); start again to go on"
                ) from error
            raise


@contextlib.contextmanager
def _messages_elsewhere(work):
    """Sends what this process and its children write to stderr to `messages.txt`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(pathlib.Path(work).parent / "messages.txt", "ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


class _Progress:
    """Progress bar on stderr; follows a file to which every worker appends a byte for each item."""

    def __init__(self, work, total, done, unit, shown):
        self.path = _count_path(work)
        self.screen = os.fdopen(os.dup(2), "w")
        self.bar = tqdm(
            total=total,
            initial=done,
            unit=" " + unit,
            desc=unit,
            disable=not shown,
            file=self.screen,
        )
        self.done, self.ended = done, threading.Event()

    def __enter__(self):
        self.path.unlink(missing_ok=True)
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.bar.close()
        self.screen.close()

    def _follow(self):
        while True:
            ended = self.ended.wait(0.5)
            count = self.path.stat().st_size if self.path.exists() else 0
            if self.done + count > self.bar.n:
                self.bar.update(self.done + count - self.bar.n)
            if ended:
                return


def _count_path(work):
    return pathlib.Path(work).parent / "progress"


def _count(work):
    # Progress is not worth an error: a full disk is reported by the writes that matter.
    with contextlib.suppress(OSError), open(_count_path(work), "ab") as file:
        file.write(b".")

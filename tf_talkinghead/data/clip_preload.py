"""Preloading for the processes that prepare clips; only their forkserver imports this module.

`multiprocessing` runs preloading code at import, so this is the one module that does something when
it is imported: it sets OpenCV to one thread and loads dlib's landmark model. Children forked
afterwards share the model's 100 MB.
"""

import contextlib
import os

import cv2

from tf_talkinghead.data.clip_server import MODEL_VARIABLE
from tf_talkinghead.errors import TalkingHeadError
from tf_talkinghead.faces import crops

cv2.setNumThreads(1)  # one core a process: the pipeline runs one process a core
with contextlib.suppress(TalkingHeadError):  # the child that needs the model reports the error
    crops.default_landmarks(os.environ.get(MODEL_VARIABLE) or None)

"""Pushes into a folder by its URI, again and again, each push killed at another moment.

Called as `python kills.py MODEL URI STEPS TIMES`. TensorFlow is imported once; each push is a fork.
Prints how many pushes were killed and how many had ended before.
"""

import os
import random
import signal
import sys
import time

import tensorflow as tf

from components.digests import folder_digest
from components.pusher import served

OPERATIONS = ("copy", "rename", "makedirs", "remove", "rmtree", "listdir", "stat")


def kill_at(step: int) -> None:
    """Makes this process kill itself at its nth operation of a file system."""
    left = [step]
    for name in OPERATIONS:
        setattr(tf.io.gfile, name, _killing(getattr(tf.io.gfile, name), left))


def _killing(operation, left):
    def wrapped(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*arguments, **options)

    return wrapped


def push_once(model: str, uri: str, step: int | None) -> int:
    """Starts a push in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    if step is not None:
        kill_at(step)
    served.push(model, uri, folder_digest(model), "", "")
    os._exit(0)


def main(model: str, uri: str, steps: int, times: int) -> None:
    """Kills pushes at each of the first operations, then at random moments."""
    ended = 0
    for step in range(steps):
        _, status = os.waitpid(push_once(model, uri, step), 0)
        ended += status == 0
    print(ended, "of", steps)
    begun = time.monotonic()
    os.waitpid(push_once(model, uri, None), 0)
    whole = time.monotonic() - begun
    random.seed(7)
    ended = 0
    for _ in range(times):
        child = push_once(model, uri, None)
        time.sleep(random.uniform(0, whole))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        ended += status == 0
    print(ended, "of", times)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

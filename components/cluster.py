"""Names by which a stage on a cluster and its entry point understand each other; imports nothing.

On this machine none of them is set.
"""

RUN_ID = "GRAFT_RUN_ID"  # environment variable: the run's id
REMOTE_URI = "remote_uri"  # property of an input: where it lies for everybody, not in this pod
ABSENT = "absent"  # property of an artifact that stands for none

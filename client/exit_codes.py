"""What the command's exit codes mean."""

from enum import IntEnum

from client import errors


class Exit(IntEnum):
    DONE = 0
    JOB_FAILED = 1
    USAGE = 2
    NO_SERVER = 3
    CANCELLED = 4
    INTERRUPTED = 130


EXPLAINED = """Exit codes:

0  done

1  the job failed; `doctor`: something is missing

2  wrong usage: an unknown option or setting, a file that cannot be read or written, no server or key known

3  the server cannot be reached, or refuses: wrong key, no such job, not in a state for this

4  the job was cancelled

130  interrupted with Ctrl-C; the job runs on"""


def exit_code(error: errors.ClientError) -> Exit:
    """How the command ends after an error."""
    match error:
        case errors.JobFailed():
            return Exit.JOB_FAILED
        case errors.JobCancelled():
            return Exit.CANCELLED
        case errors.InvalidSetting() | errors.FileUnusable() | errors.Misconfigured():
            return Exit.USAGE
        case _:
            return Exit.NO_SERVER

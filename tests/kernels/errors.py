"""What the lab raises when it can't go on, and the exit codes it keeps for itself."""

EXIT_SKIP = 77  # automake's code for a skipped test: the lab can't work here
EXIT_TIMEOUT = 124  # timeout(1)'s code
EXIT_DEAD = 125  # the guest ended without saying how its command ended


class Unavailable(Exception):
    """The lab can't do this on this machine; the message is one line and says what is missing.

    The command line prints it and exits with 77, so that CI can tell "could not try" from "failed".
    """


class Stopped(Exception):
    """A signal asked the lab to stop; its guests and daemons are killed on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.exit_code = 128 + signum

"""The error that a command shows to its user."""


class CommandError(Exception):
    """A mistake that the user can put right; printed in one line, exit code 2."""

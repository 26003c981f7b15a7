"""What goes wrong in a lab, in one sentence each; the message says what to do next."""


class LabError(Exception):
    """The lab could not do what it was asked; the command ends with exit code 3."""


class UsageError(LabError):
    """The user's words or files are wrong; the command ends with exit code 2 and nothing was booted."""


class StepError(LabError):
    """A step of a scenario could not be carried out; the scenario is judged on what was observed."""

"""The one exception for what a person can mend: raised where it is known, shown by one handler in `cli/`."""


class EthosError(Exception):
    """Something the user can mend.

    The message is one sentence that says what happened, to what, and what to do, for example
    `run.yaml: training.lr is 3, above its bound of 0.01; set it between 0 and 0.01`.
    """

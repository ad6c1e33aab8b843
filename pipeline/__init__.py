"""From raw IEMOCAP recordings to a trained and evaluated multimodal emotion classifier."""


class InputError(ValueError):
    """An input that cannot be used.

    Base class of all errors that the user can correct. The message names the file or parameter,
    the problem and the remedy, so that no traceback is needed.
    """

"""Raw IEMOCAP recordings to a trained and evaluated three-modality emotion classifier."""


class InputError(ValueError):
    """Something given to the pipeline that cannot be used.

    Base of every error that its user can mend: the message names the file or parameter, what is
    wrong with it, and the remedy, so that no traceback is needed.
    """

"""What a head asks of the classes; free of Keras, so that it can be told before a run."""

from collections.abc import Sequence

from components.errors import InputError

SHOWN = 5  # names of classes in a message


def check_binary(binary: bool, classes: int, names: Sequence[str] = ()) -> None:
    """Checks that a head of one sigmoid has two classes to tell apart.

    Args:
        binary: `head.binary`.
        classes: number of classes, at least 0.
        names: the classes in their order, for the message, where they are known. Default: none.

    Raises:
        InputError: `binary` with another number of classes than two.
    """
    if not binary or classes == 2:
        return
    more = ", …" if len(names) > SHOWN else ""
    listed = f" ({', '.join(names[:SHOWN])}{more})" if names else ""
    raise InputError(
        f"Expected two classes with head.binary. Received: head.binary=true with {classes} "
        f"classes{listed}. Take head.binary out, or leave two classes in data.source."
    )

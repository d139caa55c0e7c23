"""What foreign code says of itself, made fit to be shown and recorded."""

from kernel.quantity import name_of_type

TEXT_MAX = 400


def printable(text: str) -> str:
    """Return at most 400 characters of text, with all that does not print (lone surrogates too) escaped."""
    return escaped(text[:TEXT_MAX])


def escaped(text: str) -> str:
    """Return text, however long, with all that does not print (lone surrogates too) escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def described(error: BaseException) -> str:
    """Name an exception and what it says, whatever its class does."""
    name = name_of_type(error)
    try:
        return printable(f"{name}: {error}")
    except BaseException:  # noqa: BLE001 - an exception's own text may raise
        return printable(name)

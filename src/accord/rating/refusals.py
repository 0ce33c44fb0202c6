"""What a request can be refused with: a status, a word for programs, a sentence for people."""

from collections.abc import Mapping


class RefusalError(Exception):
    """A request that is not granted; nothing of it was done."""

    def __init__(self, status: int, word: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.word, self.text = status, word, text
        self.headers = dict(headers or {})


def not_found(text: str = "This link leads nowhere. Check that you copied it whole.") -> RefusalError:
    return RefusalError(404, "not_found", text)


def revoked() -> RefusalError:
    return RefusalError(410, "revoked", "This link was withdrawn by whoever invited you. It takes no more answers.")


def paused() -> RefusalError:
    """Temporary: a program keeps what it has and asks again."""
    text = "The study is paused. Your answers are kept; go on with the same link later."
    return RefusalError(503, "paused", text, {"Retry-After": "30"})


def closed() -> RefusalError:
    return RefusalError(410, "closed", "The study is closed and takes no more answers. Thank you for your help.")


def invalid(text: str) -> RefusalError:
    return RefusalError(422, "invalid", text)

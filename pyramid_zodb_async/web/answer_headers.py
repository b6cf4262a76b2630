"""Headers that all answers of the package have, and cookies that none has."""

from typing import Any

__all__ = ["NO_SNIFFING", "NO_SNIFFING_NAME", "guard_answer", "keep_cookies"]

#: The header by which a browser takes an answer for what its type says. An
#: answer may contain what users have written.
NO_SNIFFING_NAME = "X-Content-Type-Options"
NO_SNIFFING = (NO_SNIFFING_NAME, "nosniff")


def guard_answer(request: Any) -> None:
    """Give the answer to a request its headers, and keep cookies from it.

    Args:
        request: the request, whose route is one of the package.
    """
    # the first one, since it has to see all others
    request.response_callbacks.appendleft(_guard)


def keep_cookies(request: Any) -> None:
    """Keep the answer to a request from setting the cookies of a login.

    It may have been held while the user has logged out in another tab, so
    that the cookies of this request would log him in again. It is by response
    callbacks that sessions, CSRF storage policies and security policies set
    their cookies, and those of callbacks are what is kept from the answer.
    Those that tweens of the application set are its own, and stay.

    Args:
        request: the request.
    """
    request.response_callbacks.appendleft(_drop_cookies_of_callbacks)


def _guard(request: Any, response: Any) -> None:
    """Do what is to be done with an answer; a response callback."""
    if request.response_callbacks:
        _drop_cookies_of_callbacks(request, response)
    if NO_SNIFFING_NAME not in response.headers:
        response.headerlist.append(NO_SNIFFING)


def _drop_cookies_of_callbacks(request: Any, response: Any) -> None:
    """Call all other callbacks, and drop the cookies that they have set."""
    names = {_name_of(text) for text in _cookies_in(response)}
    callbacks = request.response_callbacks
    while callbacks:  # they may add others
        callbacks.popleft()(request, response)
    # by name, as a callback may change cookies that are there, by making them
    # secure, for example
    dropped = {
        text for text in _cookies_in(response) if _name_of(text) not in names
    }
    if dropped:
        response.headerlist = [
            (name, text)
            for name, text in response.headerlist
            if name.lower() != "set-cookie" or text not in dropped
        ]


def _cookies_in(response: Any) -> list[str]:
    """Return the cookies that a response sets, as its headers have them."""
    cookies: list[str] = response.headers.getall("Set-Cookie")
    return cookies


def _name_of(cookie: str) -> str:
    """Return the name of a cookie that is to be set."""
    return cookie.partition("=")[0].strip()

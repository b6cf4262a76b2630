"""Texts for people that know how they are translated."""

from typing import Any

from pyramid.i18n import TranslationString

__all__ = [
    "TranslatableText",
    "Translation",
    "as_text",
    "loaded_text",
    "plain_text",
]

#: What a translation string consists of, as plain data: the message id, the
#: domain, the default text, the pairs of its mapping, and the context.
Translation = tuple[
    str, str | None, str, tuple[tuple[str, str], ...], str | None
]

#: How many characters the parts of a translation have together at most. Of a
#: longer one, the text is not translated.
LONGEST = 10_000


class TranslatableText(str):
    """A translation string, with its default text interpolated.

    Where it is not translated, that text shows. A pickle of it is the text
    alone.
    """

    __slots__ = ("translation",)

    #: What the text is translated by.
    translation: Translation

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (plain_text(self),)

    def translate(self, localizer: Any) -> str:
        """Return the text in another language.

        Args:
            localizer: the localizer of a request, which knows the language.
        """
        translated: str = localizer.translate(_string(self.translation))
        return plain_text(translated)


def as_text(value: str, most: int) -> str:
    """Return a text in the form in which it is kept.

    Args:
        value: the text. A translation string becomes a ``TranslatableText``.
            Of other subclasses the text is kept alone: they may refer to
            other objects.
        most: how many characters of it are kept.
    """
    if not isinstance(value, TranslationString):
        return _cut(plain_text(value), most)
    translation = _taken_apart(value)
    text = _cut(_string(translation).interpolate(), most)
    return loaded_text(text, translation)


def loaded_text(text: str, translation: Translation | None) -> str:
    """Return a text that was stored in parts.

    Args:
        text: the interpolated default, perhaps cut.
        translation: what it is translated by, if anything. It is ignored if
            it belongs to another text, which a process of an earlier version
            has replaced.
    """
    if translation is None or _length(translation) > LONGEST:
        return text
    if (
        not _string(translation)
        .interpolate()
        .startswith(text.removesuffix("…"))
    ):
        return text
    kept = TranslatableText(text)
    kept.translation = translation
    return kept


def plain_text(text: str) -> str:
    """Return a text without what a subclass adds.

    Args:
        text: the text, which may be of a subclass of ``str``.
    """
    return str.__str__(text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _taken_apart(value: Any) -> Translation:
    """Return what a translation string consists of."""
    mapping = value.mapping or {}
    return (
        plain_text(value),
        value.domain and plain_text(value.domain),
        plain_text(value.default),
        tuple((str(name), _shown(mapping[name])) for name in mapping),
        value.context and plain_text(value.context),
    )


def _shown(value: Any) -> str:
    """Return what a value of a mapping is replaced by."""
    if isinstance(value, TranslationString):
        return plain_text(value.interpolate())
    return plain_text(str(value))


def _string(translation: Translation) -> Any:
    """Return the translation string that was taken apart."""
    text, domain, default, mapping, context = translation
    return TranslationString(
        text,
        domain=domain,
        default=default,
        mapping=dict(mapping),
        context=context,
    )


def _length(translation: Translation) -> int:
    """Return how many characters a translation has."""
    text, domain, default, mapping, context = translation
    parts = [text, domain or "", default, context or ""]
    return sum(map(len, parts)) + sum(
        len(name) + len(value) for name, value in mapping
    )

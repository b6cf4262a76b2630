"""Users of an application, and what they may do."""

from pyramid.authorization import ALL_PERMISSIONS, Allow


class Root:
    """The application's root, where an operator may do more."""

    made = 0

    def __init__(self, request):
        Root.made += 1
        self.__acl__ = [
            (Allow, "user:operator", "see jobs"),
            (Allow, "user:root", ALL_PERMISSIONS),
        ]


def as_user(name):
    """Give the headers of a request by whom `shop.HeaderPolicy` believes."""
    return {"X-User": name}

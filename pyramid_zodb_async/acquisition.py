"""Where databases find what is in ``zope2.acquisition``."""

from .zope2.acquisition import MethodInContext, in_context

__all__ = ["MethodInContext", "in_context"]

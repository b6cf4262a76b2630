"""Aliases for databases: pickles name ``zope2.acquisition`` by this path."""

from .zope2.acquisition import MethodInContext, in_context

__all__ = ["MethodInContext", "in_context"]

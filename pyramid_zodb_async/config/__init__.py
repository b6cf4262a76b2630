"""Puts the parts together for a Pyramid application."""

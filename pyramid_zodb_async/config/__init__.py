"""The configuration of a Pyramid application: its include and directives."""

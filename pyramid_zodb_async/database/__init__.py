"""Manners towards the ZODB: its connections, transactions and storages."""

"""The use of the ZODB: connections, own transactions, storages and pools."""

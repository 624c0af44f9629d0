"""How much one process carries at a time: streams, connections, bytes in reception and bytes unsent."""

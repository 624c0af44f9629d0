"""Models: the model table, the models file and the demo's parameters."""

"""What can be asked: models, where they come from, the demo's parameters."""

"""What workers find out about models: which an upstream has, and which can continue a partial answer."""

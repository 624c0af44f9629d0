"""Model discovery: which models an upstream has, and which of them can continue a partial answer."""

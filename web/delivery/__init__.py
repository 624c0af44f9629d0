"""How entries get to clients: streams, waiting answers, WebSockets, and the formats that they speak."""

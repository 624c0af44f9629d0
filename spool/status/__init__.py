"""The state of a deployment: the processes that run, the queues, the server, and what is wrong with them."""

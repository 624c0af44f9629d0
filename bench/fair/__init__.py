"""How fair the queue is, by tokens, beside the order of arrival and taking turns by job."""

"""Random inputs for everything that reads what a stranger may send: an answer or a clear refusal, soon and small."""

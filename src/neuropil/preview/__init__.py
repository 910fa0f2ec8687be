"""What a verb would take, before it is done: steps, time measured on a few of them, memory, disk; and refusals."""

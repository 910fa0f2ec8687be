"""Work that outgrows one memory, one process or one night: cut into tasks that can be repeated, and kept account of."""

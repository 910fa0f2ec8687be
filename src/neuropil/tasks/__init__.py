"""What can be learned: one `Task` a file, named in the TASKS table; nothing else in the program tells tasks apart."""

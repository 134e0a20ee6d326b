"""The process and the machine: environment, memory, random keys, signals, threads, warnings."""

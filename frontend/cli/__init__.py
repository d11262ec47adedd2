"""The command line: train, predict, info, cache. Reads like a user's program, and is one."""

"""The database check against real servers: each fault is made, and named with its mend."""

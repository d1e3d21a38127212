"""The algorithm, compiled. It knows arrays and networks and nothing of files, tables or epochs' worth of policy."""
